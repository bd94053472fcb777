"""One machine: the units say where things are, and systemd understands them."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.deployments.places.image import ROOT
from tests.deployments.places.settings import known

FOLDER = ROOT / "deployments" / "machine"
UNITS = sorted(FOLDER.glob("*.service"))


class Many(dict[str, object]):
    """Keys of a unit may be given several times."""

    def __setitem__(self, key: str, value: object) -> None:
        if isinstance(value, list) and isinstance(self.get(key), list):
            value = [*self.get(key, []), *value]  # type: ignore[misc]
        super().__setitem__(key, value)


def unit(path: Path) -> configparser.RawConfigParser:
    parser = configparser.RawConfigParser(strict=False, dict_type=Many, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(path.read_text(encoding="utf-8"))
    return parser


@pytest.mark.parametrize("path", UNITS, ids=lambda p: p.name)
def test_systemd_understands_the_unit(path: Path, tmp_path: Path) -> None:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd is not installed")
    text = path.read_text(encoding="utf-8").replace("/srv/channelscribe/.venv/bin/", "/bin/")
    for name in ("channelscribe", "python"):
        text = text.replace(f"/bin/{name} ", "/bin/true ")
    copy = tmp_path / path.name.replace("@", "@GPU-1")
    copy.write_text(text, encoding="utf-8")
    done = subprocess.run([program, "verify", "--man=no", str(copy)], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.returncode == 0
    copy.write_text(text.replace("KillMode=mixed", "KillMod=mixed"), encoding="utf-8")
    slip = subprocess.run([program, "verify", "--man=no", str(copy)], capture_output=True, text=True, check=False)
    assert "KillMod" in slip.stderr


@pytest.mark.parametrize("path", UNITS, ids=lambda p: p.name)
def test_the_unit_comes_back_and_ends_in_order(path: Path) -> None:
    service = unit(path)["Service"]
    assert service["Restart"] in ("always", "on-failure")
    assert service["KillMode"] == "mixed"  # the first signal to the parent alone, which ends the others in order
    assert service["User"] != "root"
    assert service["ExecStart"].startswith(service["WorkingDirectory"] + "/.venv/bin/")
    assert unit(path)["Install"]["WantedBy"] == "multi-user.target"


def test_variables_mean_something() -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in UNITS)
    named = set(re.findall(r"^Environment=(\w+)=", text, re.M))
    assert "CUDA_VISIBLE_DEVICES" in named
    assert named <= known()


def test_the_windows_task_starts_the_same_command() -> None:
    text = (FOLDER / "register-task.ps1").read_text(encoding="utf-8")
    linux = re.findall(r"bin/channelscribe (.*)", (FOLDER / "channelscribe.service").read_text(encoding="utf-8"))
    assert f'-Argument "{linux[0]}"' in text

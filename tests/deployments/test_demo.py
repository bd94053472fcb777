"""The demo around its run: folder, environment, stand-ins. The run itself is `make demo`, which CI calls."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from channelscribe.core.errors import EnvironmentFailure, UsageError
from deployments.demo import prepare_folder, set_environment
from deployments.score import read_truth
from deployments.standins import open_stand_ins
from tests.deployments.conftest import clean_environment


def test_the_folder_is_made_afresh_when_a_demo_made_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    first = prepare_folder(None)
    (first / "left over").touch()
    assert prepare_folder(None) == first
    assert not (first / "left over").exists()


def test_a_folder_of_somebody_else_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demo-data").mkdir()
    precious = tmp_path / "demo-data" / "precious.txt"
    precious.touch()
    with pytest.raises(EnvironmentFailure, match="not made by the demo"):
        prepare_folder(None)
    assert precious.exists()


def test_a_named_folder_is_used_as_it_is(tmp_path: Path) -> None:
    kept = tmp_path / "mine" / "kept"
    kept.parent.mkdir()
    kept.touch()
    assert prepare_folder(str(tmp_path / "mine")) == tmp_path / "mine"
    assert kept.exists()
    with pytest.raises(UsageError):
        prepare_folder("s3://bucket/demo")


def test_no_setting_of_the_user_reaches_the_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    real = {"ODIN_API_KEY": "real", "YOUTUBE_API_KEYS": "real", "https_proxy": "real", "SSL_CERT_FILE": "real"}
    monkeypatch.setattr(os, "environ", {**os.environ, **real, "CHANNELSCRIBE_LANGUAGE": "real", "API_KEY": "real"})
    set_environment({"ODIN_API_KEY": "stand-in"})
    assert "real" not in os.environ.values()
    assert os.environ["ODIN_API_KEY"] == "stand-in"
    assert Path(os.environ["CHANNELSCRIBE_MODEL"]).is_dir()


def test_stand_ins_start_tell_the_truth_and_end(tmp_path: Path) -> None:
    with open_stand_ins(tmp_path / "state") as stand_ins:
        truth = read_truth(stand_ins.truth)
        assert {"ODIN_API_KEY", "HTTPS_PROXY", "SSL_CERT_FILE"} <= set(stand_ins.environment)
    kinds = {e.expected for e in truth}
    assert len(truth) >= 8
    assert {"ok", "short", "private", "live", "silent"} <= kinds
    assert all(e.text for e in truth if e.expected == "ok")


def test_stand_ins_that_cannot_start_say_why_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFailure, match="did not start") as told, open_stand_ins(tmp_path / "s", world="none"):
        pytest.fail("there is no such world")
    assert "stand-ins.log" in told.value.reason
    assert "\n" not in told.value.reason


def test_without_a_checkout_one_sentence_says_so(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; import deployments.demo as demo; demo.CHECKPOINT = Path('nowhere');"
        "from deployments.cli import run; sys.exit(run(['demo']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path, env=clean_environment()
    )
    assert done.returncode == 2
    assert "checkout" in done.stderr and len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []

"""The bootstrap script: which torch it asks for, when it has nothing to do, and what it says when it cannot work."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from deployments import bootstrap

SCRIPT = Path(bootstrap.__file__)


def test_linux_without_card_never_starts_with_the_cuda_build() -> None:
    attempts = bootstrap.torch_attempts("Linux", nvidia=False)
    assert attempts[0] == [f"torch=={bootstrap.TORCH}+cpu"]
    assert bootstrap.PYTORCH_INDEX + "cpu" in attempts[1]
    assert attempts[-1] == ["torch"]


def test_windows_with_card_asks_for_a_cuda_build_first() -> None:
    attempts = bootstrap.torch_attempts("Windows", nvidia=True)
    assert all("+cu" in a[0] for a in attempts[:-1])
    assert attempts[-1] == ["torch"]


@pytest.mark.parametrize(("system", "nvidia"), [("Darwin", False), ("Windows", False)])
def test_plain_torch_where_it_is_right(system: str, nvidia: bool) -> None:
    assert bootstrap.torch_attempts(system, nvidia) == []


@pytest.mark.parametrize(
    ("version", "system", "nvidia", "fits"),
    [
        ("2.13.0+cpu", "Linux", False, True),
        ("2.13.0", "Linux", False, False),
        ("2.13.0+cpu", "Linux", True, False),
        ("2.13.0", "Linux", True, True),
        ("2.13.0+cu130", "Windows", True, True),
        ("2.13.0", "Windows", True, False),
        ("2.13.0", "Darwin", False, True),
        ("", "Linux", True, False),
    ],
)
def test_installed_build_is_judged_by_its_version(version: str, system: str, nvidia: bool, fits: bool) -> None:
    assert bootstrap.torch_fits(version, system, nvidia) is fits


def _environment(tmp_path: Path) -> tuple[Path, Path]:
    project, venv = tmp_path / "pyproject.toml", tmp_path / ".venv"
    project.write_text("[project]\nname = 'x'\n")
    python = bootstrap.venv_python(venv)
    python.parent.mkdir(parents=True)
    python.touch()
    return project, venv


def test_stamp_makes_the_second_run_do_nothing_until_the_project_changes(tmp_path: Path) -> None:
    project, venv = _environment(tmp_path)
    stamp = bootstrap.wanted_stamp(project, nvidia=False)
    assert not bootstrap.is_current(venv, stamp)
    (venv / "bootstrap.stamp").write_text(stamp)
    assert bootstrap.is_current(venv, bootstrap.wanted_stamp(project, nvidia=False))
    assert not bootstrap.is_current(venv, bootstrap.wanted_stamp(project, nvidia=True))
    project.write_text("[project]\nname = 'y'\n")
    assert not bootstrap.is_current(venv, bootstrap.wanted_stamp(project, nvidia=False))


def test_environment_without_its_python_is_made_again(tmp_path: Path) -> None:
    project, venv = _environment(tmp_path)
    stamp = bootstrap.wanted_stamp(project, nvidia=False)
    (venv / "bootstrap.stamp").write_text(stamp)
    bootstrap.venv_python(venv).unlink()
    assert not bootstrap.is_current(venv, stamp)


def test_an_old_python_can_still_read_the_script() -> None:
    ast.parse(SCRIPT.read_text(encoding="utf-8"), feature_version=(3, 7))


def test_it_needs_nothing_but_the_standard_library() -> None:
    names: set[str] = set()
    for node in ast.walk(ast.parse(SCRIPT.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add((node.module or "").split(".")[0])
    assert names <= sys.stdlib_module_names


def test_it_runs_without_site_packages_and_says_what_is_wrong_in_one_line(tmp_path: Path) -> None:
    program = (
        f"import runpy, sys; sys.version_info = (3, 10, 4, 'final', 0); sys.argv = ['bootstrap.py'];"
        f"runpy.run_path({str(SCRIPT)!r}, run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-S", "-I", "-c", program], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("bootstrap: channelscribe needs Python 3.11")
    assert len(done.stderr.splitlines()) == 1


def test_failed_pip_leaves_no_stamp(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("this is not toml [")
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    with pytest.raises(bootstrap.BootstrapError, match="pip failed"):
        bootstrap.install_project(venv, tmp_path)
    assert not (venv / "bootstrap.stamp").exists()

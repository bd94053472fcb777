"""The leg on the newest Python: which Python it takes, what it says without one, and that it forgets no test file."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import newest

POSIX = pytest.mark.skipif(os.name == "nt", reason="programs made of shell scripts")


def _python(folder: Path, name: str, version: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / name
    program.write_text(f"#!/bin/sh\necho {version}\n")
    program.chmod(0o755)
    return program


@POSIX
def test_the_newest_python_of_path_and_pyenv_is_taken(tmp_path: Path) -> None:
    on_path = _python(tmp_path / "bin", "python3.12", "3 12 9")
    _python(tmp_path / "bin", "python3", "3 11 2")
    kept = _python(tmp_path / "pyenv" / "versions" / "3.13.0" / "bin", "python3", "3 13 0")
    at_home = _python(tmp_path / "home" / ".pyenv" / "versions" / "3.14.1" / "bin", "python3", "3 14 1")
    path, home = str(tmp_path / "bin"), tmp_path / "home"
    found = list(newest.candidates({"PATH": path, "PYENV_ROOT": str(tmp_path / "pyenv")}, home))
    assert newest.newest(found) == str(at_home)
    found = list(newest.candidates({"PATH": path, "PYENV_ROOT": str(tmp_path / "pyenv")}, tmp_path))
    assert newest.newest(found) == str(kept)
    assert newest.newest(list(newest.candidates({"PATH": path}, tmp_path))) == str(on_path)


@POSIX
@pytest.mark.parametrize("answer", ["3 11 9", "0 0 0", "", "pyenv: python3.13: command not found"])
def test_an_old_an_unfinished_and_a_broken_python_do_not_count(tmp_path: Path, answer: str) -> None:
    assert newest.newest([str(_python(tmp_path, "python3", answer)), str(tmp_path / "gone")]) is None


def test_this_python_names_its_own_version() -> None:
    assert newest.version_of(sys.executable) == sys.version_info[:3]


@pytest.mark.parametrize(("ci", "status"), [("true", 2), ("", 0)])
def test_without_a_newer_python_ci_fails_and_a_user_is_told(tmp_path: Path, ci: str, status: int) -> None:
    environment = {**os.environ, "PATH": str(tmp_path), "HOME": str(tmp_path), "USERPROFILE": str(tmp_path), "CI": ci}
    environment.pop("PYENV_ROOT", None)
    done = subprocess.run(
        [sys.executable, "-m", "tests.newest"], cwd=newest.ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == status
    assert done.stderr.startswith("No Python 3.12 or newer")
    assert len(done.stderr.splitlines()) == 1


def test_every_test_of_audio_is_run_or_named_as_left_out() -> None:
    known = {newest.ROOT / name for name in (*newest.TESTS, *newest.NEED_TORCH)}
    assert set((newest.ROOT / "tests/channelscribe/audio").glob("test_*.py")) <= known
    assert all(path.is_file() for path in known)


def test_its_parts_come_from_the_project_file() -> None:
    lines = newest.requirements(newest.ROOT / "pyproject.toml")
    assert len(lines) == len(newest.PARTS)
    assert all(line.startswith(part) for line, part in zip(lines, newest.PARTS, strict=True))
    assert any(line.startswith("av>=") for line in lines)

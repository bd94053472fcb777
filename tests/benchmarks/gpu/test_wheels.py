"""What is carried to a borrowed machine has a limit, and what is there already is not carried."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[3] / "benchmarks" / "gpu" / "wheels.sh"
THERE = ("torch", "triton", "transformers", "numpy", "pandas", "pyarrow", "rich", "nvidia-ml-py")
# Stands for pip: writes a wheel of so many bytes, and what was asked for.
PIP = """#!/bin/sh
for last; do :; done
echo "$last" >>asked.txt
head -c {each} /dev/zero >".whl/$last.whl"
"""

pytestmark = pytest.mark.skipif(not (shutil.which("bash") and shutil.which("git")), reason="a script for Linux")


def fetched(tmp_path: Path, kind: str, each: int) -> tuple[int, list[str]]:
    """Exit status and what was asked for, in a repository of its own with 1 MiB to carry at most."""
    script, pip = tmp_path / "benchmarks" / "gpu" / SCRIPT.name, tmp_path / "bin" / "python3"
    for path, text in ((script, SCRIPT.read_text(encoding="utf-8")), (pip, PIP.format(each=each))):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    pip.chmod(0o755)
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    environment = {**os.environ, "PATH": f"{pip.parent}{os.pathsep}{os.environ['PATH']}", "LIMIT_MIB": "1"}
    done = subprocess.run(["bash", str(script), kind], env=environment, capture_output=True, text=True)
    return done.returncode, (tmp_path / "asked.txt").read_text(encoding="utf-8").split()


@pytest.mark.parametrize("kind", ["engine", "ct2"])
@pytest.mark.parametrize(("each", "status"), [(1_000, 0), (1 << 20, 3)])
def test_too_much_to_carry_is_said(tmp_path: Path, kind: str, each: int, status: int) -> None:
    found, asked = fetched(tmp_path, kind, each)
    assert found == status
    assert asked and not {name.partition("==")[0] for name in asked} & set(THERE)
    assert all("==" in name for name in asked)

"""Runs a piece of Python in a process of its own, so that it can be killed, limited or stripped of rights."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[3]


def start(code: str, *arguments: object) -> subprocess.Popen[str]:
    """Starts `code` with `arguments` as sys.argv[1:]; its output is for the caller to read."""
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(code: str, *arguments: object) -> str:
    """The output of `code`, which has to end well."""
    child = start(code, *arguments)
    out, err = child.communicate(timeout=120)
    assert child.returncode == 0, err
    return out

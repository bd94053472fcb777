"""Looks at processes by their number, on Linux."""

from __future__ import annotations

import os
import time
from pathlib import Path


def alive(pid: int) -> bool:
    """A zombie has ended; who should have waited for it is another matter."""
    try:
        return _stat(pid)[0] != "Z"
    except OSError:
        return False


def child_of(parent: int) -> int:
    """The first that is there; waits for one."""
    until_s = time.monotonic() + 60
    while time.monotonic() < until_s:
        for each in Path("/proc").iterdir():
            try:
                if each.name.isdigit() and int(each.name) != os.getpid() and int(_stat(int(each.name))[1]) == parent:
                    return int(each.name)
            except OSError:
                continue
        time.sleep(0.02)
    raise AssertionError(f"{parent} has no child")


def _stat(pid: int) -> list[str]:
    """proc(5) after the name: state, parent, ..."""
    return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()

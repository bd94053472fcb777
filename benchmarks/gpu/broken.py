"""Parts that go wrong on purpose, so that a rehearsal shows that the others' results are still there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.gpu.notes import Notes
from benchmarks.gpu.stage import Stage

_PIECE_BYTES, _MOST_BYTES = 16 << 20, 2 << 30


def broken(stage: Stage, notes: Notes, fault: str) -> None:
    """Raises KeyError for a fault that is none. What was found before it went wrong has to come through."""
    notes.put(before="this was found before")
    faults: dict[str, Callable[[Notes], None]] = {
        "hang": _hang,
        "crash": _crash,
        "abort": _abort,
        "memory": _memory,
        "garbage": _garbage,
        "orphan": _orphan,
    }
    faults[fault](notes)


def _hang(_: Notes) -> None:
    """Does not react to a polite signal either, as a process inside a driver does not."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        time.sleep(60)


def _abort(_: Notes) -> None:
    os.abort()


def _crash(_: Notes) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _memory(_: Notes) -> None:
    """Takes more and more until it is stopped; gives up by itself at 2 GiB."""
    held: list[bytearray] = []
    while len(held) * _PIECE_BYTES < _MOST_BYTES:
        held.append(bytearray(b"x") * _PIECE_BYTES)
        time.sleep(0.05)
    raise MemoryError("nobody stopped it at 2 GiB")


def _garbage(notes: Notes) -> None:
    os.write(1, b"\xff not what was asked for\n")
    notes.path.write_text('{"found": [1, 2', encoding="utf-8")
    os._exit(0)


def _orphan(notes: Notes) -> None:
    """Leaves a process in a session of its own, which holds this one's standard output open."""
    left = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
    Path(notes.folder, "orphan.pid").write_text(str(left.pid), encoding="utf-8")
    notes.put(orphan=left.pid)

"""Runs a command for so long and with so much memory at most, and leaves nothing of it behind.

The parent of the twelve minutes starts every part through it. A part may hang in the driver, die of a signal, eat the
memory or leave processes of its own; none of that may cost the parts after it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

_MARK = "CHANNELSCRIBE_BENCH_PART"
_LOOK_S, _DYING_S = 0.2, 10.0
_TAIL_BYTES = 4096
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096
_KILL = getattr(signal, "SIGKILL", signal.SIGTERM)

ENDED, FAILED, DIED, OVER_TIME, OVER_MEMORY = "ended", "failed", "died", "over its time", "over its memory"


@dataclass(frozen=True, slots=True)
class Limits:
    """Wall seconds, and resident bytes of all the command's processes together."""

    seconds: float
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class Ended:
    """`how` is one of the words above, `said` the end of what was written to standard output and standard error."""

    how: str
    wall_s: float
    why: str
    said: str


def run_limited(command: Sequence[str], limits: Limits, environment: Mapping[str, str], folder: Path) -> Ended:
    """Starts `command` in `folder` as a session of its own and waits. Raises OSError when it cannot be started."""
    mark = uuid.uuid4().hex
    begun_s = time.monotonic()
    process = subprocess.Popen(
        command,
        cwd=folder,
        env={**environment, _MARK: mark},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    assert process.stdout is not None
    tail = _Tail(process.stdout)
    try:
        stopped = _awaited(process, limits, begun_s)
    finally:
        died = end_all(process, mark)
    wall_s = time.monotonic() - begun_s
    how, why = stopped or _ending(process.returncode)
    if not died:
        why += "; it is still there after SIGKILL"
    return Ended(how, wall_s, why, tail.text())


def _awaited(process: subprocess.Popen[bytes], limits: Limits, begun_s: float) -> tuple[str, str] | None:
    """None when it ended by itself, else which limit it met."""
    while True:
        try:
            process.wait(_LOOK_S)
        except subprocess.TimeoutExpired:
            pass
        else:
            return None
        if time.monotonic() - begun_s > limits.seconds:
            return OVER_TIME, f"stopped after {limits.seconds:.0f} s"
        held = resident_bytes(process.pid)
        if held > limits.memory_bytes:
            return OVER_MEMORY, f"stopped at {held >> 20} of {limits.memory_bytes >> 20} MiB"


def _ending(status: int | None) -> tuple[str, str]:
    if status == 0:
        return ENDED, ""
    if status is not None and status < 0:
        number = -status
        known = number in {each.value for each in signal.Signals}
        return DIED, f"killed by {signal.Signals(number).name if known else number}"
    return FAILED, f"exit status {status}"


def end_all(process: subprocess.Popen[bytes], mark: str) -> bool:
    """Kills the process's group and whatever of its descendants left it. Says whether the process itself is gone."""
    _kill_group(process.pid)
    try:
        process.wait(_DYING_S)
    except subprocess.TimeoutExpired:  # deep in a driver
        return False
    for _ in range(20):  # one that is killed may have started another
        strays = list(_marked(mark))
        if not strays:
            break
        for pid in strays:
            _kill(pid)
        time.sleep(0.05)
    return True


def resident_bytes(session: int) -> int:
    """Of all processes in the session. 0 where there is no /proc."""
    total = 0
    for folder in _processes():
        try:
            fields = (folder / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session:  # proc(5): state, ppid, pgrp, session, ...; rss is 21 fields on
            total += int(fields[21]) * _PAGE_BYTES
    return total


def _marked(mark: str) -> Iterator[int]:
    """Processes that were started with the mark, zombies left out: they have no environment any more."""
    wanted = f"{_MARK}={mark}".encode()
    for folder in _processes():
        try:
            if wanted in (folder / "environ").read_bytes().split(b"\0"):
                yield int(folder.name)
        except OSError:
            continue


def _processes() -> list[Path]:
    proc = Path("/proc")
    return [folder for folder in proc.iterdir() if folder.name.isdigit()] if proc.is_dir() else []


def _kill_group(group: int) -> None:
    if sys.platform == "win32":
        _kill(group)
        return
    try:
        os.killpg(group, _KILL)
    except (ProcessLookupError, PermissionError):
        return


def _kill(pid: int) -> None:
    try:
        os.kill(pid, _KILL)
    except (ProcessLookupError, PermissionError):
        return


class _Tail:
    """The end of a stream, read in a thread so that nobody waits for its reader."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream, self._kept = stream, b""
        self._thread = threading.Thread(target=self._read, name="bench-tail", daemon=True)
        self._thread.start()

    def _read(self) -> None:
        with self._stream:
            while piece := os.read(self._stream.fileno(), 1 << 16):
                self._kept = (self._kept + piece)[-_TAIL_BYTES:]

    def text(self) -> str:
        self._thread.join(2.0)
        return self._kept.decode("utf-8", "replace").strip()

"""The demo's YouTube and ODIN: `python -m tests.emulators` in a process of its own, so nothing here imports tests.

Used by `demo` alone. The stand-ins speak the real protocols over real sockets and end when their standard input closes.
"""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from channelscribe.core.errors import EnvironmentFailure
from deployments.children import last_line

CHECKOUT = Path(__file__).resolve().parent.parent
START_S = 120.0


@dataclass(frozen=True)
class StandIns:
    """What the stand-ins said about themselves when they were ready."""

    environment: dict[str, str]
    channel: str
    truth: Path


@contextmanager
def open_stand_ins(state: Path, world: str = "demo") -> Iterator[StandIns]:
    """Started and ready; ended on the way out and when this process dies."""
    state.mkdir(parents=True, exist_ok=True)
    log = state / "stand-ins.log"
    command = [sys.executable, "-m", "tests.emulators", "--world", world, "--state", str(state)]
    with log.open("ab") as errors:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, cwd=CHECKOUT, start_new_session=True
        )
    assert process.stdin is not None and process.stdout is not None
    try:
        yield _parse(_first_line(process.stdout), log)
    finally:
        process.stdin.close()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _first_line(output: IO[bytes]) -> bytes:
    """The first line, or nothing when none comes in time. The rest is read too, so that the child never blocks."""
    lines: queue.Queue[bytes] = queue.Queue()

    def read() -> None:
        lines.put(output.readline())
        for _ in output:
            pass

    threading.Thread(target=read, name="stand-ins", daemon=True).start()
    try:
        return lines.get(timeout=START_S)
    except queue.Empty:
        return b""


def _parse(line: bytes, log: Path) -> StandIns:
    try:
        said = json.loads(line)
        return StandIns(dict(said["environment"]), str(said["sources"]["channel"]), Path(said["truth"]))
    except (ValueError, KeyError, TypeError) as error:
        raise EnvironmentFailure(
            f"the stand-ins for YouTube and ODIN did not start ({last_line(log)}); their log is {log}",
            code="stand_ins_failed",
        ) from error

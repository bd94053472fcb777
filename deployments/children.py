"""Child processes that end with us, write to a log of their own, and can say why they died.

Stands under `up`, `demo` and `sync`, which start the Prefect server and the worker with it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from channelscribe.core.errors import EnvironmentFailure
from channelscribe.core.redact import redact
from deployments import leash


@dataclass(frozen=True)
class Child:
    """One running command. Its standard input is the leash: closing it ends the whole tree."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def stop(self) -> None:
        """Asks it to end, waits, and kills what does not listen. Harmless when it has ended."""
        if self.process.stdin is not None:
            self.process.stdin.close()
        try:
            self.process.wait(leash.GRACE_S + 10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def check(self) -> None:
        """Raises EnvironmentFailure when it has died: which, why, and where its log is."""
        if not self.alive:
            raise EnvironmentFailure(
                f"the {self.name} ended by itself (exit code {self.process.returncode}: {last_line(self.log)}); "
                f"its log is {self.log}",
                code="child_died",
            )


def start_child(name: str, command: Sequence[str], log: Path, environment: Mapping[str, str], cwd: Path) -> Child:
    """Starts `command` with `environment` on top of our own, its output in `log`."""
    log.parent.mkdir(parents=True, exist_ok=True)
    leashed = [sys.executable, "-I", "-S", leash.__file__, *command]
    with log.open("ab") as output:
        process = subprocess.Popen(
            leashed,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **environment},
            cwd=cwd,
            # Ctrl-C in the terminal reaches us alone, so that the worker can be ended before its server.
            start_new_session=True,
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
        )
    return Child(name, process, log)


def last_line(log: Path, most: int = 300) -> str:
    """The last line with words in it, redacted; "no output" for an empty log."""
    tail = log.read_bytes()[-8192:].decode("utf-8", errors="replace") if log.exists() else ""
    lines = [line.strip() for line in tail.splitlines() if any(c.isalnum() for c in line)]
    return redact(lines[-1][:most]) if lines else "no output"

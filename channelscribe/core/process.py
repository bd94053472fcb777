"""A process of this machine that can be told from a later one with the same number.

Under `gpu/lease`, which asks whether a holder still lives, and `deployments/in_hand`, which asks it of a flow.
"""

from __future__ import annotations

from dataclasses import dataclass

import psutil

_START_S = 2.0  # start times are told to a hundredth, and moved with the clock


@dataclass(frozen=True, slots=True)
class Process:
    """`started_s`: when it began, in seconds since 1970."""

    pid: int
    started_s: float

    @property
    def lives(self) -> bool:
        """False also for one that has ended and that nobody has asked for its exit code. True where we may not look."""
        try:
            found = psutil.Process(self.pid)
            return abs(found.create_time() - self.started_s) < _START_S and found.status() != psutil.STATUS_ZOMBIE
        except (psutil.NoSuchProcess, ValueError, OverflowError):
            return False
        except psutil.Error:
            return True


def process(pid: int | None = None) -> Process:
    """The running process of this number, by default this one. Raises psutil.NoSuchProcess."""
    found = psutil.Process(pid)
    return Process(found.pid, found.create_time())

"""Memory of this process that nobody uses goes back to the system while the engine works.

The worker calls it between two turns. glibc keeps what large tensors and decoded sound leave behind, in an arena for
each thread, so that a process that hears hundreds of files grows by 64 MiB at a time without holding anything.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from functools import cache
from typing import Any

from channelscribe.core.clock import Clock, SystemClock

EVERY_S = 10.0  # one trim takes some milliseconds, and what it gave back is mapped again when it is needed


class HeapTrimmer:
    """`trim` gives memory back and says whether there was any; by default glibc's, and nothing elsewhere."""

    def __init__(self, clock: Clock | None = None, trim: Callable[[], bool] | None = None) -> None:
        self._clock, self._trim = clock or SystemClock(), trim or trim_heap
        self._next_s = 0.0

    def trim_when_due(self) -> bool:
        """Says whether the system got something back; False before `EVERY_S` are over."""
        now_s = self._clock.monotonic()
        if now_s < self._next_s:
            return False
        self._next_s = now_s + EVERY_S
        return self._trim()


def trim_heap() -> bool:
    """Does nothing on Windows, macOS and musl."""
    trim = _malloc_trim()
    return trim is not None and bool(trim(0))


@cache
def _malloc_trim() -> Any:
    if not sys.platform.startswith("linux"):
        return None
    try:
        return ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):
        return None

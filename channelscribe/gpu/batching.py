"""How many windows may be at work at once: grows step by step while there is room, halves when there is none.

Behind `GuardGate.most`. The number decides speed and memory, never the text.
"""

from __future__ import annotations

import logging
import math

log = logging.getLogger(__name__)
PROBE_S = 5.0  # one step of growth, long enough for the memory of the step before to show in a sample
REFUSED_S = 600.0  # a size that the device refused is not tried again for so long
STEP_SHARE = 8  # of the wished size, an eighth a step: from one window to all of them in about a minute


class BatchControl:
    """Additive growth, multiplicative retreat. Not thread-safe: the gate calls it under its lock."""

    def __init__(self) -> None:
        self._limit: int | None = None  # None: nothing has ever been too much
        self._share = 1.0
        self._wished = 1
        self._refused: int | None = None
        self._refused_until_s = 0.0
        self._changed_s = -math.inf

    def most(self, wished: int) -> int:
        """1 to `wished`."""
        self._wished = max(1, wished)
        limit = self._wished if self._limit is None else min(self._limit, self._wished)
        return max(1, math.floor(limit * self._share))

    def share(self, share: float, now_s: float) -> None:
        """The policy's part of the wished size. It shrinks at once and is won back step by step."""
        share = min(1.0, max(0.01, share))
        if share > self._share:
            self._limit, self._changed_s = math.ceil(self.most(self._wished) / share), now_s
        self._share = share

    def refused(self, at_work: int, now_s: float) -> None:
        """The device gave no memory for `at_work` windows."""
        self._refused, self._refused_until_s = max(2, at_work), now_s + REFUSED_S
        self._limit, self._changed_s = max(1, at_work // 2), now_s
        log.warning("the device refused memory for %d windows at once, going on with %d", at_work, self._limit)

    def roomy(self, now_s: float) -> None:
        """Neither heat nor memory object: one step more, up to what is wished and has not been refused."""
        if self._limit is None or now_s - self._changed_s < PROBE_S:
            return
        self._changed_s = now_s
        self._limit += max(1, self._wished // STEP_SHARE)
        if self._refused is not None and now_s < self._refused_until_s:
            self._limit = min(self._limit, self._refused - 1)
        elif self._limit >= self._wished:
            self._limit = self._refused = None

"""Virtual clocks: one that jumps when somebody sleeps, one that moves only when the test says so."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

START = datetime(2026, 11, 21, 5, 0, tzinfo=UTC)


class JumpClock:
    """Sleeping takes no time and moves the clock."""

    def __init__(self, start: datetime = START) -> None:
        self._start = start
        self._lock = threading.Lock()
        self.slept_s = 0.0

    def now(self) -> datetime:
        return self._start + timedelta(seconds=self.slept_s)

    def monotonic(self) -> float:
        return self.slept_s

    def sleep(self, seconds: float) -> None:
        with self._lock:
            self.slept_s += seconds


class HandClock:
    """Sleepers wait until `advance` has passed their moment."""

    def __init__(self) -> None:
        self._moved = threading.Condition()
        self._at_s = 0.0
        self.sleepers = 0

    def now(self) -> datetime:
        return START + timedelta(seconds=self._at_s)

    def monotonic(self) -> float:
        return self._at_s

    def sleep(self, seconds: float) -> None:
        with self._moved:
            until_s = self._at_s + seconds
            self.sleepers += 1
            self._moved.notify_all()
            self._moved.wait_for(lambda: self._at_s >= until_s, timeout=60)
            self.sleepers -= 1

    def advance(self, seconds: float) -> None:
        with self._moved:
            self._at_s += seconds
            self._moved.notify_all()

    def wait_for_sleepers(self, count: int) -> None:
        with self._moved:
            assert self._moved.wait_for(lambda: self.sleepers >= count, timeout=60)

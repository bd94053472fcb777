"""How all threads share one ODIN host: common pauses, spaced uploads, bounded tries, one thread for each document."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random

from channelscribe.core.clock import Clock
from channelscribe.core.errors import ChannelscribeError
from channelscribe.odin.answers import Answer
from channelscribe.odin.config import OdinConfig
from channelscribe.odin.failures import failure_of


class Pacer:
    """A pause asked of one thread holds for all; uploads start at least `spacing_s` apart."""

    def __init__(self, clock: Clock, spacing_s: float) -> None:
        self._clock = clock
        self._spacing_s = spacing_s
        self._lock = threading.Lock()
        self._resume_at = 0.0
        self._next_slot_at = 0.0

    def hold(self, pause_s: float) -> None:
        with self._lock:
            self._resume_at = max(self._resume_at, self._clock.monotonic() + pause_s)

    def wait(self) -> None:
        """Returns once no pause is in force."""
        with self._lock:
            pause_s = self._resume_at - self._clock.monotonic()
        if pause_s > 0:
            self._clock.sleep(pause_s)

    def take_slot(self) -> None:
        """Returns when this thread may start an upload."""
        with self._lock:
            now = self._clock.monotonic()
            slot = max(now, self._next_slot_at)
            self._next_slot_at = slot + self._spacing_s
        if slot > now:
            self._clock.sleep(slot - now)


class Patience:
    """The tries of one operation: exponential backoff with jitter, or the pause that the host asks for."""

    def __init__(
        self, config: OdinConfig, clock: Clock, pacer: Pacer, random: Random, tries: int | None = None
    ) -> None:
        self._config = config
        self._clock = clock
        self._pacer = pacer
        self._random = random
        self._left = config.max_retries if tries is None else tries - 1
        self._backoff_s = config.backoff_s

    def spend(self, answer: Answer, doing: str) -> ChannelscribeError | None:
        """Waits before another try and gives None, or gives the error that ends the tries."""
        asked_s = answer.retry_after_s(self._clock.now())
        if self._left <= 0 or (asked_s or 0.0) > self._config.backoff_max_s:
            return failure_of(answer, doing, self._clock.now(), asked_s)
        self._left -= 1
        own_s = min(self._backoff_s, self._config.backoff_max_s) * self._random.uniform(0.5, 1.0)
        self._backoff_s *= 2
        pause_s = max(own_s, (asked_s or 0.0) + own_s * 0.1)
        if answer.status == 429:
            self._pacer.hold(pause_s)
        self._clock.sleep(pause_s)
        return None


class KeyLocks:
    """One lock for each document in work, forgotten when nobody holds or awaits it."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._locks: dict[str, tuple[threading.Lock, int]] = {}

    @contextmanager
    def holding(self, key: str) -> Iterator[None]:
        with self._guard:
            lock, users = self._locks.get(key, (threading.Lock(), 0))
            self._locks[key] = (lock, users + 1)
        try:
            with lock:
                yield
        finally:
            with self._guard:
                _, users = self._locks.pop(key)
                if users > 1:
                    self._locks[key] = (lock, users - 1)

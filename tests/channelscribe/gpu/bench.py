"""Parts for tests of gate and guard: a clock that moves when somebody sleeps, a card that says what it is told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from channelscribe.core.gpu import Card, GpuSample

CARD = Card("GPU-0000", "Test card", total_bytes=24 << 30)
START = datetime(2026, 11, 21, 5, 0, tzinfo=UTC)


SAMPLE = GpuSample(CARD.uuid, CARD.name, START, 0.0, temp_c=50.0, power_w=200.0, mem_total_bytes=24 << 30)


@dataclass
class StepClock:
    """Sleeping moves it, and whatever hangs on it happens on the way, at its own moments."""

    at_s: float = 0.0
    every_s: float = 1.0
    happen: Callable[[], object] | None = None
    _next_s: float = field(default=0.0, init=False)

    def now(self) -> datetime:
        return START + timedelta(seconds=self.at_s)

    def monotonic(self) -> float:
        return self.at_s

    def sleep(self, seconds: float) -> None:
        end_s = self.at_s + seconds
        while self.happen is not None and self._next_s <= end_s:
            self.at_s = max(self.at_s, self._next_s)
            self._next_s += self.every_s
            self.happen()
        self.at_s = end_s


@dataclass
class ToldReader:
    """Gives the sample that it was told, with the clock's time."""

    clock: StepClock
    told: GpuSample = SAMPLE
    card: Card = CARD
    closed: bool = False

    def tell(self, **said: object) -> None:
        self.told = replace(self.told, **said)  # type: ignore[arg-type]

    def sample(self) -> GpuSample:
        return replace(self.told, at=self.clock.now(), monotonic_s=self.clock.monotonic())

    def close(self) -> None:
        self.closed = True


def never() -> bool:
    return False

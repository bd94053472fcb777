"""Metrics: what a run's readings of a card add up to: joules, busy share, peaks, throttled, paused and slowed seconds.

After the run for `runs/` and its report, and on the way for the picture. Pure: readings in, totals out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import TypeVar

from channelscribe.core.curve import THROTTLING, Moment
from channelscribe.core.gpu import Zone

Number = TypeVar("Number", int, float)
SHORTEST_GAP_S = 10.0  # without a reading for longer, the run was not there: a Retry begins in a new process
GAP_SAMPLES = 5.0
MOST_W = 100_000.0  # no card draws nearly as much; a counter that says so has jumped


@dataclass(frozen=True, slots=True)
class GpuTotals:
    """Times in seconds, over all cards of the run. None where no reading said it; nothing is guessed as 0."""

    samples: int = 0
    cards: tuple[str, ...] = ()
    seconds: float = 0.0
    energy_j: float | None = None
    mean_power_w: float | None = None
    busy_share: float | None = None
    peak_memory_bytes: int | None = None
    peak_temp_c: float | None = None
    mean_temp_c: float | None = None
    throttled_s: float | None = None
    paused_s: float | None = None
    slowed_s: float | None = None
    pauses: int | None = None

    def audio_s_per_joule(self, audio_s: float) -> float | None:
        """Seconds of sound transcribed with one joule."""
        return audio_s / self.energy_j if self.energy_j and math.isfinite(audio_s) else None


def totals(moments: Iterable[Moment]) -> GpuTotals:
    """The totals of a run's readings, in any order, of any number of cards and attempts of the run.

    Energy is the difference of the card's own counter, and watts over time only where there is no counter. Time
    between two attempts of a run belongs to none of its figures.
    """
    cards = by_card(moments)
    attempts = [attempt for own in cards.values() for attempt in _attempts(own)]
    if not attempts:
        return GpuTotals()
    flat = [m for attempt in attempts for m in attempt]
    seconds = math.fsum(_dt(a, b) for a, b in _steps(attempts))
    energy_j = _sum(_energy_j(list(_attempts(own))) for own in cards.values())
    return GpuTotals(
        samples=len(flat),
        cards=tuple(cards),
        seconds=seconds,
        energy_j=energy_j,
        mean_power_w=energy_j / seconds if energy_j is not None and seconds > 0 else None,
        busy_share=_busy_share(attempts),
        peak_memory_bytes=_peak(m.mem_used_bytes for m in flat),
        peak_temp_c=_peak(m.temp_c for m in flat),
        mean_temp_c=_mean(attempts, lambda a, b: a.temp_c),
        throttled_s=_throttled_s(attempts),
        paused_s=_zone_s(attempts, Zone.PAUSE),
        slowed_s=_zone_s(attempts, Zone.SLOW),
        pauses=sum(_pauses(attempt) for attempt in attempts),
    )


def by_card(moments: Iterable[Moment]) -> dict[str, list[Moment]]:
    """The moments of each card by its UUID, in the order of time."""
    cards: dict[str, list[Moment]] = {}
    for m in sorted(moments, key=lambda m: (m.uuid, m.at)):
        cards.setdefault(m.uuid, []).append(m)
    return cards


def _attempts(own: Sequence[Moment]) -> Iterator[list[Moment]]:
    """One card's moments, parted where the run was not there."""
    steps = [_dt(a, b) for a, b in pairwise(own)]
    gap_s = max(SHORTEST_GAP_S, GAP_SAMPLES * median(steps)) if steps else 0.0
    start = 0
    for place, dt in enumerate(steps, 1):
        if dt > gap_s:
            yield list(own[start:place])
            start = place
    if own:
        yield list(own[start:])


def _dt(a: Moment, b: Moment) -> float:
    return (b.at - a.at).total_seconds()


def _steps(attempts: Iterable[Sequence[Moment]]) -> Iterator[tuple[Moment, Moment]]:
    return (step for attempt in attempts for step in pairwise(attempt))


def _energy_j(attempts: Sequence[Sequence[Moment]]) -> float | None:
    """Joules of one card."""
    if not any(_known(m.energy_j) is not None for attempt in attempts for m in attempt):
        return _integrated_j(attempts)
    counted = [_counted_j(attempt) for attempt in attempts]
    return math.fsum(counted) if any(len(attempt) > 1 for attempt in attempts) else None


def _counted_j(attempt: Sequence[Moment]) -> float:
    """A counter that went back to little began anew (the driver was loaded again) and stands for what it shows.

    A value that no card can have reached since the one before is a glitch, and is passed over.
    """
    known = ((m, j) for m in attempt if (j := _known(m.energy_j)) is not None and j >= 0)
    last: tuple[Moment, float] | None = None
    spent = []
    for m, joules in known:
        most_j = MOST_W * max(1.0, _dt(last[0], m)) if last else math.inf
        gained = joules - last[1] if last and joules >= last[1] else joules
        if last is None or gained <= most_j:
            spent.append(gained if last else 0.0)
            last = (m, joules)
    return math.fsum(spent)


def _integrated_j(attempts: Sequence[Sequence[Moment]]) -> float | None:
    watts = [
        (a.power_w + b.power_w) / 2 * _dt(a, b)
        for a, b in _steps(attempts)
        if a.power_w is not None and b.power_w is not None and _is_power(a.power_w) and _is_power(b.power_w)
    ]
    return math.fsum(watts) if watts else None


def _is_power(watts: float) -> bool:
    return 0 <= watts <= MOST_W  # also false for NaN


def _busy_share(attempts: Sequence[Sequence[Moment]]) -> float | None:
    """A reading tells the share since the one before it."""
    share = _mean(attempts, lambda a, b: b.busy_share)
    return None if share is None else min(1.0, max(0.0, share))


def _mean(attempts: Sequence[Sequence[Moment]], value: Callable[[Moment, Moment], float | None]) -> float | None:
    known = [(v * dt, dt) for a, b in _steps(attempts) for dt in [_dt(a, b)] if (v := value(a, b)) is not None]
    weighed = [(product, dt) for product, dt in known if math.isfinite(product)]
    seconds = math.fsum(dt for _, dt in weighed)
    return math.fsum(product for product, _ in weighed) / seconds if seconds > 0 else None


def _throttled_s(attempts: Sequence[Sequence[Moment]]) -> float | None:
    """By the card's own counter of thermal violation, which also sees between samples, or by its reasons."""
    masked = [(m.throttle_mask, _dt(m, n)) for m, n in _steps(attempts) if m.throttle_mask is not None]
    counted = [_counted(attempt) for attempt in attempts]
    by_counter = [s for s in counted if s is not None]
    if not masked and not by_counter:
        return None
    return max(math.fsum(dt for mask, dt in masked if mask & THROTTLING), math.fsum(by_counter))


def _counted(attempt: Sequence[Moment]) -> float | None:
    known = [(m, s) for m in attempt if (s := _known(m.thermal_violation_s)) is not None]
    if len(known) < 2:
        return None
    return math.fsum(min(max(0.0, after - before), _dt(a, b)) for (a, before), (b, after) in pairwise(known))


def _zone_s(attempts: Sequence[Sequence[Moment]], zone: Zone) -> float:
    return math.fsum(_dt(a, b) for a, b in _steps(attempts) if a.zone is zone)


def _pauses(attempt: Sequence[Moment]) -> int:
    began = attempt[0].zone is Zone.PAUSE
    return began + sum(b.zone is Zone.PAUSE and a.zone is not Zone.PAUSE for a, b in pairwise(attempt))


def _known(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _sum(values: Iterable[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return math.fsum(known) if known else None


def _peak(values: Iterable[Number | None]) -> Number | None:
    return max((v for v in values if v is not None and math.isfinite(v)), default=None)

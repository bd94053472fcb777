"""Thins a night of readings to as many points as a picture is wide, and keeps every peak and every pause.

Between the moments of a card and the drawing (gpu_chart.py); nothing here knows about SVG.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby, pairwise
from statistics import median

from channelscribe.core.curve import Moment
from channelscribe.core.gpu import Cause, Zone

Value = Callable[[Moment], float | None]
SHORTEST_BREAK_S = 10.0
BREAK_SAMPLES = 5.0
_SEVERITY = (Zone.RUN, Zone.SLOW, Zone.PAUSE, Zone.STOP)


@dataclass(frozen=True, slots=True)
class Point:
    """A place on the time axis, in seconds from the beginning; None ends a line there."""

    at_s: float
    value: float | None


@dataclass(frozen=True, slots=True)
class Stretch:
    """A time in one zone for one cause."""

    zone: Zone
    cause: Cause
    begin_s: float
    end_s: float


@dataclass(frozen=True)
class Track:
    """One card's readings over time, in `buckets` of equal length."""

    begin: datetime
    seconds: float
    moments: Sequence[Moment]
    buckets: int
    break_s: float  # without a reading for longer than this, nothing is known

    @classmethod
    def of(cls, moments: Sequence[Moment], buckets: int) -> Track | None:
        """Of moments in the order of time; None of none."""
        if not moments:
            return None
        begin = moments[0].at
        seconds = max(1.0, (moments[-1].at - begin).total_seconds())
        steps = [(b.at - a.at).total_seconds() for a, b in pairwise(moments)]
        break_s = max(SHORTEST_BREAK_S, BREAK_SAMPLES * (median(steps) if steps else 0.0)) + 2 * seconds / buckets
        return cls(begin, seconds, moments, buckets, break_s)

    def line(self, value: Value, low: float, high: float, *, peaks: bool = True) -> list[Point]:
        """With `peaks` the lowest and the highest of each bucket in their order, else its mean.

        Values outside `low` to `high` are what no card can have: they count as unknown.
        """
        known = [(self._at_s(m), v if (v := value(m)) is not None and low <= v <= high else None) for m in self.moments]
        points: list[Point] = []
        for _, group in groupby(known, key=lambda pair: self._bucket(pair[0])):
            points += _thinned(list(group), peaks)
        return self._broken(points)

    def stretches(self) -> list[Stretch]:
        """The times that were not `run`, each bucket as severe as its worst moment."""
        worst = [
            max(group, key=lambda m: _SEVERITY.index(m.zone))
            for _, group in groupby(self.moments, key=lambda m: self._bucket(self._at_s(m)))
        ]
        ends = [*(self._at_s(m) for m in worst[1:]), self.seconds]
        found: list[Stretch] = []
        for m, end_s in zip(worst, ends, strict=True):
            last = found[-1] if found else None
            begin_s = self._at_s(m)
            if last and (last.zone, last.cause) == (m.zone, m.cause) and begin_s <= last.end_s:
                begin_s = found.pop().begin_s
            found.append(Stretch(m.zone, m.cause, begin_s, min(end_s, self._at_s(m) + self.break_s)))
        return [stretch for stretch in found if stretch.zone is not Zone.RUN]

    def _at_s(self, m: Moment) -> float:
        return (m.at - self.begin).total_seconds()

    def _bucket(self, at_s: float) -> int:
        return min(self.buckets - 1, int(at_s / self.seconds * self.buckets))

    def _broken(self, points: Sequence[Point]) -> list[Point]:
        made = list(points[:1])
        for before, point in pairwise(points):
            if point.at_s - before.at_s > self.break_s:
                made.append(Point(before.at_s, None))
            made.append(point)
        return made


def _thinned(group: Sequence[tuple[float, float | None]], peaks: bool) -> list[Point]:
    values = [(at_s, v) for at_s, v in group if v is not None]
    if not values:
        return [Point(group[0][0], None)]
    if not peaks:
        return [Point(values[0][0], math.fsum(v for _, v in values) / len(values))]
    ends = {min(values, key=lambda pair: pair[1]), max(values, key=lambda pair: pair[1])}
    return [Point(at_s, v) for at_s, v in sorted(ends)]

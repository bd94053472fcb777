"""Policies beside each other: over simulated days in closed loop, and over recorded traces in open loop.

`channelscribe guard backtest` shows the rows, so that a user can choose ceilings with open eyes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from channelscribe.core.gpu import Decision, Zone
from channelscribe.core.guard import GuardPolicy
from channelscribe.gpu.closed import Moment, run_closed
from channelscribe.gpu.gauges import slowdown
from channelscribe.gpu.reference import Contender, contenders
from channelscribe.gpu.replay import Point, read_trace
from channelscribe.gpu.sanity import number
from channelscribe.gpu.scenarios import SCENARIOS, Scenario
from channelscribe.gpu.sim import find_scenario

_CURVE_POINTS = 600


@dataclass(frozen=True, slots=True)
class Row:
    """One policy on one scenario or trace. None: cannot be known, as the heat that another policy would have made.

    `throughput`: work per second, 1.0 is the cold card at full speed. `of_allowed`: share of the work of the best
    steady duty that holds the ceiling. `above_c`: how far the ceiling was exceeded; `step_heating_c`: by how much one
    GPU step (or one sample, where that is longer) heated at most. `exposed_s`: seconds above the ceiling in which the
    policy would have let work begin.
    """

    name: str
    throughput: float
    of_allowed: float | None
    max_c: float
    above_s: float
    above_c: float
    step_heating_c: float | None
    exposed_s: float
    swing_c: float
    pauses: int
    held_s: float
    energy_j: float | None
    kj_per_work_minute: float | None
    stopped: str = ""
    curve: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Backtest:
    """The rows of one scenario or trace."""

    name: str
    about: str
    closed_loop: bool
    duration_s: float
    ceiling_c: float
    rows: tuple[Row, ...]


def backtest(subject: str, policy: GuardPolicy) -> Backtest:
    """Runs every contender over a scenario by name, or over a Parquet file or folder of recorded samples.

    Raises UsageError for what is neither.
    """
    if subject in SCENARIOS or not (Path(subject).exists() or subject.endswith(".parquet")):
        return backtest_scenario(find_scenario(subject), policy)
    return backtest_trace(subject, read_trace(subject), policy)


def backtest_scenario(scenario: Scenario, policy: GuardPolicy) -> Backtest:
    """Closed loop: what a policy decides changes what the card does."""
    rows = tuple(score(c.name, run_closed(scenario, c, policy), scenario.duration_s) for c in contenders(policy))
    ceiling = min(policy.temp_c, scenario.build.slowdown_c - policy.headroom_pause_c)
    return Backtest(scenario.name, scenario.about, True, scenario.duration_s, ceiling, rows)


def backtest_trace(name: str, points: list[Point], policy: GuardPolicy) -> Backtest:
    """Open loop: the card did what it did; the table says what each policy would have said to it."""
    rows = tuple(_judged(contender, points, policy) for contender in contenders(policy))
    length = points[-1].sample.monotonic_s - points[0].sample.monotonic_s
    about = f"{len(points)} samples of {points[0].sample.name or 'a card'}; what each policy would have decided."
    return Backtest(name, about, False, length, _ceiling(points[0], policy), rows)


@dataclass(slots=True)
class _Sums:
    """What grows while a run is looked at."""

    work: float = 0.0
    judged: float = 0.0
    allowed: float = 0.0
    above_s: float = 0.0
    exposed_s: float = 0.0
    above_c: float = 0.0
    max_c: float = 0.0
    pauses: int = 0
    stopped: str = ""
    late: list[float] = field(default_factory=list)
    zone: Zone = Zone.RUN
    curve: list[tuple[float, float]] = field(default_factory=list)

    def heat(self, at_s: float, seconds: float, temp_c: float, ceiling_c: float, decision: Decision) -> None:
        self.max_c = max(self.max_c, temp_c)
        if temp_c > ceiling_c:
            self.above_s += seconds
            self.above_c = max(self.above_c, temp_c - ceiling_c)
            self.exposed_s += seconds if decision.zone in (Zone.RUN, Zone.SLOW) else 0.0
        self.pauses += decision.zone is Zone.PAUSE and self.zone is not Zone.PAUSE
        if decision.zone is Zone.STOP and not self.stopped:
            self.stopped = f"{decision.cause} at {at_s:.0f} s"
        self.zone = decision.zone
        self.curve.append((at_s, temp_c))

    def thin(self) -> tuple[tuple[float, float], ...]:
        """The curve with at most so many points, each the hottest of its stretch."""
        size = max(len(self.curve) // _CURVE_POINTS, 1)
        stretches = [self.curve[i : i + size] for i in range(0, len(self.curve), size)]
        return tuple(max(stretch, key=lambda p: p[1]) for stretch in stretches)


def score(name: str, moments: Iterable[Moment], duration_s: float) -> Row:
    """Sums up a run in closed loop."""
    sums, last = _Sums(), None
    for m in moments:
        last = m
        sums.heat(m.at_s, m.seconds, m.temp_c, m.ceiling_c, m.decision)
        sums.work += m.work
        if m.allowed is not None:
            sums.judged, sums.allowed = sums.judged + m.work, sums.allowed + m.allowed * m.seconds
        if m.at_s > duration_s / 2:
            sums.late.append(m.temp_c)
    energy_j = last.energy_j if last else 0.0
    return Row(
        name,
        throughput=sums.work / duration_s,
        of_allowed=sums.judged / sums.allowed if sums.allowed else None,
        max_c=sums.max_c,
        above_s=sums.above_s,
        above_c=sums.above_c,
        step_heating_c=last.heating_c if last else 0.0,
        exposed_s=sums.exposed_s,
        swing_c=max(sums.late, default=0.0) - min(sums.late, default=0.0),
        pauses=sums.pauses,
        held_s=last.held_s if last else 0.0,
        energy_j=energy_j,
        kj_per_work_minute=energy_j / 1000 / (sums.work / 60) if sums.work else None,
        stopped=sums.stopped,
        curve=sums.thin(),
    )


def _ceiling(point: Point, policy: GuardPolicy) -> float:
    limit = slowdown(point.sample, number(point.sample.temp_c))
    return policy.temp_c if limit is None else min(policy.temp_c, limit - policy.headroom_pause_c)


def _judged(contender: Contender, points: list[Point], policy: GuardPolicy) -> Row:
    sums, state, held_s, free = _Sums(), contender.begin, 0.0, 0.0
    begun_s = points[0].sample.monotonic_s
    for i, point in enumerate(points):
        end_s = points[i + 1].sample.monotonic_s if i + 1 < len(points) else point.sample.monotonic_s
        seconds = end_s - point.sample.monotonic_s
        state, decision = contender.step(state, point.sample, point.load)
        share = decision.duty if decision.zone in (Zone.RUN, Zone.SLOW) else 0.0
        free, held_s = free + share * seconds, held_s + (1.0 - share) * seconds
        temp_c = number(point.sample.temp_c)
        if temp_c is not None:
            sums.heat(point.sample.monotonic_s - begun_s, seconds, temp_c, _ceiling(point, policy), decision)
            sums.late.append(temp_c)
    length = max(points[-1].sample.monotonic_s - begun_s, 1e-9)
    return Row(
        contender.name,
        throughput=free / length,
        of_allowed=None,
        max_c=sums.max_c,
        above_s=sums.above_s,
        above_c=sums.above_c,
        step_heating_c=None,
        exposed_s=sums.exposed_s,
        swing_c=max(sums.late, default=0.0) - min(sums.late, default=0.0),
        pauses=sums.pauses,
        held_s=held_s,
        energy_j=_drawn(points),
        kj_per_work_minute=None,
        stopped=sums.stopped,
        curve=sums.thin(),
    )


def _drawn(points: list[Point]) -> float | None:
    """Joules over the trace, by the card's counter; None where it has none or has begun anew."""
    first, last = number(points[0].sample.energy_j), number(points[-1].sample.energy_j)
    return last - first if first is not None and last is not None and last >= first else None

"""The closed loop: a simulated card, a machine that works in GPU steps, and a policy that holds it, on a virtual clock.

Run by the backtest once per policy and scenario; twelve hours take seconds.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from channelscribe.core.gpu import Decision, GpuSample, Load, Reading, Zone
from channelscribe.core.guard import GuardPolicy
from channelscribe.gpu.reference import Contender
from channelscribe.gpu.scenarios import Scenario
from channelscribe.gpu.sim import SimReader

_TICK_S = 0.5
_FIXED = 0.1  # of a step's time does not shrink with its batch (assumed)
_EPOCH = datetime(2026, 1, 1, 20, tzinfo=UTC)
_BATCH = 16


class VirtualClock:
    """Time that passes only when somebody sleeps."""

    def __init__(self) -> None:
        self._passed_s = 0.0

    def now(self) -> datetime:
        return _EPOCH + timedelta(seconds=self._passed_s)

    def monotonic(self) -> float:
        return self._passed_s

    def sleep(self, seconds: float) -> None:
        self._passed_s += seconds


@dataclass(slots=True)
class Machine:
    """An endless queue of windows, worked off in steps that nobody interrupts; rests follow the duty."""

    step_s: float
    decision: Decision = field(default_factory=lambda: Decision(Zone.RUN))
    left: float = 0.0
    rest_s: float = 0.0
    ran_s: float = 0.0
    share: float = 1.0
    worth: float = 0.0
    work: float = 0.0
    busy_s: float = 0.0
    held_s: float = 0.0
    longest_s: float = 0.0
    steps: int = 0

    def live(self, seconds: float, speed: float) -> float:
        """Works, rests or waits for so long; the busy share of that time."""
        busy = 0.0
        left_s = seconds
        while left_s > 1e-9:
            if self.left > 0:
                used = min(left_s, self.left / speed)
                self._work(used, speed)
                busy += used
            elif self.rest_s > 0:
                used = min(left_s, self.rest_s)
                self.rest_s -= used
            elif self.decision.zone in (Zone.PAUSE, Zone.STOP):
                used = left_s
                self.held_s += used
            else:
                used = 0.0
                self._begin()
            left_s -= used
        self.busy_s += busy
        return busy / seconds

    def _begin(self) -> None:
        self.share = self.decision.batch_share
        self.left = self.step_s * (_FIXED + (1.0 - _FIXED) * self.share)
        self.worth = self.step_s * self.share / self.left
        self.ran_s = 0.0

    def _work(self, seconds: float, speed: float) -> None:
        self.left -= seconds * speed
        self.ran_s += seconds
        self.work += seconds * speed * self.worth
        self.longest_s = max(self.longest_s, self.ran_s)
        if self.left <= 1e-9:
            self.left, self.steps = 0.0, self.steps + 1
            self.rest_s = self.ran_s * (1.0 / max(self.decision.duty, 0.01) - 1.0)
            self.held_s += self.rest_s


@dataclass(frozen=True, slots=True)
class Moment:
    """One tick of a run. `allowed`: work per second that the best steady duty under the ceiling gives now, None while
    a blind thermometer or a tenant asks for a pause. `heating_c`: the most by which the card has heated so far within
    one GPU step (or one sample, where that is longer) that began warm: nobody can hold it better."""

    at_s: float
    seconds: float
    temp_c: float
    ceiling_c: float
    decision: Decision
    work: float
    allowed: float | None
    energy_j: float
    heating_c: float
    held_s: float
    reading: Reading | None


def run_closed(scenario: Scenario, contender: Contender, policy: GuardPolicy) -> Iterator[Moment]:
    """Plays the scenario under that policy, tick by tick; after a decision to stop nothing works any more."""
    clock = VirtualClock()
    reader = SimReader(scenario, clock)
    machine, state = Machine(scenario.step_s), contender.begin
    tick_s = min(_TICK_S, policy.sample_s, scenario.step_s)
    ceiling_c = min(policy.temp_c, scenario.build.slowdown_c - policy.headroom_pause_c)
    next_s, busy_s, sampled_s, heating_c = 0.0, 0.0, 0.0, 0.0
    recent = deque([reader.plant.temp_c], maxlen=1 + math.ceil(max(scenario.step_s, policy.sample_s) / tick_s))
    while clock.monotonic() < scenario.duration_s:
        now_s, before = clock.monotonic(), machine.work
        reading = None
        if now_s >= next_s:
            load = _load(machine, (machine.busy_s - busy_s) / max(now_s - sampled_s, tick_s))
            state, machine.decision, reading = _judge(contender, state, reader.sample(), load)
            reader.cap(machine.decision.cap_w)
            busy_s, sampled_s, next_s = machine.busy_s, now_s, next_s + policy.sample_s
            machine.longest_s *= 0.95
        busy = machine.live(tick_s, reader.plant.speed)
        clock.sleep(tick_s)
        reader.load(busy)
        reader.pass_time()
        recent.append(reader.plant.temp_c)
        if recent[0] >= ceiling_c - policy.slow_below_c:
            heating_c = max(heating_c, recent[-1] - recent[0])
        yield Moment(
            clock.monotonic(),
            tick_s,
            reader.plant.temp_c,
            ceiling_c,
            machine.decision,
            machine.work - before,
            _allowed(reader, ceiling_c),
            reader.plant.energy_j,
            heating_c,
            machine.held_s,
            reading,
        )


def _load(machine: Machine, busy_share: float) -> Load:
    return Load("decode", _BATCH, 100, 8, min(busy_share, 1.0), machine.held_s, machine.longest_s)


def _judge(contender: Contender, state: object, sample: GpuSample, load: Load) -> tuple[object, Decision, Reading]:
    state, decision = contender.step(state, sample, load)
    return state, decision, Reading(contender.name, sample, load, decision)


def _allowed(reader: SimReader, ceiling_c: float) -> float | None:
    if reader.knobs.sensor != "ok" or reader.knobs.foreign_bytes:
        return None
    return reader.plant.steady_duty(ceiling_c)

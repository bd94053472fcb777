"""The guard on a virtual clock, with a card that says what it is told and with the simulated one that really heats."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from channelscribe.core.errors import CoolingTimeout, GpuFailure
from channelscribe.core.gpu import Cause, GpuProcess, GpuSample, Reading, Zone
from channelscribe.core.guard import GuardPolicy
from channelscribe.gpu.gate import GuardGate
from channelscribe.gpu.guard import Change, Guard
from channelscribe.gpu.judgement import Judgement
from channelscribe.gpu.sim import open_sim
from tests.channelscribe.gpu.bench import CARD, StepClock, ToldReader, never

POLICY = GuardPolicy(min_dwell_s=2.0, max_pause_s=100.0, override_s=30.0)


@dataclass
class Bench:
    """A guard on a told card; `pass_s` lets time go by, with one judgement a second."""

    policy: GuardPolicy = POLICY
    judgement: Judgement | None = None
    clock: StepClock = field(default_factory=StepClock)
    changes: list[Change] = field(default_factory=list)
    readings: list[Reading] = field(default_factory=list)
    failures: list[GpuFailure] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.reader, self.gate = ToldReader(self.clock), GuardGate(self.clock)
        self.guard = Guard(
            self.reader,
            self.policy,
            self.gate,
            clock=self.clock,
            run_id="run-1",
            on_change=self.changes.append,
            on_reading=self.readings.append,
            on_failure=self.failures.append,
            judgement=self.judgement,
        )

    def pass_s(self, seconds: int) -> Zone:
        for _ in range(seconds):
            self.clock.sleep(1.0)
            self.guard.tick()
        return self.zone

    def heat(self, temp_c: float, within_s: int = 60, step_c: float = 5.0) -> Zone:
        """So many degrees a second, as a card does."""
        while self.reader.told.temp_c != temp_c:
            now_c = self.reader.told.temp_c or temp_c
            self.reader.tell(temp_c=max(temp_c, now_c - step_c) if temp_c < now_c else min(temp_c, now_c + step_c))
            self.pass_s(1)
        return self.pass_s(within_s)

    @property
    def zone(self) -> Zone:
        assert self.readings
        return self.readings[-1].decision.zone

    @property
    def zones(self) -> list[Zone]:
        return [change.decision.zone for change in self.changes]


def test_a_cool_card_is_left_alone() -> None:
    bench = Bench()
    assert bench.pass_s(20) is Zone.RUN
    assert bench.gate.reason is None
    assert (bench.changes, bench.failures, len(bench.readings)) == ([], [], 20)
    assert {r.run_id for r in bench.readings} == {"run-1"}
    assert bench.guard.snapshot() == bench.readings[-1]


def test_heat_closes_the_gate_before_anybody_is_told_and_cooling_opens_it() -> None:
    bench, open_when_told = Bench(), []
    bench.guard._on_change = lambda c: (open_when_told.append(bench.gate.reason is None), bench.changes.append(c))
    bench.heat(78)
    assert bench.zone is Zone.PAUSE and bench.gate.reason is not None
    assert "78" in bench.gate.reason and "75" in bench.gate.reason
    paused = bench.changes[-1]
    assert (paused.decision.cause, paused.card) == (Cause.TEMPERATURE, CARD)
    bench.heat(55)
    assert bench.zone is Zone.RUN and bench.gate.reason is None
    for change, opened in zip(bench.changes, open_when_told, strict=True):
        assert opened is (change.decision.zone not in (Zone.PAUSE, Zone.STOP))


def test_one_word_for_each_change_of_zone_however_long_it_lasts() -> None:
    bench = Bench()
    bench.heat(80, within_s=50)
    told = len(bench.changes)
    bench.pass_s(30)
    assert len(bench.changes) == told
    assert bench.zones.count(Zone.PAUSE) == 1
    assert all(a.decision.zone is b.before for a, b in itertools.pairwise(bench.changes))


def test_too_long_a_pause_ends_the_run_once_with_its_own_error() -> None:
    bench = Bench()
    bench.heat(80, within_s=98)
    assert bench.failures == []
    bench.pass_s(30)
    (failure,) = bench.failures
    assert isinstance(failure, CoolingTimeout)
    assert "Retry" in failure.reason and CARD.name in failure.reason and "80" in failure.reason
    assert bench.gate.reason is not None, "nothing more may run on it"


def test_a_lost_card_stops_the_run_and_nobody_may_overrule_that() -> None:
    bench = Bench()
    bench.pass_s(3)
    bench.reader.tell(lost=True)
    assert bench.pass_s(3) is Zone.STOP
    assert not bench.guard.override(300.0)
    assert bench.pass_s(3) is Zone.STOP and bench.gate.reason is not None
    (failure,) = bench.failures
    assert (type(failure), failure.code) == (GpuFailure, "gpu_lost")


def test_a_person_may_go_on_for_a_while_and_is_judged_again() -> None:
    bench = Bench()
    bench.heat(78)
    assert bench.guard.override(30.0)
    assert bench.gate.reason is None
    assert bench.pass_s(29) is Zone.RUN
    last = bench.readings[-1].decision
    assert last.cause is Cause.PERSON and "by hand" in last.reason and "78" in last.reason
    assert bench.pass_s(2) is Zone.PAUSE
    assert bench.gate.reason is not None
    assert bench.zones[-3:] == [Zone.PAUSE, Zone.RUN, Zone.PAUSE]


def test_an_override_ends_when_the_card_has_cooled() -> None:
    bench = Bench()
    bench.heat(78)
    bench.guard.override(30.0)
    bench.heat(50, within_s=5)
    assert bench.readings[-1].decision.cause is Cause.NONE
    bench.heat(78, within_s=2)
    assert bench.zone is Zone.PAUSE, "the hand was for the heat of then"


def test_an_override_of_no_time_holds_nothing_up() -> None:
    bench = Bench()
    bench.heat(78)
    bench.guard.override(0.0)
    assert bench.pass_s(1) is Zone.PAUSE


def test_the_stop_zone_ends_an_override() -> None:
    bench = Bench()
    bench.heat(78)
    bench.guard.override(30.0)
    bench.reader.tell(xids=(79,))
    assert bench.pass_s(1) is Zone.STOP
    assert bench.gate.reason is not None


def test_slow_means_rests_between_the_steps() -> None:
    bench = Bench()
    bench.heat(74, step_c=0.25)
    assert bench.zone is Zone.SLOW
    duty = bench.readings[-1].decision.duty
    assert 0 < duty < 1
    before_s = bench.clock.at_s
    for _ in range(20):
        with bench.gate.step("decode", 4, never):
            bench.clock.sleep(0.1)
    assert bench.clock.at_s - before_s == pytest.approx(0.1 + 1.9 / duty, rel=0.2)


def test_off_means_that_it_only_looks() -> None:
    bench = Bench(POLICY.model_copy(update={"enabled": False}))
    bench.heat(99)
    bench.reader.tell(lost=True)
    assert bench.pass_s(200) is Zone.RUN
    assert (bench.changes, bench.failures, bench.gate.reason) == ([], [], None)
    assert bench.guard.totals().peak_temp_c == 99


def test_totals_add_up_what_was_read() -> None:
    bench = Bench(POLICY.model_copy(update={"enabled": False}))
    bench.guard.tick()
    for second in range(1, 11):
        bench.reader.tell(energy_j=100.0 * second, throttle_mask=0x40 if second > 7 else 0x1, mem_used_bytes=second)
        with bench.gate.step("decode", 1, never):
            bench.clock.sleep(0.5)
        bench.clock.sleep(0.5)
        bench.guard.tick()
    totals = bench.guard.totals()
    assert totals.busy_share == pytest.approx(0.5)
    assert totals.throttled_s == pytest.approx(3.0)
    assert totals.energy_j == pytest.approx(900.0 + 200.0), "the counter; power for the second before it was known"
    assert (totals.peak_temp_c, totals.peak_memory_bytes) == (50.0, 10)
    assert (totals.pauses, totals.paused_s) == (0, 0.0)


def test_totals_count_pauses_by_the_gate_and_know_nothing_of_a_mute_card() -> None:
    bench = Bench()
    bench.heat(80, within_s=20)
    bench.heat(50, within_s=20)
    totals = bench.guard.totals()
    assert totals.pauses == 1
    assert totals.paused_s == pytest.approx(sum(bench.gate.closed_s().values()))
    assert totals.paused_s > 15
    mute = Bench()
    mute.reader.told = GpuSample(CARD.uuid, CARD.name, mute.reader.told.at, 0.0)
    mute.pass_s(5)
    said = mute.guard.totals()
    assert (said.energy_j, said.throttled_s, said.peak_temp_c, said.peak_memory_bytes) == (None, None, None, None)


def test_a_restarted_energy_counter_is_no_negative_work() -> None:
    bench = Bench()
    for energy_j in (1000.0, 1100.0, 5.0, 105.0):
        bench.reader.tell(energy_j=energy_j)
        bench.pass_s(1)
    assert bench.guard.totals().energy_j == pytest.approx(100 + 200 + 100)


def test_a_second_run_waits_on_a_card_that_the_first_holds(tmp_path: Path) -> None:
    clock = StepClock()
    first, second = (
        Bench(clock=clock, judgement=Judgement("GPU-1", name, folder=tmp_path, clock=clock)) for name in ("A", "B")
    )
    first.heat(78, within_s=3)
    assert second.reader.told.temp_c == 50.0
    assert second.pass_s(1) is Zone.PAUSE
    assert second.gate.reason is not None and "judged by A" in second.gate.reason
    for _ in range(12):
        first.reader.tell(temp_c=max(50.0, (first.reader.told.temp_c or 0) - 5))
        clock.sleep(1.0)
        first.guard.tick()
        second.guard.tick()
    assert (first.zone, second.zone) == (Zone.RUN, Zone.RUN)


def test_two_runs_of_ours_are_no_foreign_tenants_to_each_other(tmp_path: Path) -> None:
    import os

    clock = StepClock()
    first, second = (
        Bench(clock=clock, judgement=Judgement("GPU-1", name, folder=tmp_path, clock=clock)) for name in ("A", "B")
    )
    second.pass_s(1)
    first.reader.tell(processes=(GpuProcess(os.getpid(), 6 << 30, False, "python"),))
    assert first.pass_s(5) is Zone.RUN
    first.reader.tell(processes=(GpuProcess(1, 6 << 30, False, "game"),))
    second.pass_s(1)
    assert first.pass_s(5) is Zone.PAUSE
    assert first.readings[-1].decision.cause is Cause.FOREIGN


def broken(*_: object) -> None:
    raise RuntimeError("broken")


def test_listeners_that_fail_harm_nobody() -> None:
    bench = Bench()
    bench.guard._on_change = bench.guard._on_failure = broken
    bench.guard._on_reading = lambda reading: broken(bench.readings.append(reading))
    bench.heat(80, within_s=150)
    assert bench.gate.reason is not None
    bench.reader.tell(temp_c=60.0)
    for _ in range(30):
        bench.clock.sleep(1.0)
        bench.guard.tick()
    assert bench.zone is Zone.RUN and bench.gate.reason is None


def test_collection_is_left_to_the_next_boundary() -> None:
    collected: list[float] = []
    bench = Bench()
    bench.gate._collect = lambda: collected.append(bench.clock.at_s)
    bench.reader.tell(mem_used_bytes=19 << 30, torch_reserved_bytes=19 << 30, torch_allocated_bytes=8 << 30)
    bench.pass_s(10)
    assert any(r.decision.collect for r in bench.readings)
    assert collected == []
    with bench.gate.step("decode", 1, never):
        pass
    assert len(collected) == 1


# From here on with the system's clock: what a thread does that fails, hangs, or is asked to end.


class Stuck(ToldReader):
    """A driver whose call does not come back until it is let go."""

    def __init__(self, clock: StepClock) -> None:
        super().__init__(clock)
        self.hang, self.go = False, threading.Event()

    def sample(self) -> GpuSample:
        if self.hang:
            self.go.wait(60)
        return super().sample()


def wait_for(happened: Callable[[], bool]) -> None:
    for _ in range(1000):
        if happened():
            return
        threading.Event().wait(0.01)
    raise AssertionError("it did not happen")


def test_a_driver_that_hangs_closes_the_gate_is_told_and_ends_the_run_at_last() -> None:
    clock, changes, failures = StepClock(), list[Change](), list[GpuFailure]()
    reader, gate = Stuck(clock), GuardGate(clock)
    policy = GuardPolicy(sample_s=0.05, max_pause_s=60)
    guard = Guard(reader, policy, gate, clock=clock, on_change=changes.append, on_failure=failures.append)
    guard.start()
    reader.hang = True
    threading.Event().wait(0.2)
    guard.supervise()
    assert changes == [], "a short wait is no failure"
    clock.sleep(20.0)
    assert gate.unwatched
    entered = gate.step("decode", 1, lambda: clock.at_s > 25)
    entered.__enter__()
    assert clock.at_s > 25, "the step waited although nobody had closed the gate"
    guard.supervise()
    assert changes[-1].decision.cause is Cause.SENSOR and "has not answered" in changes[-1].decision.reason
    clock.sleep(61.0)
    guard.supervise()
    assert [type(f) for f in failures] == [CoolingTimeout]
    reader.hang = False
    reader.go.set()
    wait_for(lambda: gate.reason is None)
    guard.stop()
    assert reader.closed


class Raising(ToldReader):
    """Breaks its word: raises."""

    broken = True

    def sample(self) -> GpuSample:
        if self.broken:
            raise OSError("driver/library version mismatch")
        return super().sample()


def test_a_guard_that_stumbles_holds_the_card_until_it_judges_again() -> None:
    reader, gate = Raising(StepClock()), GuardGate()
    guard = Guard(reader, GuardPolicy(sample_s=0.05), gate)
    guard.start()
    assert gate.reason is not None
    reader.broken = False
    wait_for(lambda: gate.reason is None)
    guard.stop()


class Recorder:
    def __init__(self) -> None:
        self.applied: list[float | None] = []
        self.restored = 0

    def apply(self, watts: float | None) -> None:
        self.applied.append(watts)

    def restore(self) -> None:
        self.restored += 1


def test_the_end_opens_the_gate_restores_the_limit_and_lets_the_card_go() -> None:
    reader, gate, cap = ToldReader(StepClock()), GuardGate(), Recorder()
    reader.tell(temp_c=80.0)
    guard = Guard(reader, GuardPolicy(sample_s=0.05), gate, cap=cap)
    guard.start()
    assert gate.reason is not None, "judged before the first step could slip through"
    guard.stop()
    assert gate.reason is None and reader.closed and cap.restored == 1
    assert set(cap.applied) == {None}
    guard.stop()


def test_a_simulated_hot_room_is_kept_at_the_ceiling_by_the_whole_loop() -> None:
    """Plant, policy, guard and gate in one thread, an hour on the virtual clock: steps wait, rest and go on."""
    clock = StepClock()
    reader, gate = open_sim("hot", clock), GuardGate(clock)
    policy = GuardPolicy()
    hottest: list[float] = []
    guard = Guard(reader, policy, gate, clock=clock, on_reading=lambda r: hottest.append(r.sample.temp_c or 0.0))
    clock.happen = guard.tick
    while clock.at_s < 3600:
        with gate.step("decode", 16, never):
            clock.sleep(0.5)
    totals = guard.totals()
    assert max(hottest) <= policy.temp_c + 1
    assert totals.busy_share > 0.3
    assert totals.slowed_s + totals.paused_s > 0
    assert totals.energy_j is not None and totals.energy_j > 3600 * 100

"""The gate on a virtual clock: what waits, for how long, what is measured, and who may go in spite of it."""

from __future__ import annotations

import sys
import threading
from types import SimpleNamespace

import pytest

from channelscribe.core.gpu import Cause
from channelscribe.gpu.gate import COLLECT_S, GuardGate, give_back_memory
from tests.channelscribe.gpu.bench import StepClock, never


def work(gate: GuardGate, clock: StepClock, seconds: float, stage: str = "decode", batch: int = 4) -> None:
    with gate.step(stage, batch, never):
        clock.sleep(seconds)


def test_an_open_gate_lets_every_step_through_at_once() -> None:
    clock = StepClock()
    gate = GuardGate(clock)
    for _ in range(10):
        work(gate, clock, 0.5)
    assert clock.at_s == 5.0
    assert gate.held_s == 0.0
    assert gate.closed_s() == {}
    load = gate.take_load()
    assert (load.stage, load.batch, load.busy_share, load.longest_step_s) == ("decode", 4, 1.0, 0.5)


def test_a_step_waits_while_the_gate_is_held_and_the_seconds_are_counted_by_cause() -> None:
    clock = StepClock()
    gate = GuardGate(clock)
    gate.hold("80 °C", Cause.TEMPERATURE)
    clock.every_s, clock.happen = 30.0, lambda: clock.at_s >= 30 and gate.release()
    work(gate, clock, 1.0)
    assert 31.0 <= clock.at_s < 31.2
    assert gate.held_s == pytest.approx(30.0, abs=0.1)
    assert gate.closed_s() == {Cause.TEMPERATURE: 30.0}


def test_a_new_cause_counts_from_its_own_moment() -> None:
    clock = StepClock()
    gate = GuardGate(clock)
    gate.hold("hot", Cause.TEMPERATURE)
    clock.sleep(3)
    gate.hold("blind", Cause.SENSOR)
    clock.sleep(4)
    gate.release()
    gate.release()
    clock.sleep(5)
    assert gate.closed_s() == {Cause.TEMPERATURE: 3.0, Cause.SENSOR: 4.0}
    assert gate.held_s == 0.0, "nobody wanted to pass"


def test_stopping_gets_out_of_a_held_gate_without_leave_to_work() -> None:
    clock = StepClock()
    gate = GuardGate(clock)
    gate.hold("hot", Cause.TEMPERATURE)
    with gate.step("decode", 8, lambda: clock.at_s > 2.0):
        pass
    assert 2.0 < clock.at_s < 2.2
    load = gate.take_load()
    assert (load.stage, load.busy_share) == ("held", 0.0)
    assert load.held_s == pytest.approx(clock.at_s)


def test_an_exception_leaves_the_gate_as_it_was() -> None:
    gate = GuardGate(StepClock())
    with pytest.raises(RuntimeError), gate.step("decode", 1, never):
        raise RuntimeError
    with gate.step("decode", 1, never):
        pass
    assert gate.take_load().longest_step_s == 0.0


@pytest.mark.parametrize("duty", [0.1, 0.5, 0.8])
def test_duty_is_the_share_of_the_time_in_which_steps_run(duty: float) -> None:
    clock = StepClock()
    gate = GuardGate(clock)
    gate.slow(duty)
    for _ in range(50):
        work(gate, clock, 0.2)
    gate.take_load()
    for _ in range(100):
        work(gate, clock, 0.2)
    assert gate.take_load().busy_share == pytest.approx(duty, rel=0.05)


def test_the_end_of_slowing_ends_the_rest() -> None:
    clock = StepClock()
    gate = GuardGate(clock)
    gate.slow(0.01)
    work(gate, clock, 1.0)
    clock.every_s, clock.happen = 2.0, lambda: clock.at_s >= 2 and gate.slow(1.0)
    work(gate, clock, 1.0)
    assert clock.at_s < 3.2, "the 99 s of rest were not waited for"


def test_loading_the_model_is_followed_by_no_rest() -> None:
    clock = StepClock()
    gate = GuardGate(clock)
    gate.slow(0.1)
    work(gate, clock, 10.0, stage="load")
    work(gate, clock, 1.0)
    assert clock.at_s == 11.0
    assert gate.take_load().longest_step_s == 1.0


def test_a_gate_whose_guard_fell_silent_closes_until_it_speaks_again() -> None:
    clock = StepClock()
    gate = GuardGate(clock)
    gate.watch(15.0)
    work(gate, clock, 10.0)
    assert not gate.unwatched
    clock.sleep(6)
    assert gate.unwatched
    clock.every_s, clock._next_s, clock.happen = 1000.0, 40.0, gate.beat
    work(gate, clock, 1.0)
    assert 41.0 <= clock.at_s < 41.2
    gate.watch(None)
    clock.sleep(100)
    work(gate, clock, 1.0)
    assert clock.at_s < 143


def test_memory_is_given_back_between_steps_and_not_too_often() -> None:
    clock, collected = StepClock(), []
    gate = GuardGate(clock, collect=lambda: collected.append(clock.at_s))
    with gate.step("decode", 1, never):
        gate.tidy()
        clock.sleep(1)
        assert collected == [], "not in the middle of a step"
    for _ in range(int(COLLECT_S)):
        gate.tidy()
        work(gate, clock, 1.0)
    assert collected == [1.0]
    work(gate, clock, 1.0)
    assert collected == [1.0, 1.0 + COLLECT_S]


def test_no_memory_is_tidied_at_once_and_halves_what_was_at_work() -> None:
    clock, collected = StepClock(), []
    gate = GuardGate(clock, collect=lambda: collected.append(clock.at_s))
    gate.tidy()
    assert gate.most(32) == 32
    work(gate, clock, 1.0, batch=20)
    gate.out_of_memory()
    assert gate.most(32) == 10
    work(gate, clock, 1.0)
    assert collected == [0.0, 1.0]


def test_what_waits_behind_the_engine_is_told() -> None:
    gate = GuardGate(StepClock())
    gate.note(waiting=7, videos=3)
    load = gate.take_load()
    assert (load.waiting, load.videos, load.stage, load.busy_share) == (7, 3, "idle", 0.0)


def test_a_step_in_flight_counts_while_it_runs() -> None:
    clock = StepClock()
    gate = GuardGate(clock)
    with gate.step("encode", 2, never):
        clock.sleep(4)
        load = gate.take_load()
        assert (load.stage, load.batch, load.busy_share, load.longest_step_s) == ("encode", 2, 1.0, 4.0)
        clock.sleep(1)
    clock.sleep(1)
    assert gate.take_load().busy_share == pytest.approx(0.5)


def test_many_threads_pass_a_gate_that_opens_and_closes() -> None:
    """On the system's clock: nobody is lost, nobody is inside while it is held for good, and the meters agree."""
    gate, passed, held = GuardGate(), [], threading.Event()

    def passing(number: int) -> None:
        for _ in range(200):
            with gate.step("decode", number, never):
                assert not held.is_set()
                passed.append(number)

    threads = [threading.Thread(target=passing, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(20):
        gate.hold("hot", Cause.TEMPERATURE)
        gate.take_load()
        gate.release()
    for thread in threads:
        thread.join(60)
    assert len(passed) == 800
    gate.hold("hot", Cause.TEMPERATURE)
    held.set()
    late = threading.Thread(target=lambda: gate.step("decode", 1, lambda: True).__enter__())
    late.start()
    late.join(60)
    assert not late.is_alive()
    gate.take_load()
    assert gate.take_load().busy_share == 0.0


@pytest.mark.parametrize(("idle_gib", "emptied"), [(0.5, 0), (3.0, 1)])
def test_memory_is_given_back_only_where_there_is_some(
    monkeypatch: pytest.MonkeyPatch, idle_gib: float, emptied: int
) -> None:
    """A planned GPU is always above the mark for collection; collecting for nothing would hold it up for a second."""
    calls: list[str] = []
    cuda = SimpleNamespace(
        is_initialized=lambda: True,
        memory_reserved=lambda: 20 << 30,
        memory_allocated=lambda: int((20 - idle_gib) * (1 << 30)),
        empty_cache=lambda: calls.append("emptied"),
    )
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    give_back_memory()
    assert len(calls) == emptied

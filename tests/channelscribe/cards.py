"""Readings of a card for tests of several rooms: recorded from the simulator's plant, or made one by one."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from channelscribe.core.gpu import Cause, Decision, GpuProcess, GpuSample, Load, Reading, Zone
from channelscribe.core.guard import GuardPolicy
from channelscribe.gpu.policy import decide, start
from channelscribe.gpu.sim import open_sim

BEGIN = datetime(2026, 11, 21, 20, 0, tzinfo=UTC)


class RecordingClock:
    """A clock that moves when somebody sleeps."""

    def __init__(self, begin: datetime = BEGIN) -> None:
        self._begin, self._passed_s = begin, 0.0

    def now(self) -> datetime:
        return self._begin + timedelta(seconds=self._passed_s)

    def monotonic(self) -> float:
        return 1000.0 + self._passed_s

    def sleep(self, seconds: float) -> None:
        self._passed_s += seconds


def recorded(scenario: str, seconds: int, run_id: str = "run-1", begin: datetime = BEGIN) -> list[Reading]:
    """What the guard sees of a simulated card at 1 Hz, its decisions obeyed in the second after."""
    clock = RecordingClock(begin)
    reader, policy, state, readings = open_sim(scenario, clock), GuardPolicy(), start(), list[Reading]()
    busy = 0.95
    for _ in range(seconds):
        clock.sleep(1.0)
        load = Load("decode" if busy else "idle", 8, 20, 2, busy, 1.0 - busy)
        reader.load(busy)
        sample = reader.sample()
        state, decision = decide(policy, state, sample, load)
        busy = {Zone.RUN: 0.95, Zone.SLOW: 0.95 * decision.duty}.get(decision.zone, 0.0)
        readings.append(Reading(run_id, sample, load, decision))
    return readings


def a_reading(second: float = 0.0, run_id: str = "run-1", **sample: object) -> Reading:
    """One full reading; `sample` changes fields of the sample."""
    held = (GpuProcess(7, 1 << 33, True, "python"), GpuProcess(8, None, None, "häßlich"))
    made = GpuSample(
        "GPU-a",
        "A card",
        BEGIN + timedelta(seconds=second),
        1000.0 + second,
        temp_c=70.0,
        power_w=300.0,
        limit_w=450.0,
        energy_j=300.0 * second,
        throttle_mask=0x4,
        mem_used_bytes=9 << 30,
        mem_total_bytes=24 << 30,
        xids=(31, 79),
        processes=held,
        errors=("fan",),
    )
    load = Load("decode", 8, 3, 2, 0.9, 0.1)
    decision = Decision(Zone.SLOW, Cause.TEMPERATURE, "The temperature is 72 °C.", 72.0, 75.0, 70.0, "°C", 9.0, 0.8)
    return Reading(run_id, replace(made, **sample), load, decision)  # type: ignore[arg-type]

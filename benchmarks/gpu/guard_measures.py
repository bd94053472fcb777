"""What the guard check measures: the cost of a sample and of the gate, and a pause that is forced by a low ceiling.

`guard_check` calls it with a reader and a step of work, of a real GPU or of stand-ins.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

from channelscribe.core.clock import SystemClock
from channelscribe.core.gpu import GpuSample, Reader, Reading, Zone
from channelscribe.core.guard import GuardPolicy
from channelscribe.gpu.gate import GuardGate
from channelscribe.gpu.guard import Change, Guard

Step = Callable[[], None]
COLDEST_CEILING_C = 40.0  # the lowest that GuardPolicy takes
NEVER: Callable[[], bool] = lambda: False  # noqa: E731


@dataclass(frozen=True)
class Cost:
    """What sampling costs. `core_percent`: CPU time of the sampling thread in a second, at one sample a second."""

    samples: int
    cpu_ms_mean: float
    wall_ms_median: float
    wall_ms_max: float
    core_percent: float


@dataclass(frozen=True)
class Overhead:
    """What the gate adds to a step. `pass_us`: entering and leaving an open gate around nothing."""

    pass_us: float
    step_ms: float
    gated_step_ms: float
    percent: float


@dataclass(frozen=True)
class Pause:
    """A pause forced by a low ceiling. `steps_while_held` must be 0; `resumed` is how the work went on."""

    started_c: float | None
    ceiling_c: float
    pauses: int
    held_s: float
    resumed: str
    resumed_c: float | None
    steps: int
    steps_while_held: int
    rows: int


class Ahead(SystemClock):
    """A clock that is put forward, so that seldom questions come as often as in an hour, without the hour."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead_s


def dump(sample: GpuSample) -> dict[str, Any]:
    """Every field by name; None is what the GPU does not say."""
    return {f.name: getattr(sample, f.name) for f in fields(sample)}


def sampling_cost(reader: Reader, seconds: int, pause: Callable[[float], None]) -> Cost:
    """Samples once a second for so long; `pause` lets the rest of each second pass."""
    walls, cpus = [], []
    for _ in range(seconds):
        wall_s, cpu_s = time.perf_counter(), time.thread_time()
        reader.sample()
        cpus.append(time.thread_time() - cpu_s)
        walls.append(time.perf_counter() - wall_s)
        pause(max(0.0, 1.0 - walls[-1]))
    mean_s = statistics.fmean(cpus)
    return Cost(seconds, mean_s * 1e3, statistics.median(walls) * 1e3, max(walls) * 1e3, core_percent=mean_s * 100)


def gate_overhead(step: Step, rounds: int) -> Overhead:
    """The same steps with and without the gate, in turns, so that a change of clocks hits both."""
    gate = GuardGate()
    passes, plain, gated = 20_000, [], []
    began_s = time.perf_counter()
    for _ in range(passes):
        with gate.step("decode", 16, NEVER):
            pass
    pass_s = (time.perf_counter() - began_s) / passes
    step()
    for _ in range(rounds):
        plain.append(_timed(step))
        with gate.step("decode", 16, NEVER):
            inner_s = _timed(step)
        gated.append(inner_s + pass_s)
    return Overhead(
        pass_s * 1e6,
        statistics.median(plain) * 1e3,
        statistics.median(gated) * 1e3,
        100 * pass_s / statistics.median(plain),
    )


def _timed(step: Step) -> float:
    began_s = time.perf_counter()
    step()
    return time.perf_counter() - began_s


def forced_pause(reader: Reader, step: Step, warm_s: float, patience_s: float) -> tuple[Pause, list[Reading]]:
    """Warms the GPU, then starts a guard whose ceiling lies 2 degrees under it: it must hold at once, let no step
    begin, and go on by itself when the GPU has cooled 3 degrees; after `patience_s` it is resumed by hand."""
    _work(step, warm_s)
    started_c = reader.sample().temp_c
    ceiling_c = max(COLDEST_CEILING_C, (started_c or 0.0) - 2.0)
    policy = GuardPolicy(temp_c=ceiling_c, resume_below_c=1, slow_below_c=1, min_dwell_s=1, foreign="ignore")
    gate, readings, changes = GuardGate(), [], []  # type: ignore[var-annotated]
    guard = Guard(reader, policy, gate, run_id="guard_check", on_reading=readings.append, on_change=changes.append)
    guard.start()
    begun: list[float] = []
    done = threading.Event()
    worker = threading.Thread(target=_gated_work, args=(gate, step, done, begun), daemon=True)
    worker.start()
    resumed = _resumption(guard, changes, patience_s)
    time.sleep(2.0)
    done.set()
    worker.join(30)
    guard.stop()
    held = _held_spans(changes)
    inside = sum(a_s < at_s < b_s for at_s in begun for a_s, b_s in held)
    held_s = sum(b_s - a_s for a_s, b_s in held)
    last_c = next((r.sample.temp_c for r in readings if r.decision.zone in (Zone.RUN, Zone.SLOW)), None)
    pause = Pause(started_c, ceiling_c, len(held), held_s, resumed, last_c, len(begun), inside, len(readings))
    return pause, readings


def _resumption(guard: Guard, changes: Sequence[Change], patience_s: float) -> str:
    last = guard.snapshot()
    if last is None or last.decision.zone not in (Zone.PAUSE, Zone.STOP):
        return "never paused"
    end_s = time.monotonic() + patience_s
    while time.monotonic() < end_s:
        last = guard.snapshot()
        if last is not None and last.decision.zone in (Zone.RUN, Zone.SLOW):
            return "by itself"
        time.sleep(0.1)
    return "by hand" if guard.override(5.0) else "not allowed"


def _gated_work(gate: GuardGate, step: Step, done: threading.Event, begun: list[float]) -> None:
    while not done.is_set():
        with gate.step("decode", 16, done.is_set):
            if not done.is_set():
                begun.append(time.monotonic())
                step()


def _held_spans(changes: Sequence[Change]) -> list[tuple[float, float]]:
    """From the sample that paused to the one that let go, on the monotonic clock; 0.2 s of grace at the end."""
    spans, since_s = [], None
    for change in changes:
        at_s = change.reading.sample.monotonic_s
        if change.decision.zone in (Zone.PAUSE, Zone.STOP):
            since_s = at_s if since_s is None else since_s
        elif since_s is not None:
            spans.append((since_s + 0.2, at_s - 0.2))
            since_s = None
    return spans


def _work(step: Step, seconds: float) -> None:
    end_s = time.monotonic() + seconds
    while time.monotonic() < end_s:
        step()

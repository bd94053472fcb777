"""Reader, gate and guard on a real card, in one command: python -m benchmarks.gpu.guard_check

Dumps every field that the card answers, measures what sampling costs at 1 Hz and what the gate adds to a step, forces a
pause by a ceiling under the card's own temperature, and keeps the trace as Parquet, for the backtest and as a test.
`--stand-in` runs the same over the driver's stand-in of the tests and a simulated card: it shows that the command
works, and the figures then say what our own code costs without the driver.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from channelscribe.core.clock import SystemClock
from channelscribe.core.errors import GpuFailure
from channelscribe.core.gpu import GpuSample, Reader, Reading, Zone
from channelscribe.core.guard import GuardPolicy
from channelscribe.gpu.gate import GuardGate
from channelscribe.gpu.guard import Change, Guard
from channelscribe.gpu.open import open_reader
from channelscribe.gpu.replay import read_trace, write_trace

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
    """Every field by name; None is what the card does not say."""
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
    """Warms the card, then starts a guard whose ceiling lies 2 degrees under it: it must hold at once, let no step
    begin, and go on by itself when the card has cooled 3 degrees; after `patience_s` it is resumed by hand."""
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


def matmul_step(ordinal: int) -> Step:
    """8.8 TFLOP in half precision, and its end awaited."""
    import torch

    if not torch.cuda.is_available():
        raise GpuFailure("PyTorch sees no CUDA card; install its CUDA build to run this check.", code="no_cuda")
    a = torch.randn(8192, 8192, device=f"cuda:{ordinal}", dtype=torch.float16)

    def step() -> None:
        for _ in range(8):
            torch.mm(a, a)
        torch.cuda.synchronize(ordinal)

    return step


@contextmanager
def stand_in() -> Iterator[None]:
    """The driver's stand-in of the tests, in place of the driver."""
    from tests.emulators.nvml import FakeCard, FakeDriver, FakeProcess, installed

    tenants = [FakeProcess(os.getpid()), FakeProcess(os.getppid())]
    with installed(FakeDriver([FakeCard(name="stand-in", processes=tenants)])):
        yield


def check(options: argparse.Namespace) -> dict[str, Any]:
    """All five, on one card. Raises GpuFailure where there is none."""
    with ExitStack() as stack:
        if options.stand_in:
            stack.enter_context(stand_in())
        clock = Ahead()
        reader = open_reader(options.card, device="auto", clock=clock)
        if reader is None:
            raise GpuFailure("There is no NVIDIA card here; run it on a machine with one, or try --stand-in.")
        ahead = clock if options.stand_in else None
        cost = sampling_cost(reader, options.seconds, lambda s: _forward(ahead, s))
        first = reader.sample()
        step: Step = _nap if options.stand_in else matmul_step(reader.card.ordinal or 0)
        overhead = gate_overhead(step, options.rounds)
        warm = reader.sample()
        hot = _simulated(stack) if options.stand_in else reader
        pause, readings = forced_pause(hot, step, 0.0 if options.stand_in else options.warm_s, options.patience_s)
        reader.close()
        write_trace(options.trace, readings)
    torch_sees = {n: getattr(warm, n) for n in ("torch_allocated_bytes", "torch_reserved_bytes")}
    return {
        "what": "the stand-in, no card: the cost of our own code only" if options.stand_in else "a real card",
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "card": asdict(reader.card),
        "fields": dump(first if options.stand_in else replace(first, **torch_sees)),
        "sampling": asdict(cost),
        "gate": asdict(overhead),
        "pause": asdict(pause),
        "trace": {"path": str(options.trace), "points_read_back": len(read_trace(options.trace))},
    }


def _nap() -> None:
    time.sleep(0.005)


def _forward(clock: Ahead | None, seconds: float) -> None:
    if clock is None:
        time.sleep(seconds)
    else:
        clock.ahead_s += seconds


def _simulated(stack: ExitStack) -> Reader:
    """A hot card that cools twenty times as fast as a real one."""
    folder = stack.enter_context(tempfile.TemporaryDirectory())
    plant = Path(folder) / "plant.json"
    plant.write_text(json.dumps({"start_temp_c": 80, "speed": 20}), encoding="utf-8")
    reader = open_reader(f"sim:{plant}")
    assert reader is not None
    return reader


def tables(found: dict[str, Any]) -> list[Table]:
    made = []
    for part in ("card", "fields", "sampling", "gate", "pause", "trace"):
        table = Table("", "value", title=part, title_justify="left")
        for name, value in found[part].items():
            table.add_row(name, _shown(value))
        made.append(table)
    return made


def _shown(value: Any) -> str:
    if value is None:
        return "not told"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu.guard_check", description=__doc__)
    parser.add_argument("--card", default="auto", help="auto, CUDA's number, GPU-... or MIG-...")
    parser.add_argument("--seconds", type=int, default=60, help="samples of the cost, one a second")
    parser.add_argument("--rounds", type=int, default=200, help="steps with and without the gate")
    parser.add_argument("--warm-s", type=float, default=30.0, help="full load before the forced pause")
    parser.add_argument("--patience-s", type=float, default=180.0, help="then the pause is ended by hand")
    parser.add_argument("--trace", type=Path, default=Path("guard_check.parquet"))
    parser.add_argument("--stand-in", action="store_true", help="without a card: shows that this command works")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    try:
        found = check(options)
    except GpuFailure as failure:
        sys.stderr.write(f"{failure.reason}\n")
        return 2
    if options.json:
        sys.stdout.write(json.dumps(found, default=str) + "\n")
    else:
        console = Console()
        console.print(f"This was {found['what']}.")
        for table in tables(found):
            console.print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())

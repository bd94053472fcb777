"""Reader, gate and guard on a real GPU, in one command: python -m benchmarks.gpu.guard_check

Dumps every field that the GPU answers, measures what sampling costs at 1 Hz and what the gate adds to a step, forces a
pause by a ceiling under the GPU's own temperature, and keeps the trace as Parquet, for the backtest and as a test.
`--stand-in` runs the same over the driver's stand-in of the tests and a simulated GPU: it shows that the command
works, and the figures then say what our own code costs without the driver.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.gpu.guard_measures import Ahead, Step, dump, forced_pause, gate_overhead, sampling_cost
from channelscribe.core.errors import GpuFailure
from channelscribe.core.gpu import Reader
from channelscribe.gpu.open import open_reader
from channelscribe.gpu.replay import read_trace, write_trace


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
    """All five, on one GPU. Raises GpuFailure where there is none."""
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
    """A hot GPU that cools twenty times as fast as a real one."""
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

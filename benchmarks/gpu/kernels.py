"""The kernels of a decode step or of a micro-batch in the encoder, by the time they take.

What is measured is launched one by one, so that no graph hides what it consists of.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.gpu.engine_parts import Timer

MOST_ROWS, _NAME = 24, 90


def kernel_table(work: Callable[[], None], timer: Timer) -> list[tuple[str, int, float]]:
    """The longest: name, how often, milliseconds in all; last the rest of them together."""
    work()
    timer.sync()
    with profile(activities=_activities()) as seen:
        work()
        timer.sync()
    averages: Any = seen.key_averages()
    found = sorted(((_ms(row), row.count, row.key[:_NAME]) for row in averages if _ms(row) > 0), reverse=True)
    rest = found[MOST_ROWS:]
    lines = [(name, count, round(ms, 4)) for ms, count, name in found[:MOST_ROWS]]
    return [*lines, (f"{len(rest)} others", sum(r[1] for r in rest), round(sum(r[0] for r in rest), 4))]


def _activities() -> list[ProfilerActivity]:
    gpu = [ProfilerActivity.CUDA] if torch.cuda.is_available() else []
    return [ProfilerActivity.CPU, *gpu]


def _ms(row: Any) -> float:
    """Of the kernel alone; on a CPU of the operator alone."""
    on_gpu = torch.cuda.is_available()
    if on_gpu and str(row.device_type).endswith("CPU"):
        return 0.0  # the operators; their kernels have rows of their own
    return float(row.self_device_time_total if on_gpu else row.self_cpu_time_total) / 1e3

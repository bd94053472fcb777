"""The parent of the twelve minutes: one child a part, each with limits of its own, results written after each.

It touches no GPU and imports no torch, so that nothing a driver does can hold it and no memory is taken by it.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from benchmarks.gpu.limited import Limits, run_limited
from benchmarks.gpu.modes import without_switches
from benchmarks.gpu.notes import read
from benchmarks.gpu.outcome import LEFT_OUT, Outcome
from benchmarks.gpu.plan import Asked, Part
from benchmarks.gpu.results import Results
from benchmarks.gpu.stage import Stage

ROOT = Path(__file__).resolve().parents[2]
_QUIET = {
    "TRANSFORMERS_VERBOSITY": "error",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_OFFLINE": "1",
    "PYTHONWARNINGS": "ignore",
    "PYTHONUNBUFFERED": "1",
    "OMP_WAIT_POLICY": "PASSIVE",
    # What torch itself sets where graphs are replayed under the profiler: the tracer stays once it is there.
    "TEARDOWN_CUPTI": "0",
    "DISABLE_CUPTI_LAZY_REINIT": "1",
}
# What is left for killing, writing and ending when the last part is stopped.
_RESERVE_S = 3.0
Command = Callable[[Part, Path], list[str]]


class Session:
    """Runs a plan until its time is over; `memory_bytes` caps every part's own limit."""

    def __init__(
        self, results: Results, stage: Stage, seconds: float, memory_bytes: int, command: Command | None = None
    ) -> None:
        self._results, self._stage, self._memory_bytes = results, stage, memory_bytes
        self._until_s = time.monotonic() + seconds
        self._command = command or self._child

    def go(self, plan: Asked) -> None:
        try:
            part = next(plan)
            while True:
                outcome = self._one(part)
                self._results.add(outcome)
                part = plan.send(outcome)
        except StopIteration:
            return

    def _one(self, part: Part) -> Outcome:
        left_s = self._until_s - time.monotonic() - _RESERVE_S
        if left_s < part.least_s:
            why = f"{max(0.0, left_s):.0f} s are left and it may need {part.least_s:.0f} s"
            return Outcome(part.name, LEFT_OUT, why=why, mode=self._mode(part))
        limits = Limits(min(part.limit_s * self._stage.patience, left_s), min(part.memory_bytes, self._memory_bytes))
        try:
            with tempfile.TemporaryDirectory(prefix="bench-part-", ignore_cleanup_errors=True) as folder:
                return self._limited(part, limits, Path(folder))
        except Exception as error:  # noqa: BLE001  whatever went wrong here, the next part is begun
            return Outcome(part.name, "failed", why=f"{type(error).__name__}: {error}", mode=self._mode(part))

    def _limited(self, part: Part, limits: Limits, folder: Path) -> Outcome:
        result = folder / "result.json"
        ended = run_limited(self._command(part, result), limits, self._environment(part, folder), ROOT)
        outcome = read(part.name, self._mode(part), ended, result)
        lost = [name for name in part.keeps if outcome.ended and not self._results.keep(folder / name)]
        return replace(outcome, why=f"{', '.join(lost)} could not be kept") if lost else outcome

    def _child(self, part: Part, result: Path) -> list[str]:
        told = json.dumps({"stage": json.loads(self._stage.json()), "arguments": part.arguments})
        return [sys.executable, "-m", "benchmarks.gpu.part", part.work, told, str(result)]

    def _environment(self, part: Part, folder: Path) -> Mapping[str, str]:
        """The part's temporary files go with its folder; the caches of compiled kernels stay for the next part."""
        caches = {
            name: str(Path(self._stage.folder) / kind)
            for name, kind in (("TRITON_CACHE_DIR", "triton"), ("TORCHINDUCTOR_CACHE_DIR", "inductor"))
        }
        threads = {"OMP_NUM_THREADS": str(self._stage.threads)}
        own = {"TMPDIR": str(folder), **_QUIET, **threads, **caches, **part.mode.environment()}
        return without_switches(os.environ) | own

    def _mode(self, part: Part) -> str:
        return "" if self._stage.device == "cpu" and not part.mode.environment() else part.mode.name

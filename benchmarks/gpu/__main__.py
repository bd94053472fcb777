"""Everything that needs a card in one command and about eight minutes: `python -m benchmarks.gpu --out FOLDER`.

Goals: turbo 3,000x and large-v3 1,500x real time from sound, five times the pipeline of transformers in the same run,
1,500x from files, the card busy 90 % of the steady phase, equal tokens in float32. What there is no time for is said.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

from benchmarks import floor, report
from benchmarks.gpu.stubs import stand_in_for_missing
from benchmarks.job import Job
from benchmarks.peers import missing
from benchmarks.report import Measured
from benchmarks.throughput import measured_once, prepared

GOALS_RTFX = {"turbo": 3000.0, "large-v3": 1500.0}
DTYPES = ("float32", "bfloat16", "float16")


@dataclass(frozen=True, slots=True)
class Part:
    """One step of the plan. `needs_s` is what it may take; with less left it is left out."""

    name: str
    needs_s: float
    run: Callable[[], str]


class Session:
    """Runs parts in the order of their worth, writes every result at once, so that a cut-off run leaves them."""

    def __init__(self, out: Path, minutes: float) -> None:
        self._out, self._until = out, time.monotonic() + 60 * minutes
        self.measured: list[Measured] = []

    def go(self, parts: Sequence[Part]) -> None:
        for part in parts:
            left_s = self._until - time.monotonic()
            if left_s < part.needs_s:
                self.say(f"{part.name}: left out, {left_s:.0f} s are left and it may need {part.needs_s:.0f} s")
                continue
            try:
                self.say(f"{part.name}: {part.run()}")
            except (RuntimeError, OSError, ImportError, ValueError) as error:  # the next part may still work
                self.say(f"{part.name}: failed ({str(error)[-600:]})")

    def measure(self, job: Job) -> str:
        found = Measured(job, job.work().audio_s, (measured_once(job),))
        self.measured.append(found)
        with (self._out / "rows.jsonl").open("a", encoding="utf-8") as rows:
            rows.write(report.details_line(found) + "\n")
        return report.json_line(found) + " " + json.dumps(found.result.stages)

    def say(self, line: str) -> None:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
        with (self._out / "log.txt").open("a", encoding="utf-8") as log:
            log.write(line + "\n")


@dataclass(frozen=True, slots=True)
class Stage:
    """Where and how large: a card, or a rehearsal of every part on a CPU with a tiny shape."""

    folder: Path
    batch: int
    first: str = "turbo"
    second: str = "large-v3"
    device: str = "cuda"
    dtype: str = "bfloat16"
    share: float = 1.0
    threads: int = 16

    def job(self, model: str, engine: str, audio_s: float, batch: int) -> Job:
        sound_s, folder = audio_s * self.share, str(self.folder / model)
        batch = min(batch, self.batch)
        return Job(engine, "equal", model, folder, sound_s, 1.0, self.device, self.dtype, batch, self.threads)


def plan(session: Session, stage: Stage) -> list[Part]:
    """Ours and the pipeline first, on both shapes; then what explains them."""
    one = stage.job(stage.first, "channelscribe", 36_000.0, stage.batch)
    two = stage.job(stage.second, "channelscribe", 15_000.0, stage.batch)
    pipeline = stage.job(stage.first, "hf-pipeline", 5_760.0, 64)
    large_pipeline = stage.job(stage.second, "hf-pipeline", 3_840.0, 64)
    generate = stage.job(stage.first, "hf-generate", 5_760.0, 128)
    files = stage.job(stage.first, "channelscribe", 7_200.0, stage.batch)
    exact = {dtype: Part(f"tokens, {dtype}", 20, partial(_exact, dtype, stage.device)) for dtype in DTYPES}

    def measure(name: str, needs_s: float, job: Job) -> Part:
        return Part(name, needs_s, partial(session.measure, job))

    return [
        Part(f"checkpoint {stage.first}", 20, partial(_built, stage.first, stage)),
        measure(f"{stage.first}, sound in", 60, one),
        measure(f"{stage.first}, pipeline of transformers", 50, pipeline),
        measure(f"{stage.first}, variable lengths", 60, replace(one, workload="variable")),
        exact["float32"],
        exact["bfloat16"],
        Part(f"checkpoint {stage.second}", 20, partial(_built, stage.second, stage)),
        measure(f"{stage.second}, sound in", 80, two),
        measure(f"{stage.second}, pipeline of transformers", 80, large_pipeline),
        Part(f"{stage.first}, files in", 70, lambda: session.measure(_with_files(files, stage))),
        Part("trace", 60, partial(_trace, replace(one, audio_s=9_000.0 * stage.share))),
        Part(f"{stage.first}, faster-whisper", 90, partial(_faster, session, pipeline, stage)),
        measure(f"{stage.first}, generate", 50, generate),
        measure(f"{stage.first}, generate, static cache", 90, replace(generate, variant="static")),
        measure(f"{stage.first}, pipeline, variable lengths", 50, replace(pipeline, workload="variable")),
        exact["float16"],
    ]


def _built(name: str, stage: Stage) -> str:
    from benchmarks.clocked import checkpoint

    begun = time.monotonic()
    checkpoint(name, stage.folder, device=stage.device, dtype=stage.dtype)
    return f"built in {time.monotonic() - begun:.0f} s"


def _with_files(job: Job, stage: Stage) -> Job:
    return prepared(replace(job, workload="files"), stage.folder, device=stage.device, dtype=stage.dtype)


def _exact(dtype: str, device: str) -> str:
    from benchmarks.gpu.exact import compare
    from benchmarks.gpu.speech import windows

    found = compare(windows(48 if device == "cuda" else 3), device, dtype)
    return found.text + " " + json.dumps(found.differing)


def _trace(job: Job) -> str:
    from benchmarks.gpu.trace import as_json, traced

    with tempfile.TemporaryDirectory() as folder:
        return as_json(traced(job, Path(folder) / "trace.json"))


def _faster(session: Session, job: Job, stage: Stage) -> str:
    if why := missing("faster-whisper"):
        return why
    dtype = "float16" if stage.device == "cuda" else stage.dtype
    job = replace(job, engine="faster-whisper", dtype=dtype, variant="joined")
    return session.measure(prepared(job, stage.folder, device=stage.device, dtype=stage.dtype))


def verdict(among: Sequence[Measured], card: str) -> list[str]:
    """Each goal with what was measured, and the share of the floor."""
    said = []
    rates = next((r for name, r in floor.CARDS.items() if name.split()[-1] in card), None)
    for one in among:
        job, row = one.job, one.row()
        if job.engine == "channelscribe" and job.workload == "equal" and job.model in GOALS_RTFX:
            goal = GOALS_RTFX[job.model]
            share = row.rtfx / floor.floor_rtfx(job.model, rates, tokens=120, batch=job.batch) if rates else 0.0
            said.append(f"{job.model}: {row.rtfx:.0f}x, goal {goal:.0f}x, {share:.0%} of the floor, on {card}")
    return said


def main(arguments: Sequence[str] | None = None) -> int:
    import torch

    made = argparse.ArgumentParser(description=__doc__)
    made.add_argument("--out", type=Path, default=Path(os.environ.get("OUT", "gpu-results")))
    made.add_argument("--minutes", type=float, default=8.5, help="after which nothing new is begun")
    made.add_argument("--batch", type=int, default=256, help="decode slots; fewer where memory has no room")
    made.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "channelscribe-bench")
    made.add_argument("--rehearse", action="store_true", help="every part on the CPU with a tiny shape")
    asked = made.parse_args(arguments)
    if not asked.rehearse and not torch.cuda.is_available():
        sys.stderr.write("There is no CUDA card here that torch can use; these measurements need one.\n")
        return 2
    asked.out.mkdir(parents=True, exist_ok=True)
    stand_in_for_missing()
    session, card = Session(asked.out, asked.minutes), "" if asked.rehearse else torch.cuda.get_device_name(0)
    stage = Stage(asked.folder, asked.batch)
    if asked.rehearse:
        stage = Stage(asked.folder, 4, "mini", "mini", "cpu", "float32", 1 / 240, 1)
    session.say(report.where(stage.threads, card))
    session.go(plan(session, stage))
    for line in verdict(session.measured, card):
        session.say(line)
    (asked.out / "table.md").write_text(report.markdown(session.measured) + "\n", encoding="utf-8")
    (asked.out / "jobs.json").write_text(json.dumps([asdict(m.row()) for m in session.measured]), encoding="utf-8")
    return 0 if session.measured and all(m.tokens_ok for m in session.measured) else 1


if __name__ == "__main__":
    sys.exit(main())

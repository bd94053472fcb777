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


def plan(session: Session, folder: Path, out: Path, batch: int) -> list[Part]:
    """Ours and the pipeline first, on both shapes; then what explains them."""
    turbo = Job("channelscribe", "equal", "turbo", str(folder / "turbo"), 36_000.0, 1.0, "cuda", "bfloat16", batch, 16)
    large = replace(turbo, model="large-v3", folder=str(folder / "large-v3"), audio_s=15_000.0)
    pipeline = replace(turbo, engine="hf-pipeline", audio_s=5_760.0, batch=64)
    steps = [
        ("turbo, sound in", 60, turbo),
        ("turbo, pipeline of transformers", 50, pipeline),
        ("turbo, variable lengths", 60, replace(turbo, workload="variable")),
        ("large-v3, sound in", 80, large),
        ("large-v3, pipeline of transformers", 80, replace(pipeline, model="large-v3", folder=large.folder)),
        ("turbo, generate", 50, replace(pipeline, engine="hf-generate", batch=128)),
        ("turbo, generate, static cache, compiled", 90, replace(pipeline, engine="hf-generate", variant="static")),
        ("turbo, pipeline, variable lengths", 50, replace(pipeline, workload="variable")),
    ]
    parts = [Part(name, needs, partial(session.measure, job)) for name, needs, job in steps]
    made = [Part(f"checkpoint {name}", 20, partial(_built, name, folder)) for name in ("turbo", "large-v3")]
    files = Part("turbo, files in", 70, lambda: session.measure(_with_files(turbo, folder)))
    exact = [Part(f"equal tokens, {d}", 20, partial(_exact, d)) for d in ("float32", "bfloat16", "float16")]
    trace = Part("trace", 60, lambda: _trace(replace(turbo, audio_s=9_000.0), out))
    faster = Part("turbo, faster-whisper", 90, lambda: _faster(session, pipeline))
    return [
        *made[:1],
        *parts[:3],
        exact[0],
        exact[1],
        *made[1:],
        *parts[3:5],
        files,
        trace,
        faster,
        *parts[5:],
        exact[2],
    ]


def _built(name: str, folder: Path) -> str:
    from benchmarks.clocked import checkpoint

    begun = time.monotonic()
    checkpoint(name, folder, device="cuda", dtype="bfloat16")
    return f"built in {time.monotonic() - begun:.0f} s"


def _with_files(job: Job, folder: Path) -> Job:
    return prepared(replace(job, workload="files", audio_s=7_200.0), folder, device="cuda", dtype="bfloat16")


def _exact(dtype: str) -> str:
    from benchmarks.gpu.exact import compare
    from benchmarks.gpu.speech import windows

    found = compare(windows(48), "cuda", dtype)
    return found.text + " " + json.dumps(found.differing)


def _trace(job: Job, out: Path) -> str:
    from benchmarks.gpu.trace import as_json, traced

    with tempfile.TemporaryDirectory() as folder:
        return as_json(traced(job, Path(folder) / "trace.json"))


def _faster(session: Session, job: Job) -> str:
    if why := missing("faster-whisper"):
        return why
    job = replace(job, engine="faster-whisper", dtype="float16", variant="joined")
    return session.measure(prepared(job, Path(job.folder).parent, device="cuda", dtype="bfloat16"))


def verdict(among: Sequence[Measured], card: str) -> list[str]:
    """Each goal with what was measured, and the share of the floor."""
    said = []
    rates = next((r for name, r in floor.CARDS.items() if name.split()[-1] in card), None)
    for one in among:
        job, row = one.job, one.row()
        if job.engine == "channelscribe" and job.workload == "equal":
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
    asked = made.parse_args(arguments)
    if not torch.cuda.is_available():
        sys.stderr.write("There is no CUDA card here that torch can use; these measurements need one.\n")
        return 2
    asked.out.mkdir(parents=True, exist_ok=True)
    stand_in_for_missing()
    session, card = Session(asked.out, asked.minutes), torch.cuda.get_device_name(0)
    session.say(report.where(16, card))
    session.go(plan(session, asked.folder, asked.out, asked.batch))
    for line in verdict(session.measured, card):
        session.say(line)
    (asked.out / "table.md").write_text(report.markdown(session.measured) + "\n", encoding="utf-8")
    (asked.out / "jobs.json").write_text(json.dumps([asdict(m.row()) for m in session.measured]), encoding="utf-8")
    return 0 if session.measured and all(m.tokens_ok for m in session.measured) else 1


if __name__ == "__main__":
    sys.exit(main())

"""Throughput of the transcription engine beside its peers, on equal work, in one run: `make bench`.

Every measurement is a process of its own; repeats go round the engines, so that a busy minute hits all of them. All
decode greedily with their defaults otherwise, and what each wrote is compared with what the sound says.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from benchmarks import floor, report
from benchmarks.clocked import ARCHITECTURES, checkpoint
from benchmarks.job import ENGINES, Job, Result, workload_of
from benchmarks.peers import missing
from benchmarks.report import Measured
from benchmarks.workloads import encoded

ROOT = Path(__file__).resolve().parents[1]
WORKLOADS = ("equal", "variable", "files")
# Of the real distribution's lengths: 3 h become 6 min, so that a set has files of every kind and still takes minutes.
SCALE = 1 / 30
Say = Callable[[str], None]


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=__doc__)
    made.add_argument("--json", action="store_true", help="one JSON object a line instead of the table")
    made.add_argument("--models", default="tiny", help=f"shapes, with commas: {', '.join(ARCHITECTURES)}")
    made.add_argument("--engines", default=",".join(ENGINES), help="with commas")
    made.add_argument("--workloads", default=",".join(WORKLOADS), help="with commas; also many-N for N short files")
    made.add_argument("--dtypes", default="", help="float32; faster-whisper also int8 (default: both for it)")
    made.add_argument("--minutes", type=float, default=6.0, help="sound in the variable sets, about (equal has half)")
    made.add_argument("--repeats", type=int, default=1)
    made.add_argument("--threads", type=int, default=1, help="for every engine")
    made.add_argument("--batch", type=int, default=16, help="for every engine")
    made.add_argument("--joined", action="store_true", help="also faster-whisper with all files laid end to end")
    made.add_argument("--models-folder", type=Path, default=Path(tempfile.gettempdir()) / "channelscribe-bench")
    made.add_argument("--details", type=Path, help="also write every repeat and stage time here, as JSON lines")
    made.add_argument("--write", default="", metavar="HEADING", help="also append a section to RESULTS.md")
    return made


def jobs_of(asked: argparse.Namespace) -> list[Job]:
    """What is to be measured, without checkpoints and files yet."""
    made = []
    for model in _split(asked.models):
        for workload in _split(asked.workloads):
            audio_s = asked.minutes * (30.0 if workload == "equal" else 60.0)
            job = Job("", workload, model, "", audio_s, SCALE, batch=asked.batch, threads=asked.threads)
            for engine in _split(asked.engines):
                made += [replace(job, engine=engine, dtype=dtype) for dtype in _dtypes(engine, asked.dtypes)]
                if asked.joined and engine == "faster-whisper" and workload == "variable":
                    made.append(replace(job, engine=engine, variant="joined"))
    return made


def _dtypes(engine: str, asked: str) -> list[str]:
    if asked:
        return [dtype for dtype in _split(asked) if dtype != "int8" or engine == "faster-whisper"]
    return ["float32", "int8"] if engine == "faster-whisper" else ["float32"]


def prepared(job: Job, folder: Path, *, device: str = "cpu", dtype: str = "float32") -> Job:
    """With its checkpoint (converted, where the engine needs that) and its files."""
    from tests.emulators.encoding import encode_m4a

    model = checkpoint(job.model, folder, device=device, dtype=dtype)
    if job.engine == "faster-whisper":
        from benchmarks.peers import converted

        converted(model)
    media = folder / f"media-{job.audio_s:g}" if job.workload == "files" else None
    if media is not None:
        work = job.work()
        encoded(replace(work, takes=(*work.takes, job.warm(), *job.warmups())), media, encode_m4a)
    return replace(job, folder=str(model), media=str(media or ""))


def measured_once(job: Job) -> Result:
    """In a process of its own. Raises RuntimeError with the end of what it said when it fails."""
    quiet = {"TRANSFORMERS_VERBOSITY": "error", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "PYTHONWARNINGS": "ignore"}
    # Threads that wait without spinning: on a busy machine spinning would count as work.
    threads = {"OMP_NUM_THREADS": str(job.threads), "OMP_WAIT_POLICY": "PASSIVE"}
    command = [sys.executable, "-m", "benchmarks.child", job.json()]
    ended = subprocess.run(command, cwd=ROOT, env=os.environ | quiet | threads, capture_output=True, text=True)
    if ended.returncode or not ended.stdout.strip():
        raise RuntimeError(f"{job.engine} on {job.workload} failed: {ended.stderr[-2000:]}")
    return Result.of(ended.stdout.splitlines()[-1])


def measure(jobs: Sequence[Job], repeats: int, say: Say) -> list[Measured]:
    found: dict[Job, list[Result]] = {job: [] for job in jobs}
    for repeat in range(repeats):
        for job in jobs:
            one = measured_once(job)
            found[job].append(one)
            name = f"{job.model} {job.workload} {job.engine} {job.dtype} {job.variant}".rstrip()
            right = "right" if one.tokens_ok else "WRONG"
            say(f"{repeat + 1} of {repeats}: {name}: {one.wall_s:.1f} s, {one.cpu_s:.1f} s of CPU, tokens {right}")
    return [Measured(job, workload_of(job.workload, job.audio_s, job.scale).audio_s, tuple(found[job])) for job in jobs]


def shares(among: Sequence[Measured], threads: int) -> list[str]:
    """What our engine reached of the floor, a sentence for each model and workload with sound in."""
    rates, said = floor.measured_rates(threads), []
    for one in among:
        if one.job.engine == "channelscribe" and one.job.workload != "files":
            work = workload_of(one.job.workload, one.job.audio_s, one.job.scale)
            tokens = work.tokens / work.windows
            least_s = floor.floor_s(one.job.model, rates, tokens=tokens, batch=one.job.batch)
            took_s = one.result.cpu_s / work.windows
            said.append(
                f"{one.job.model}, {one.job.workload}: {tokens:.0f} tokens a window, {1e3 * took_s:.0f} ms of CPU a "
                f"window; floor {1e3 * least_s:.0f} ms at {rates.flop_s / 1e9:.0f} GFLOP/s and "
                f"{rates.byte_s / 1e9:.0f} GB/s as measured: {least_s / took_s:.0%} of it."
            )
    return said


def main(arguments: Sequence[str] | None = None) -> int:
    asked, console, errors = parser().parse_args(arguments), Console(width=200), Console(stderr=True)
    jobs = jobs_of(asked)
    for reason in sorted({why for job in jobs if (why := missing(job.engine))}):
        errors.print(reason)
    jobs = [prepared(job, asked.models_folder) for job in jobs if not missing(job.engine)]
    among = measure(jobs, asked.repeats, lambda line: errors.print(line, style="dim"))
    if asked.details:
        asked.details.write_text("".join(report.details_line(one) + "\n" for one in among), encoding="utf-8")
    if asked.json:
        sys.stdout.write("".join(report.json_line(one) + "\n" for one in among))
    else:
        console.print(report.table(among, report.where(asked.threads)))
        console.print("\n".join(shares(among, asked.threads)))
    if asked.write:
        body = [report.where(asked.threads) + ".", report.markdown(among), "\n".join(shares(among, asked.threads))]
        report.append_section(asked.write, "\n\n".join(body))
    return 0 if all(one.tokens_ok for one in among) else 1


def _split(names: str) -> list[str]:
    return [name.strip() for name in names.split(",") if name.strip()]


if __name__ == "__main__":
    sys.exit(main())

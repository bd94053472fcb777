"""Whole runs of an engine on a set of recordings, and the checkpoints for them, as parts of the twelve minutes.

The same jobs as `make bench` runs, in the part's own process. Before the clock starts every shape that a full batch
meets on its way down has been met; what is met for the first time later is told with its seconds.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks import floor
from benchmarks.child import measure
from benchmarks.clocked import checkpoint
from benchmarks.gpu.engine_parts import first_calls
from benchmarks.gpu.notes import Notes, Skip
from benchmarks.gpu.stage import Stage
from benchmarks.job import Job
from benchmarks.peers import missing
from benchmarks.report import Measured
from benchmarks.workloads import Take

GOALS_RTFX = {
    ("H100", "turbo"): 3000.0,
    ("H100", "large-v3"): 1200.0,
    ("H200", "turbo"): 3000.0,
    ("H200", "large-v3"): 1500.0,
}

# Files of up to half an hour: of real lengths one alone can have more seconds than are asked for.
_FILES_SCALE = 1 / 6


def built(stage: Stage, notes: Notes, arch: str) -> None:
    """On the device itself; a checkpoint that is there stays."""
    begun_s = time.monotonic()
    folder = checkpoint(arch, Path(stage.folder), device=stage.device, dtype=stage.dtype)
    size = sum(path.stat().st_size for path in folder.iterdir())
    notes.put(built_s=round(time.monotonic() - begun_s, 1), mib=round(size / 2**20))


def race(
    stage: Stage, notes: Notes, arch: str, workload: str, engine: str = "channelscribe", variant: str = ""
) -> None:
    """Raises Skip for a peer that is not installed."""
    if why := missing(engine):
        raise Skip(why)
    ours = engine == "channelscribe"
    audio_s = (stage.second_s if stage.is_second(arch) else stage.first_s) if ours else stage.peer_s
    job = job_of(stage, arch, workload, engine, audio_s, stage.batch if ours else stage.peer_batch)
    run(stage, notes, replace(job, variant=variant or job.variant))


def job_of(stage: Stage, arch: str, workload: str, engine: str, audio_s: float, batch: int) -> Job:
    folder = Path(stage.folder, arch)
    job = Job(
        engine, workload, arch, str(folder), audio_s, stage.scale, stage.device, stage.dtype, batch, stage.threads
    )
    if engine == "faster-whisper":
        from benchmarks.peers import converted

        converted(folder)
        job = replace(job, variant="joined", dtype="float16" if stage.on_gpu else stage.dtype)
    return job


def run(stage: Stage, notes: Notes, job: Job) -> None:
    """The row of the table, the engine's own figures, the shapes met late, the share of the floor and of the goal."""
    notes.put(job={"engine": job.engine, "workload": job.workload, "model": job.model, "batch": job.batch})
    late: dict[str, float] = {}
    with first_calls() as met:
        result = measure(job, begun=lambda: met.clear())
        late = dict(met)
    measured = Measured(job, job.work().audio_s, (result,))
    row = measured.row()
    notes.put(
        row={name: getattr(row, name) for name in row.__dataclass_fields__},
        batch=job.batch,
        stages=rounded(result.stages),
        met_late=late,
        met_late_s=round(sum(late.values()), 2),
        **against(job, row.rtfx, result.device_name),
    )
    if job.engine == "channelscribe" and not job.variant:
        notes.judge(result.tokens_ok)


def against(job: Job, rtfx: float, name: str) -> dict[str, Any]:
    """Nothing for a peer, or on a GPU of which no rates are known."""
    rates = next((rate for card, rate in floor.CARDS.items() if card.split()[-1] in name), None) if name else None
    if job.engine != "channelscribe" or rates is None:
        return {}
    work = job.work()
    least = floor.floor_rtfx(job.model, rates, tokens=work.tokens / work.windows, batch=job.batch)
    goal = GOALS_RTFX.get((rates.name, job.model))
    return {"of_floor": round(rtfx / least, 3), **({"goal_rtfx": goal} if goal and job.workload == "equal" else {})}


def rounded(stages: dict[str, Any]) -> dict[str, Any]:
    return {name: round(value, 4) if isinstance(value, float) else value for name, value in stages.items()}


def files(stage: Stage, notes: Notes, arch: str) -> None:
    """Files in: encoded by many threads before anything is measured. Raises Skip without PyAV."""
    if find_spec("av") is None:
        raise Skip("PyAV is not installed, so that there is nothing to write and read files with")
    job = job_of(stage, arch, "files", "channelscribe", stage.files_s, stage.batch)
    job = replace(job, scale=min(job.scale, _FILES_SCALE))
    media = Path(stage.folder, f"media-{stage.files_s:g}-{stage.batch}")
    begun_s = time.monotonic()
    takes = {take.name: take for take in (*job.work().takes, *job.warmups(), job.warm())}
    write_files(list(takes.values()), media, stage.threads)
    size = sum((media / f"{name}.m4a").stat().st_size for name in takes)
    notes.put(encoded_s=round(time.monotonic() - begun_s, 1), files=len(takes), mib=round(size / 2**20, 1))
    run(stage, notes, replace(job, media=str(media)))


def write_files(takes: list[Take], folder: Path, threads: int) -> None:
    """The longest first. Files that are there stay."""
    folder.mkdir(parents=True, exist_ok=True)
    waiting = [take for take in takes if not (folder / f"{take.name}.m4a").is_file()]
    waiting.sort(key=lambda take: -take.duration_s)
    with ThreadPoolExecutor(threads) as pool:  # numpy and the encoder work beside other threads
        list(pool.map(partial(_write_file, folder), waiting))


def _write_file(folder: Path, take: Take) -> None:
    """AAC at 32 kb/s: small, and its noise stays loud and its quiet quiet, which is all that the set needs."""
    from tests.emulators.encoding import M4A_LOW, encode

    path = folder / f"{take.name}.m4a"
    beside = path.with_suffix(".part")
    beside.write_bytes(encode(take.pcm(), M4A_LOW))
    beside.replace(path)

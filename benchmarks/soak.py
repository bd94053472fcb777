"""Memory and speed over many files in one process: `python -m benchmarks.soak --files 500`.

One engine hears that many files of one window each, while resident memory is read after every file. What grows with
the number of files shows between the 20th and the last. `--scaling` compares 10, 100, 1,000 files, each in a process of
its own. The model is the smallest, because what is measured is what a file costs beside its windows.
`--sound FOLDER --model MODEL` hears real files instead, over and over, through decoder, speech detection and model.
"""

from __future__ import annotations

import argparse
import gc
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path

import psutil

from benchmarks import report
from benchmarks.clocked import checkpoint, words_of
from benchmarks.job import Job
from benchmarks.throughput import measured_once

SETTLED = 20  # files after which caches, threads and kernels are there


@dataclass(frozen=True, slots=True)
class Soak:
    """Resident MiB after each file, in the order in which they ended."""

    resident_mib: tuple[float, ...]
    wall_s: float
    tokens_ok: bool

    @property
    def growth(self) -> float:
        """From the settled state to the end, as a share; medians of ten readings, since the allocator breathes."""
        early, late = self.resident_mib[SETTLED : SETTLED + 10], self.resident_mib[-10:]
        return _median(late) / _median(early) - 1.0

    @property
    def text(self) -> str:
        early, late = _median(self.resident_mib[SETTLED : SETTLED + 10]), _median(self.resident_mib[-10:])
        return (
            f"{len(self.resident_mib)} files in {self.wall_s:.0f} s: {early:.0f} MiB after file {SETTLED}, "
            f"{late:.0f} MiB at the end ({self.growth:+.1%}), at most {max(self.resident_mib):.0f} MiB"
        )


def soak(job: Job) -> Soak:
    """In this process. The sound of each file is made when it is asked for, so that it is not what is measured."""
    from benchmarks.engine import Ours

    takes, words, process = job.work().takes, words_of(job.folder_path), psutil.Process()
    ours, begun, resident, ok = Ours(job, takes, held=False), time.monotonic(), [], True
    try:
        ours.warm()
        with ThreadPoolExecutor(8) as callers:
            running = {callers.submit(ours.one, take): take for take in takes}
            for done in as_completed(running):
                ok = ok and done.result().split() == running.pop(done).text(words).split()
                gc.collect()
                resident.append(process.memory_info().rss / 2**20)
    finally:
        ours.close()
    return Soak(tuple(resident), time.monotonic() - begun, ok)


def soak_files(model: str, sound: Sequence[Path], count: int, threads: int) -> Soak:
    """The same with real files, whose text must be the same each time that they come by."""
    import torch

    from channelscribe.asr.registry import open_engine
    from channelscribe.core.profile import TranscriptionProfile

    torch.set_num_threads(threads)
    process, begun, resident, texts = psutil.Process(), time.monotonic(), [], dict[Path, set[str]]()
    with open_engine(TranscriptionProfile(model=model)) as engine, ThreadPoolExecutor(8) as callers:

        def hear(at: int) -> None:
            path = sound[at % len(sound)]
            made = engine.transcribe(path, video_id=str(at), media_sha256=f"{at:064x}")
            texts.setdefault(path, set()).add(made.text)

        for done in as_completed([callers.submit(hear, at) for at in range(count)]):
            done.result()
            gc.collect()
            resident.append(process.memory_info().rss / 2**20)
    return Soak(tuple(resident), time.monotonic() - begun, all(len(found) == 1 for found in texts.values()))


def scaling(job: Job, counts: Sequence[int]) -> list[str]:
    said = []
    for count in counts:
        found = measured_once(replace(job, workload=f"many-{count}"))
        said.append(
            f"{count} files: {found.wall_s:.1f} s, {1e3 * found.cpu_s / count:.0f} ms of CPU a file, peak "
            f"{found.peak_mib:.0f} MiB, places {found.stages['mean_occupancy']:.0%} full, "
            f"tokens {'right' if found.tokens_ok else 'WRONG'}"
        )
    return said


def main(arguments: Sequence[str] | None = None) -> int:
    made = argparse.ArgumentParser(description=__doc__)
    made.add_argument("--files", type=int, default=500)
    made.add_argument("--scaling", action="store_true")
    made.add_argument("--threads", type=int, default=1)
    made.add_argument("--sound", type=Path, help="a folder of sound files; with --model")
    made.add_argument("--model", default="", help="a hub name or a folder")
    made.add_argument("--write", default="", metavar="HEADING", help="also append a section to RESULTS.md")
    asked = made.parse_args(arguments)
    if bool(asked.sound) != bool(asked.model):
        made.error("--sound and --model go together")
    folder = checkpoint("mini", Path(tempfile.gettempdir()) / "channelscribe-bench")
    job = Job("channelscribe", f"many-{asked.files}", "mini", str(folder), 0.0, 1.0, threads=asked.threads)
    if asked.scaling:
        lines, ok = scaling(job, (10, 100, 1000)), True
    else:
        files = sorted(filter(Path.is_file, asked.sound.iterdir())) if asked.sound else []
        found = soak_files(asked.model, files, asked.files, asked.threads) if files else soak(job)
        lines, ok = [found.text], found.tokens_ok
    sys.stdout.write("\n".join(lines) + "\n")
    if asked.write:
        report.append_section(asked.write, report.where(asked.threads) + ".\n\n" + "\n".join(f"- {x}" for x in lines))
    return 0 if ok else 1


def _median(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2]


if __name__ == "__main__":
    sys.exit(main())

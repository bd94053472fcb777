"""One measurement in a process of its own: `python -m benchmarks.child JOB`, the result as the last line.

`throughput` starts it, so that peak memory and CPU seconds are one engine's alone. The first run is not measured.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from benchmarks.job import Job, Result


def main(arguments: list[str]) -> int:
    job = Job(**json.loads(arguments[0]))
    os.environ["OMP_NUM_THREADS"] = str(job.threads)  # before torch and CTranslate2 are there
    sys.stdout.write(json.dumps(asdict(measure(job))) + "\n")
    return 0


def measure(job: Job, begun: Callable[[], None] | None = None) -> Result:
    """`begun` is called once everything is warm, before the clock starts."""
    import torch

    from benchmarks.clocked import words_of
    from benchmarks.gpu.watch import watched
    from benchmarks.peers import open_contender

    torch.set_num_threads(job.threads)
    work, words = job.work(), words_of(job.folder_path)
    contender = open_contender(job, work.takes)
    try:
        contender.warm()
        if begun is not None:
            begun()
        with watched(job.device) as seen:
            cpu_s, began = cpu_seconds(), time.perf_counter()
            texts = contender.run()
            if job.device.startswith("cuda"):
                torch.cuda.synchronize()
            wall_s, cpu_s = time.perf_counter() - began, cpu_seconds() - cpu_s
        stages = {**contender.stages(), **seen()}
    finally:
        contender.close()
    wanted = [take.text(words) for take in work.takes]
    ok = same_words([" ".join(texts)], [" ".join(wanted)]) if job.variant == "joined" else same_words(texts, wanted)
    name = torch.cuda.get_device_name(job.device) if job.device.startswith("cuda") else ""
    return Result(wall_s, cpu_s, peak_mib(), work.windows, ok, name, stages)


def cpu_seconds() -> float:
    """Of this process and of children that have ended, as our decoders have by then."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def peak_mib() -> float:
    """Of this program alone: Linux's `ru_maxrss` also counts the process that started it."""
    status = Path("/proc/self/status")
    if status.is_file():
        for line in status.read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)


def same_words(a: list[str], b: list[str]) -> bool:
    return [text.split() for text in a] == [text.split() for text in b]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

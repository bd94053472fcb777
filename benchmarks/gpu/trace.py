"""What the GPU does in a steady second: kernel time, graph launches, how much overlaps across streams.

A part of the twelve minutes. The profiler's trace is read, summed up and thrown away.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch.profiler import ProfilerActivity, profile

from benchmarks.engine import Ours, since
from benchmarks.gpu.notes import Notes
from benchmarks.gpu.stage import Stage

_PATIENCE_S, _LOOK_S = 60.0, 0.05


@dataclass(frozen=True, slots=True)
class Timeline:
    """`busy_share` of the span in which some kernel ran, `overlap_share` in which kernels of two streams did.

    `stream_shares`: of the span, by stream, the busiest first.
    """

    span_s: float
    kernels: int
    streams: int
    graph_launches: int
    busy_share: float
    overlap_share: float
    stream_shares: tuple[float, ...] = ()


def busy(stage: Stage, notes: Notes, arch: str) -> None:
    """A slice out of the middle of a variable run, where slots are refilled while others decode."""
    from benchmarks.gpu.race import job_of

    job = job_of(stage, arch, "variable", "channelscribe", stage.first_s, stage.batch)
    ours = Ours(job, job.work().takes)
    try:
        with profile(activities=_activities(stage)):
            pass  # the first start is the dear one
        ours.warm()
        before = ours.totals()
        runner = threading.Thread(target=_run, args=(ours,), name="bench-run", daemon=True)
        runner.start()
        steady = _steady(ours, runner)
        began = ours.totals()
        with profile(activities=_activities(stage)) as recorded:
            time.sleep(stage.slice_s)
        ended = ours.totals()
        notes.put(steady=steady, going_on=runner.is_alive(), in_slice=_few(since(ended, began)))
        notes.put(timeline=asdict(_read(recorded, notes.folder / "trace.json")))
        runner.join(5 if stage.on_gpu else 30)
        notes.put(run=_few(since(ours.totals(), before)))
    finally:
        ours.close()


def _activities(stage: Stage) -> list[ProfilerActivity]:
    return [ProfilerActivity.CUDA] if stage.on_gpu else [ProfilerActivity.CPU]


def _run(ours: Ours) -> None:
    """A run that is cut off by closing the engine raises in every caller, which is no news here."""
    from channelscribe.core.errors import ChannelscribeError

    try:
        ours.run()
    except ChannelscribeError:
        return


def _steady(ours: Ours, runner: threading.Thread) -> bool:
    """Waits until slots are being refilled, as far as that happens."""
    until_s = time.monotonic() + _PATIENCE_S
    while runner.is_alive() and time.monotonic() < until_s:
        if ours.stages()["refills"] > ours.totals().slots // 2:
            return True
        time.sleep(_LOOK_S)
    return False


def _few(stages: dict[str, Any]) -> dict[str, Any]:
    names = ("windows", "audio_s", "tokens", "refills", "encoded", "encode_s", "decode_s", "mean_occupancy")
    return {name: round(stages[name], 3) for name in names if name in stages}


def _read(recorded: Any, path: Path) -> Timeline:
    recorded.export_chrome_trace(str(path))
    try:
        return timeline(json.loads(path.read_text(encoding="utf-8"))["traceEvents"])
    finally:
        path.unlink()


def timeline(events: Iterable[dict[str, Any]]) -> Timeline:
    """From the events of a Chrome trace (times in microseconds)."""
    kernels, launches = [], 0
    for event in events:
        launches += event.get("name", "").startswith("cudaGraphLaunch")
        if event.get("cat") == "kernel":
            kernels.append((event["ts"], event["ts"] + event["dur"], event.get("args", {}).get("stream", event["tid"])))
    if not kernels:
        return Timeline(0.0, 0, 0, launches, 0.0, 0.0)
    begin, end = min(k[0] for k in kernels), max(k[1] for k in kernels)
    busy_us, overlap_us, by_stream = _covered(kernels)
    span = max(end - begin, 1e-9)
    shares = tuple(round(us / span, 4) for us in sorted(by_stream.values(), reverse=True))
    return Timeline(span / 1e6, len(kernels), len(by_stream), launches, busy_us / span, overlap_us / span, shares)


def _covered(kernels: list[tuple[float, float, int]]) -> tuple[float, float, dict[int, float]]:
    """Microseconds with at least one stream at work, with at least two, and of each."""
    edges = sorted([(a, 1, s) for a, _, s in kernels] + [(b, -1, s) for _, b, s in kernels])
    running: dict[int, int] = {}
    by_stream: dict[int, float] = {}
    busy_us = overlap_us = 0.0
    last = edges[0][0]
    for at, change, stream in edges:
        working = [each for each, count in running.items() if count > 0]
        busy_us += (at - last) * bool(working)
        overlap_us += (at - last) * (len(working) > 1)
        for each in working:
            by_stream[each] = by_stream.get(each, 0.0) + at - last
        running[stream] = running.get(stream, 0) + change
        last = at
    return busy_us, overlap_us, by_stream

"""What the card does in a steady second: graph launches, kernel time, and how much of it overlaps across streams."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.job import Job


@dataclass(frozen=True, slots=True)
class Timeline:
    """`busy_share` of the span in which some kernel ran, `overlap_share` in which kernels of two streams did."""

    span_s: float
    kernels: int
    streams: int
    graph_launches: int
    busy_share: float
    overlap_share: float


def traced(job: Job, out: Path) -> Timeline:
    """Runs our engine on the job's workload under the profiler; the trace itself is written to `out`."""
    from torch.profiler import profile

    from benchmarks.engine import Ours

    ours = Ours(job, job.work().takes)
    try:
        ours.warm()
        with profile() as recorded:  # every activity that there is
            ours.run()
    finally:
        ours.close()
    recorded.export_chrome_trace(str(out))
    return timeline(json.loads(out.read_text(encoding="utf-8"))["traceEvents"])


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
    busy, overlap = _covered(kernels)
    span = max(end - begin, 1e-9)
    return Timeline(span / 1e6, len(kernels), len({k[2] for k in kernels}), launches, busy / span, overlap / span)


def _covered(kernels: list[tuple[float, float, int]]) -> tuple[float, float]:
    """Microseconds with at least one stream at work, and with at least two."""
    edges = sorted([(a, 1, s) for a, _, s in kernels] + [(b, -1, s) for _, b, s in kernels])
    running: dict[int, int] = {}
    busy = overlap = 0.0
    last = edges[0][0]
    for at, change, stream in edges:
        streams = sum(count > 0 for count in running.values())
        busy += (at - last) * (streams > 0)
        overlap += (at - last) * (streams > 1)
        running[stream] = running.get(stream, 0) + change
        last = at
    return busy, overlap


def as_json(found: Timeline) -> str:
    return json.dumps(asdict(found))

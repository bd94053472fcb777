"""How busy, hot and full the GPU is while an engine runs, by the project's own reader."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from statistics import fmean
from typing import Any

from channelscribe.core.gpu import GpuSample

_EVERY_S = 0.25
_RAMP = 0.1  # of the samples at either end: filling and draining are not the steady phase


@contextmanager
def watched(device: str) -> Iterator[Callable[[], dict[str, Any]]]:
    """Gives a function that, once the block has ended, tells what was seen; nothing without a GPU."""
    samples: list[GpuSample] = []
    if not device.startswith("cuda"):
        yield dict
        return
    from channelscribe.gpu.open import open_reader

    reader, ended = open_reader("auto", device=device), threading.Event()

    def look() -> None:
        while reader is not None and not ended.wait(_EVERY_S):
            samples.append(reader.sample())

    thread = threading.Thread(target=look, name="bench-gpu-watch", daemon=True)
    thread.start()
    try:
        yield lambda: summary(samples)
    finally:
        ended.set()
        thread.join()
        if reader is not None:
            reader.close()


def summary(samples: Sequence[GpuSample]) -> dict[str, Any]:
    """Means over the steady phase, peaks over all; a field that no sample has is left out."""
    ramp = int(len(samples) * _RAMP)
    steady = samples[ramp : len(samples) - ramp]
    found: dict[str, Any] = {"gpu_samples": len(samples)}
    for name in ("util_gpu_percent", "power_w", "sm_clock_mhz"):
        if values := [value for s in steady if (value := getattr(s, name)) is not None]:
            found[f"gpu_{name}"] = round(fmean(values), 1)
    for name in ("temp_c", "mem_used_bytes", "limit_w"):
        if values := [value for s in samples if (value := getattr(s, name)) is not None]:
            found[f"gpu_peak_{name}"] = max(values)
    return found

"""What one measuring process is told and what it says, as JSON between `throughput` and its children."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.workloads import Take, Workload, equal, many, variable, warming

ENGINES = ("channelscribe", "hf-pipeline", "hf-generate", "faster-whisper")


@dataclass(frozen=True, slots=True)
class Job:
    """One engine, one workload, one repeat. `folder` holds the checkpoint, `media` the files (empty: sound in).

    `variant` is "joined" (faster-whisper: all files laid end to end) or "static" (generate: static cache, compiled).
    """

    engine: str
    workload: str
    model: str
    folder: str
    audio_s: float
    scale: float
    device: str = "cpu"
    dtype: str = "float32"
    batch: int = 16
    threads: int = 1
    media: str = ""
    variant: str = ""

    def work(self) -> Workload:
        return workload_of(self.workload, self.audio_s, self.scale)

    def warm(self) -> Take:
        """On a card as many windows as fill its batch, so that every graph is there before the clock starts."""
        return warming(self.batch if self.device.startswith("cuda") else 2)

    @property
    def folder_path(self) -> Path:
        return Path(self.folder)

    def json(self) -> str:
        return json.dumps(asdict(self))


@dataclass(frozen=True, slots=True)
class Result:
    """`stages` are the engine's own times and counts, as far as it tells them."""

    wall_s: float
    cpu_s: float
    peak_mib: float
    windows: int
    tokens_ok: bool
    device_name: str = ""
    stages: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, line: str) -> Result:
        return cls(**json.loads(line))


def workload_of(name: str, audio_s: float, scale: float) -> Workload:
    if name == "equal":
        return equal(max(1, round(audio_s / 30)))
    if name.startswith("many-"):
        return many(int(name.removeprefix("many-")))
    return variable(audio_s, scale=scale, name=name)

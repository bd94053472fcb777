"""What one measuring process is told and what it says, as JSON between `throughput` and its children."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.workloads import Take, Workload, descending, equal, many, variable, warming

ENGINES = ("channelscribe", "hf-pipeline", "hf-generate", "faster-whisper")


@dataclass(frozen=True, slots=True)
class Job:
    """One engine, one workload, one repeat. `folder` holds the checkpoint, `media` the files (empty: sound in).

    `variant` is "joined" (faster-whisper: all files laid end to end), "static" (generate: static cache, compiled) or
    begins with "8-bit" (ours: keys and values of the audio in 8 bits).
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
        """What every engine does before the clock starts; on a GPU as many windows as fill a peer's batch."""
        return warming(self.batch if self.device.startswith("cuda") else 2)

    def warmups(self) -> tuple[Take, ...]:
        """What ours does: on a GPU its batch, half of it, a quarter, ..., since it computes in so many rows.

        Every one runs through all lengths of text, so that the shapes of a run are there before the clock starts.
        """
        return descending(self.batch) if self.device.startswith("cuda") else (self.warm(),)

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

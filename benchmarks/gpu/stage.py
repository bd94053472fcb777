"""On what the twelve minutes run and how large their work is: a GPU, or a rehearsal of every part on a CPU.

Its parts get it as JSON.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class Stage:
    """`folder` is for checkpoints and files, `first` and `second` are shapes of `clocked`, `*_s` seconds of audio.

    `patience` stretches the time limits of parts where others share the processor.
    """

    folder: str
    device: str = "cuda"
    dtype: str = "bfloat16"
    first: str = "turbo"
    second: str = "large-v3"
    threads: int = 16
    batch: int = 256
    peer_batch: int = 64
    check_windows: int = 24
    check_longest_s: float = 28.0
    check_slots: int = 10
    micro_batches: tuple[int, ...] = (1, 2, 4, 8, 16, 32)
    rows: tuple[int, ...] = (256, 128, 32)
    second_rows: tuple[int, ...] = (200, 100)
    lengths: tuple[int, ...] = (64, 128, 224)
    times: int = 9
    first_s: float = 38_400.0
    second_s: float = 18_000.0
    peer_s: float = 5_760.0
    files_s: float = 4_800.0
    scale: float = 1.0
    slice_s: float = 1.5
    patience: float = 1.0
    guard: tuple[str, ...] = ("--seconds", "5", "--rounds", "20", "--warm-s", "8", "--patience-s", "20")

    @property
    def on_gpu(self) -> bool:
        return self.device.startswith("cuda")

    def is_second(self, arch: str) -> bool:
        return arch == self.second != self.first

    def json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def of(cls, told: dict[str, Any]) -> Stage:
        return cls(**{name: tuple(value) if isinstance(value, list) else value for name, value in told.items()})


def rehearsal(folder: str) -> Stage:
    """Everything at a size for two busy cores."""
    return replace(
        Stage(folder),
        device="cpu",
        dtype="float32",
        first="mini",
        second="mini",
        threads=1,
        batch=2,
        peer_batch=2,
        check_windows=2,
        check_longest_s=6.0,
        check_slots=2,
        micro_batches=(1, 2),
        rows=(2,),
        second_rows=(2,),
        lengths=(64,),
        times=2,
        first_s=90.0,
        second_s=60.0,
        peer_s=30.0,
        files_s=20.0,
        scale=1 / 60,
        slice_s=0.2,
        patience=4.0,
        guard=("--stand-in", "--seconds", "5", "--rounds", "2", "--patience-s", "6"),
    )

"""What every transcription engine offers; tasks and verbs know only this. Opened once for each flow run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from channelscribe.core.model import Transcript


@dataclass(frozen=True, slots=True)
class EngineStats:
    """Totals since the engine was opened. Memory is the device's, None where there is none to ask.

    `batches` are runs of a few decode steps, `mean_batch` the windows at work in one, and `mean_occupancy` the share of
    the places in which one was at work. `encoded` counts encoder passes (each window once, whatever its temperatures),
    `mean_encoded` those of one micro-batch. `refills` are windows that joined others at work, `resumed` those that an
    earlier attempt had finished, `waiting` those that are heard but have no text yet. On a card encoding and decoding
    overlap, so `encode_s` holds only what the decoder had to wait for.
    """

    windows: int = 0
    batches: int = 0
    mean_batch: float = 0.0
    audio_s: float = 0.0
    busy_s: float = 0.0
    loaded_s: float = 0.0
    fallbacks: int = 0
    peak_memory_bytes: int | None = None
    slots: int = 0
    mean_occupancy: float = 0.0
    encode_s: float = 0.0
    decode_s: float = 0.0
    waiting: int = 0
    refills: int = 0
    tokens: int = 0
    resumed: int = 0
    encoded: int = 0
    mean_encoded: float = 0.0
    peak_reserved_bytes: int | None = None
    fragmentation: float | None = None


class Engine(Protocol):
    """Thread-safe: many threads transcribe at once and their windows share batches."""

    @property
    def name(self) -> str: ...

    def transcribe(
        self,
        path: Path,
        *,
        video_id: str,
        media_sha256: str,
        cancelled: Callable[[], bool] | None = None,
        progress: Callable[[float], None] | None = None,
    ) -> Transcript:
        """Blocks until the file is transcribed. `progress` hears how many seconds of the file are behind us.

        Raises an error of `core.errors`; one file's failure never harms another's.
        """
        ...

    def stats(self) -> EngineStats: ...

    def close(self) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None: ...

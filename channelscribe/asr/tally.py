"""What the engine has done so far, in numbers. The engine's thread counts, any thread may read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from channelscribe.asr.engine import EngineStats


@dataclass(slots=True)
class Tally:
    """Seconds are wall time of the engine's thread; `places` are slots offered to chunks, `taken` those filled."""

    windows: int = 0
    resumed: int = 0
    audio_s: float = 0.0
    chunks: int = 0
    taken: int = 0
    places: int = 0
    loaded_s: float = 0.0
    encode_s: float = 0.0
    decode_s: float = 0.0
    words_s: float = 0.0
    fallbacks: int = 0
    refills: int = 0
    tokens: int = 0
    encoded: int = 0
    micro_batches: int = 0

    def chunk(self, live: int, places: int) -> None:
        self.chunks += 1
        self.taken += live
        self.places += places

    def stats(self, *, slots: int, waiting: int, memory: dict[str, Any]) -> EngineStats:
        return EngineStats(
            windows=self.windows,
            batches=self.chunks,
            mean_batch=self.taken / self.chunks if self.chunks else 0.0,
            audio_s=self.audio_s,
            busy_s=self.encode_s + self.decode_s + self.words_s,
            loaded_s=self.loaded_s,
            fallbacks=self.fallbacks,
            slots=slots,
            mean_occupancy=self.taken / self.places if self.places else 0.0,
            encode_s=self.encode_s,
            decode_s=self.decode_s,
            waiting=waiting,
            refills=self.refills,
            tokens=self.tokens,
            resumed=self.resumed,
            encoded=self.encoded,
            mean_encoded=self.encoded / self.micro_batches if self.micro_batches else 0.0,
            **memory,
        )

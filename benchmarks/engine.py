"""Our engine as the benchmark runs it: the real one, with sound or files cut at 30 s instead of at silence.

Cutting is all that differs from production; without it the peers would not have the same windows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.job import Job
from benchmarks.workloads import Take
from channelscribe.asr.engine import EngineStats
from channelscribe.asr.whisper import WhisperEngine
from channelscribe.audio.decode import decode
from channelscribe.core.profile import TranscriptionProfile
from channelscribe.core.window import RATE_HZ, Piece, Window, WindowSound

Sounds = Iterator[NDArray[np.int16]]


class Cut:
    """A `core.window.Listening` of windows that are given."""

    def __init__(self, sounds: Sounds) -> None:
        self._sounds, self._end = sounds, 0

    @property
    def duration_s(self) -> float:
        return self._end / RATE_HZ

    speech_s = duration_s

    def __iter__(self) -> Iterator[WindowSound]:
        for index, pcm in enumerate(self._sounds):
            piece = Piece(self._end, self._end + len(pcm))
            self._end = piece.end
            yield WindowSound(Window(index, (piece,)), pcm)

    def close(self) -> None:
        close = getattr(self._sounds, "close", None)
        if close is not None:
            close()


def listener(sounds: Mapping[str, Callable[[], Sounds]]) -> Callable[..., Cut]:
    """Files are decoded; names in `sounds` are sound already."""

    def listen(path: Path, *, cancelled: Callable[[], bool] | None = None, **_: Any) -> Cut:
        return Cut(sounds[path.stem]() if path.stem in sounds else decode(path, 30.0, cancelled=cancelled))

    return listen


_COUNTS = (
    "windows",
    "batches",
    "audio_s",
    "busy_s",
    "encode_s",
    "decode_s",
    "tokens",
    "refills",
    "encoded",
    "fallbacks",
)


def since(now: EngineStats, before: EngineStats) -> dict[str, Any]:
    """The engine's totals without what it did before; its means are made anew from them."""
    found = asdict(now) | {name: getattr(now, name) - getattr(before, name) for name in _COUNTS}
    at_work = now.mean_batch * now.batches - before.mean_batch * before.batches
    found["mean_batch"] = at_work / found["batches"] if found["batches"] else 0.0
    found["mean_occupancy"] = found["mean_batch"] / now.slots if now.slots else 0.0
    return found


def _held(takes: Sequence[Take], threads: int) -> dict[str, Callable[[], Sounds]]:
    """The audio of all takes, made at once; numpy makes noise beside other threads."""
    with ThreadPoolExecutor(max(1, threads)) as makers:
        made = list(makers.map(lambda take: list(take.windows()), takes))
    return {take.name: partial(iter, windows) for take, windows in zip(takes, made, strict=True)}


class Ours:
    """`run` gives the texts of the takes; `stages` what the engine says of itself since it was warm.

    Not `held`: the sound of a take is made when it is heard, for sets that would not fit in memory.
    """

    def __init__(self, job: Job, takes: tuple[Take, ...], *, held: bool = True) -> None:
        self._job, self._takes = job, takes
        every = () if job.media else (*takes, *job.warmups())
        sounds = _held(every, job.threads) if held else {take.name: take.windows for take in every}
        self._profile = TranscriptionProfile(
            model=job.folder,
            language="en",
            device=job.device,
            dtype=job.dtype,
            batch_size=job.batch,
            kv_bits=8 if job.variant.startswith("8-bit") else 16,
            # Windows of so many files fill the batch even if each file has only one.
            videos_in_flight=min(64, max(8, 2 * job.batch)),
        )
        self._engine = WhisperEngine(self._profile, listener(sounds))
        self._before = self._engine.stats()

    def warm(self) -> None:
        for take in self._job.warmups():
            self.run((take,))
        self._before = self._engine.stats()

    def run(self, takes: tuple[Take, ...] | None = None) -> list[str]:
        with ThreadPoolExecutor(self._profile.videos_in_flight) as callers:
            return list(callers.map(self.one, self._takes if takes is None else takes))

    def stages(self) -> dict[str, Any]:
        return {**since(self._engine.stats(), self._before), "videos_in_flight": self._profile.videos_in_flight}

    def totals(self) -> EngineStats:
        """Since it was made, warming included."""
        return self._engine.stats()

    def close(self) -> None:
        self._engine.close()

    def one(self, take: Take) -> str:
        path = Path(self._job.media or ".", f"{take.name}.m4a")
        made = self._engine.transcribe(path, video_id=take.name, media_sha256=take.name)
        return str(made.text)

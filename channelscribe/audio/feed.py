"""The feeder: a media file in, its windows of speech with their sound out, streamed in bounded memory.

Runs in the thread of whoever transcribes the video; the transcriber knows it only as a `core.window.Listener`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from channelscribe.audio.decode import decode
from channelscribe.audio.hearing import hear
from channelscribe.audio.silero import FRAME
from channelscribe.audio.speech import Silero, SpeechDetector
from channelscribe.audio.windows import Packer, PackingRules, Span
from channelscribe.core.window import RATE_HZ, Window, WindowSound

Pcm = NDArray[np.int16]
CHUNK_S = 30.0
_SMOOTHED_FRAMES = 3


class Sound:
    """The part of a file's sound that may still be needed, addressed by file position."""

    def __init__(self) -> None:
        self._start, self._pcm = 0, np.zeros(0, np.int16)

    @property
    def end(self) -> int:
        return self._start + len(self._pcm)

    def append(self, chunk: Pcm) -> None:
        self._pcm = np.concatenate([self._pcm, chunk])

    def drop_before(self, sample: int) -> None:
        if sample > self._start:
            self._pcm = self._pcm[sample - self._start :].copy()
            self._start = sample

    def of(self, window: Window) -> Pcm:
        return np.concatenate([self._pcm[p.start - self._start : p.end - self._start] for p in window.pieces])

    def quietest(self, low: int, high: int) -> int:
        """The middle of the quietest 32 ms frame between two samples, its neighbours considered; first of equals."""
        first, last = -(-low // FRAME), high // FRAME
        if last <= first:
            return (low + high) // 2
        sound = self._pcm[first * FRAME - self._start : last * FRAME - self._start].astype(np.float64)
        energy = np.square(sound).reshape(-1, FRAME).sum(axis=1)
        smooth = np.convolve(np.pad(energy, _SMOOTHED_FRAMES // 2, mode="edge"), np.ones(_SMOOTHED_FRAMES), "valid")
        return (first + int(np.argmin(smooth))) * FRAME + FRAME // 2


class Feed:
    """One file being heard. Iterate once; `close()` ends the decoder early."""

    def __init__(
        self,
        path: Path,
        *,
        window_s: float,
        speech_threshold: float,
        cancelled: Callable[[], bool] | None = None,
        decoder: Callable[..., Iterator[Pcm]] = decode,
        detector: SpeechDetector | None = None,
    ) -> None:
        self._chunks = decoder(path, CHUNK_S, cancelled=cancelled)
        self._detector = detector or Silero(speech_threshold)
        self._sound = Sound()
        self._packer = Packer(PackingRules.seconds(window_s), self._sound.quietest)
        self._speech = 0

    @property
    def duration_s(self) -> float:
        return self._sound.end / RATE_HZ

    @property
    def speech_s(self) -> float:
        return self._speech / RATE_HZ

    def __iter__(self) -> Iterator[WindowSound]:
        for chunk in self._chunks:
            self._sound.append(chunk)
            yield from self._pack(hear(self._detector.feed, chunk))
        yield from self._pack(hear(self._detector.finish))
        for window in self._packer.finish():
            yield WindowSound(window, self._sound.of(window))

    def close(self) -> None:
        close = getattr(self._chunks, "close", None)
        if close is not None:
            close()

    def _pack(self, spans: list[Span]) -> Iterator[WindowSound]:
        self._speech += sum(span.end - span.start for span in spans if span.ended)
        settled = self._detector.settled
        for window in self._packer.feed(spans, settled):
            yield WindowSound(window, self._sound.of(window))
        self._sound.drop_before(self._packer.needed_from(settled))


def listen(
    path: Path, *, window_s: float, speech_threshold: float, cancelled: Callable[[], bool] | None = None
) -> Feed:
    """The `Listener` of this house."""
    return Feed(path, window_s=window_s, speech_threshold=speech_threshold, cancelled=cancelled)

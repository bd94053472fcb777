"""Frames of any rate and layout to 16 kHz mono int16, in groups, keeping the file's own time.

Used by `media` inside the decoder's process. Grouping makes it about twice as fast as frame by frame; holes in the
file's time stamps become silence, so that a position in the sound is a position in the video.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import av

RATE_HZ = 16_000
_BYTES_PER_SAMPLE = 2
_GROUP_S = 2.0
_HOLE_S = 0.1
_LONGEST_BLIND_HOLE_S = 60.0
_SILENCE_PIECE_S = 30.0


class Timeline:
    """Takes decoded frames in order and gives PCM. `decoded_s` counts real sound only, not the filled holes."""

    def __init__(self, origin_s: float, announced_s: float | None) -> None:
        self.decoded_s = 0.0
        self._origin_s, self._announced_s = origin_s, announced_s
        self._clock_s = 0.0
        self._shape: tuple[Any, ...] = ()
        self._fifo: Any = None
        self._resampler: Any = None

    def add(self, frame: Any) -> Iterator[bytes]:
        if frame.samples <= 0 or frame.sample_rate <= 0:
            return
        shape = (frame.format.name, frame.layout.name, frame.sample_rate)
        hole_s = self._hole_s(frame)
        if shape != self._shape or hole_s:
            yield from self.flush()
            yield from _silence(hole_s)
            self._clock_s += hole_s
            self._begin(shape)
        self._take(frame)
        if self._fifo.samples >= _GROUP_S * frame.sample_rate:
            yield from self._convert(self._fifo.read())

    def flush(self) -> Iterator[bytes]:
        if self._fifo is None:
            return
        if self._fifo.samples:
            yield from self._convert(self._fifo.read())
        yield from self._convert(None)
        self._fifo = None
        self._shape = ()

    def _begin(self, shape: tuple[Any, ...]) -> None:
        self._shape, self._fifo = shape, av.AudioFifo()
        self._resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE_HZ)

    def _take(self, frame: Any) -> None:
        seconds = frame.samples / frame.sample_rate
        self.decoded_s += seconds
        self._clock_s += seconds
        frame.pts = None  # the FIFO insists on gapless stamps; holes are filled above
        self._fifo.write(frame)

    def _convert(self, frame: Any) -> Iterator[bytes]:
        for out in self._resampler.resample(frame):
            # Not through numpy, whose import would be the greater part of this process's start.
            yield bytes(memoryview(out.planes[0])[: out.samples * _BYTES_PER_SAMPLE])

    def _hole_s(self, frame: Any) -> float:
        if frame.pts is None or not frame.time_base:
            return 0.0
        hole_s = float(frame.pts * frame.time_base) - self._origin_s - self._clock_s
        room_s = _LONGEST_BLIND_HOLE_S if self._announced_s is None else self._announced_s - self._clock_s
        return hole_s if _HOLE_S < hole_s <= room_s else 0.0


def _silence(seconds: float) -> Iterator[bytes]:
    left = round(seconds * RATE_HZ)
    while left > 0:
        piece = min(left, round(_SILENCE_PIECE_S * RATE_HZ))
        yield bytes(2 * piece)
        left -= piece

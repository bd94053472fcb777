"""A window: the stretch of sound that the model hears at once, and the map from its time back to the file's.

The audio room packs windows, the transcriber hears them; positions are samples at `RATE_HZ`, so the map is exact.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

RATE_HZ = 16_000


@dataclass(frozen=True, slots=True)
class Piece:
    """Samples `start` to `end` (exclusive) of the file."""

    start: int
    end: int

    @property
    def length(self) -> int:
        return self.end - self.start


@dataclass(frozen=True, slots=True)
class Window:
    """Pieces of the file in order, laid end to end; `index` counts the windows of one file from 0."""

    index: int
    pieces: tuple[Piece, ...]

    @property
    def length(self) -> int:
        return sum(piece.length for piece in self.pieces)

    @property
    def duration_s(self) -> float:
        return self.length / RATE_HZ

    def to_file(self, sample: int, *, ending: bool = False) -> int:
        """Where in the file `sample` of the window lies. On a seam, an ending belongs to the piece before it."""
        at = max(0, sample)
        for piece in self.pieces:
            if at < piece.length or (ending and at == piece.length):
                return piece.start + at
            at -= piece.length
        return self.pieces[-1].end

    def to_file_s(self, seconds: float, *, ending: bool = False) -> float:
        return self.to_file(round(seconds * RATE_HZ), ending=ending) / RATE_HZ


@dataclass(frozen=True, slots=True, eq=False)
class WindowSound:
    """A window with its sound: int16, mono, `RATE_HZ`."""

    window: Window
    pcm: NDArray[np.int16]


class Listening(Protocol):
    """One file being heard: gives its windows in order; the totals are complete once it is exhausted."""

    @property
    def duration_s(self) -> float: ...

    @property
    def speech_s(self) -> float: ...

    def __iter__(self) -> Iterator[WindowSound]: ...

    def close(self) -> None: ...


class Listener(Protocol):
    """Opens a file for listening. Raises the errors of the audio room while the windows are drawn."""

    def __call__(
        self, path: Path, *, window_s: float, speech_threshold: float, cancelled: Callable[[], bool] | None = None
    ) -> Listening: ...

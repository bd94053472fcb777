"""A window: the stretch of sound that the model hears at once, and the map from its time back to the file's.

The audio room packs windows, the transcriber hears them; positions are samples at `RATE_HZ`, so the map is exact.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from channelscribe.core.model import Segment

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


@dataclass(frozen=True, slots=True)
class WindowText:
    """What a window gave; `silent` when the model itself said that nobody speaks in it."""

    window: Window
    segments: tuple[Segment, ...]
    silent: bool = False


@dataclass(frozen=True, slots=True)
class KeptWindows:
    """What an earlier, interrupted attempt at a file finished. `language` is the one its windows were written in."""

    language: str | None = None
    texts: tuple[WindowText, ...] = ()


class WindowKeeper(Protocol):
    """Finished windows of unfinished files, by the fingerprint of the transcript to be; outlives a kill -9."""

    def kept(self, fingerprint: str) -> KeptWindows: ...

    def keep(self, fingerprint: str, language: str, text: WindowText) -> None:
        """Durable within a second or two; never raises for a full disk or a lost one (a checkpoint is a comfort)."""
        ...

    def forget(self, fingerprint: str) -> None:
        """The transcript stands in the archive; nothing of it need be kept here."""
        ...


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

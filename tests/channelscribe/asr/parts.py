"""Listeners for engine tests: windows from memory, so that a tiny random model can hear what is no speech."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from channelscribe.core.window import RATE_HZ, Piece, Window, WindowSound
from tests.channelscribe.asr.models import noises


@dataclass
class MemoryListening:
    sounds: list[Any]
    before: Callable[[int], None]
    duration_s: float = 0.0
    closed: bool = False

    @property
    def speech_s(self) -> float:
        return self.duration_s

    def __iter__(self) -> Iterator[WindowSound]:
        at = 0
        for index, sound in enumerate(self.sounds):
            self.before(index)
            yield WindowSound(Window(index, (Piece(at, at + len(sound)),)), sound)
            at += len(sound)
            self.duration_s = at / RATE_HZ

    def close(self) -> None:
        self.closed = True


@dataclass
class MemoryListener:
    """The number in a path's stem seeds its sounds; `windows` says how many it has."""

    windows: Callable[[str], int] = lambda stem: 6
    seconds: float = 2.0
    before: Callable[[int], None] = lambda index: None
    change: Callable[[str, list[Any]], list[Any]] = lambda stem, sounds: sounds
    opened: list[MemoryListening] = field(default_factory=list)

    def __call__(self, path: Path, **_: Any) -> MemoryListening:
        seed = int("".join(c for c in path.stem if c.isdigit()) or 0)
        sounds = self.change(path.stem, noises(self.windows(path.stem), self.seconds, seed))
        self.opened.append(MemoryListening(sounds, self.before))
        return self.opened[-1]

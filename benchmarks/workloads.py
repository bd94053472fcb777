"""What the engines are given: recordings of known windows and known tokens, from a seed, as sound or as m4a files.

`equal` is fixed work, 30 s windows with the same tokens; `variable` has the lengths and densities of real channels,
where scheduling matters; `files` is `variable` as files. All engines cut at 30 s, so that their work is the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random

import numpy as np
from numpy.typing import NDArray

from benchmarks.clocked import MOST_TOKENS, TOKEN_S, WINDOW_S, sound_of
from channelscribe.core.window import RATE_HZ

WINDOW = round(WINDOW_S * RATE_HZ)
SHORTEST_S, LONGEST_S = 10.0, 3 * 3600.0
# Speech runs at about 2.5 words a second, a Whisper token is about 0.75 of a word; music and pauses leave less.
_MEDIAN_RATE, _RATE_SPREAD, _WINDOW_SPREAD, _QUIET_SHARE = 3.1, 0.35, 0.25, 0.06
_MEDIAN_LENGTH_S, _LENGTH_SPREAD = 360.0, 1.5


@dataclass(frozen=True, slots=True)
class Take:
    """One recording: `tokens` of its windows, `last` samples in the last one; the others are full."""

    name: str
    seed: int
    tokens: tuple[int, ...]
    last: int = WINDOW

    @property
    def duration_s(self) -> float:
        return ((len(self.tokens) - 1) * WINDOW + self.last) / RATE_HZ

    def windows(self) -> Iterator[NDArray[np.int16]]:
        """The sound of each window, made anew at each call."""
        for place, count in enumerate(self.tokens):
            length = self.last if place == len(self.tokens) - 1 else WINDOW
            yield sound_of(count, length, self.seed * 10_007 + place)

    def pcm(self) -> NDArray[np.int16]:
        return np.concatenate(list(self.windows()))

    def text(self, words: list[str]) -> str:
        return " ".join(" ".join(words[:count]) for count in self.tokens)


@dataclass(frozen=True, slots=True)
class Workload:
    name: str
    takes: tuple[Take, ...]

    @property
    def audio_s(self) -> float:
        return sum(take.duration_s for take in self.takes)

    @property
    def windows(self) -> int:
        return sum(len(take.tokens) for take in self.takes)

    @property
    def tokens(self) -> int:
        return sum(sum(take.tokens) for take in self.takes)


def equal(windows: int, tokens: int = 120, each: int = 16) -> Workload:
    """Files of `each` windows: every engine can fill batches of so many, and every window costs the same."""
    sizes = [each] * (windows // each) + ([windows % each] if windows % each else [])
    return Workload("equal", tuple(Take(f"equal-{at}", at, (tokens,) * size) for at, size in enumerate(sizes)))


def warming(windows: int) -> Take:
    """What an engine does before the clock starts: first calls, graphs, caches."""
    return Take(f"warm-{windows}", 5, (20,) + (100,) * (windows - 1))


def descending(windows: int, tokens: int = 150) -> tuple[Take, ...]:
    """`windows` windows that all end at once, then half as many, down to two; 128 steps and more each."""
    sizes = [size for power in range(windows.bit_length()) if (size := -(-windows >> power)) >= 2] or [windows]
    return tuple(Take(f"warm-{at}-{size}", 6 + at, (tokens,) * size) for at, size in enumerate(dict.fromkeys(sizes)))


def variable(audio_s: float, *, scale: float = 1.0, seed: int = 11, name: str = "variable") -> Workload:
    """Files of 10 s to 3 h times `scale` (never under 10 s) until there are `audio_s` of sound."""
    random, takes, total = Random(seed), list[Take](), 0.0
    while total < audio_s:
        take = _take(random, len(takes), scale)
        takes.append(take)
        total += take.duration_s
    return Workload(name, tuple(takes))


def many(files: int, seed: int = 17) -> Workload:
    """Files of a single window each, the worst case of every overhead that a file has."""
    random = Random(seed)
    return Workload(f"{files} files", tuple(_short(random, number) for number in range(files)))


def encoded(workload: Workload, folder: Path, write: Callable[[NDArray[np.int16]], bytes]) -> dict[str, Path]:
    """The takes as files in `folder`, by name; files that are there stay."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = {take.name: folder / f"{take.name}.m4a" for take in workload.takes}
    for take in workload.takes:
        if not paths[take.name].is_file():
            paths[take.name].write_bytes(write(take.pcm()))
    return paths


def _take(random: Random, number: int, scale: float) -> Take:
    length_s = math.exp(random.gauss(math.log(_MEDIAN_LENGTH_S), _LENGTH_SPREAD)) * scale
    samples = round(min(max(length_s, SHORTEST_S), max(SHORTEST_S, LONGEST_S * scale)) * RATE_HZ)
    rate = _MEDIAN_RATE * math.exp(random.gauss(0.0, _RATE_SPREAD))
    full, rest = divmod(samples, WINDOW)
    lengths = [WINDOW] * full + ([rest] if rest >= RATE_HZ else [])
    return Take(f"take-{number:04d}", 1000 + number, tuple(map(partial(_tokens, random, rate), lengths)), lengths[-1])


def _short(random: Random, number: int) -> Take:
    length = random.randint(10, 30) * RATE_HZ
    return Take(f"short-{number:04d}", 1000 + number, (_tokens(random, _MEDIAN_RATE, length),), length)


def _tokens(random: Random, rate: float, length: int) -> int:
    seconds = length / RATE_HZ
    share = random.random() * 0.2 if random.random() < _QUIET_SHARE else math.exp(random.gauss(0.0, _WINDOW_SPREAD))
    # A tenth of a second before the end stays quiet: what is cut there must not decide a token.
    return max(1, min(round(rate * seconds * share), int((seconds - 0.1) / TOKEN_S), MOST_TOKENS - 2))

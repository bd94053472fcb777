"""Speaks sentences with espeak-ng in this process: 16 kHz sound with the exact time of every word and phoneme.

`clips` calls it in a fresh process for each shard, because espeak-ng carries its phase from one sentence to the next.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from random import Random

import numpy as np
from numpy.typing import NDArray

RATE_HZ = 16_000
MARGIN_SAMPLES = 160
LOUD = 1e-3
_SYNCHRONOUS, _PHONEME_EVENTS, _UTF8, _CHARACTERS = 2, 1, 1, 1
_RATE, _PITCH = 1, 3
_END, _WORD, _SENTENCE_END, _PHONEME = 0, 1, 5, 7
_FILES = {"en-us": "gmw/en-US", "en-gb": "gmw/en", "en-us-nyc": "gmw/en-US-nyc", "en-029": "gmw/en-029", "de": "gmw/de"}

BANK_VOICES = ("en-us", "en-us+f3", "en-gb", "en-gb+m3", "en-us+m7", "en-gb+f2")
ACCENTS = ("en-us", "en-gb", "en-gb-scotland", "en-gb-x-rp", "en-gb-x-gbclan", "en-gb-x-gbcwmd", "en-us-nyc", "en-029")
VARIANTS = ("f1", "f2", "f3", "f4", "f5", "m1", "m2", "m3", "m4", "m6", "m7", "m8", "")


@dataclass(frozen=True)
class Voice:
    """One way to speak."""

    name: str
    words_per_minute: int
    pitch: int

    @property
    def file(self) -> str:
        accent, _, variant = self.name.partition("+")
        return (_FILES.get(accent) or "gmw/" + accent.replace("en-gb", "en-GB")) + (f"+{variant}" if variant else "")


def choose(language: str, r: Random, others: float) -> Voice:
    """A voice of the language; `others` is the share of English voices that are not the speech bank's."""
    variant = r.choice(VARIANTS)
    name = ("de" if language == "de" else r.choice(ACCENTS)) + (f"+{variant}" if variant else "")
    if language == "en" and r.random() >= others:
        name = r.choice(BANK_VOICES)
    return Voice(name, r.randint(135, 190), r.randint(30, 70))


@dataclass(frozen=True)
class Mark:
    """A word or a phoneme and where it sounds."""

    name: str
    start_s: float
    end_s: float


@dataclass(frozen=True, eq=False)
class Spoken:
    """One sentence as sound, trimmed to 10 ms around the voice."""

    pcm: NDArray[np.int16]
    words: tuple[Mark, ...]
    phonemes: tuple[Mark, ...]


class _Id(ctypes.Union):
    _fields_ = [("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8)]


class _Event(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _Id),
    ]


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


class Espeak:
    """The library, once per process."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL("libespeak-ng.so.1")
        self._library.espeak_Synth.argtypes = [
            *(ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint, ctypes.c_int),
            *(ctypes.c_uint, ctypes.c_uint, ctypes.c_void_p, ctypes.c_void_p),
        ]
        self._rate_hz: int = self._library.espeak_Initialize(_SYNCHRONOUS, 0, None, _PHONEME_EVENTS)
        self._sound: list[NDArray[np.int16]] = []
        self._events: list[tuple[int, int, int, str]] = []
        self._callback = _Callback(self._take)
        self._library.espeak_SetSynthCallback(self._callback)

    @classmethod
    @lru_cache(maxsize=1)
    def shared(cls) -> Espeak:
        return cls()

    def _take(self, wave: ctypes._Pointer[ctypes.c_short], count: int, events: ctypes._Pointer[_Event]) -> int:
        if count > 0:
            self._sound.append(np.ctypeslib.as_array(wave, (count,)).copy())
        at = 0
        while (event := events[at]).type != _END:
            name = event.id.string.decode() if event.type == _PHONEME else ""
            self._events.append((event.type, event.sample, event.text_position - 1, name))
            at += 1
        return 0

    def speak(self, text: str, voice: Voice, *, crude: bool = True) -> Spoken:
        """`crude` resamples as the speech bank was resampled; otherwise the sound keeps more of its brightness."""
        self._sound, self._events = [], []
        if self._library.espeak_SetVoiceByName(voice.file.encode()):
            raise ValueError(f"espeak-ng has no voice {voice.name!r}")
        self._library.espeak_SetParameter(_RATE, voice.words_per_minute, 0)
        self._library.espeak_SetParameter(_PITCH, voice.pitch, 0)
        raw = text.encode()
        self._library.espeak_Synth(raw, len(raw) + 1, 0, _CHARACTERS, 0, _UTF8, None, None)
        return self._trimmed(text, _resampled(np.concatenate(self._sound), self._rate_hz, crude))

    def _trimmed(self, text: str, voice: NDArray[np.float64]) -> Spoken:
        loud = np.nonzero(np.abs(voice) > LOUD)[0]
        first, last = max(0, int(loud[0]) - MARGIN_SAMPLES), int(loud[-1]) + MARGIN_SAMPLES
        pcm = np.asarray(voice[first:last] * 32767, np.int16)
        length_s = len(pcm) / RATE_HZ
        times = [(e[0], min(max(e[1] / self._rate_hz - first / RATE_HZ, 0.0), length_s), *e[2:]) for e in self._events]
        sounds = [(name, at_s) for kind, at_s, _, name in times if kind == _PHONEME]
        starts = {place: at_s for kind, at_s, place, _ in reversed(times) if kind == _WORD}
        return Spoken(pcm, _words(text, starts, length_s), _spans(sounds, length_s))


def _spans(starts: Sequence[tuple[str, float]], end_s: float) -> tuple[Mark, ...]:
    """Each lasts until the next one starts."""
    return tuple(Mark(name, at_s, next_s) for (name, at_s), (_, next_s) in pairwise([*starts, ("", end_s)]))


def _words(text: str, starts: dict[int, float], length_s: float) -> tuple[Mark, ...]:
    """The words of the text; espeak-ng speaks some pairs ("in the") as one, which are parted by their letters."""
    places = [(word.start(), word.group()) for word in re.finditer(r"\S+", text)]
    heads = [i for i, (place, _) in enumerate(places) if i == 0 or place in starts]
    marks: list[Mark] = []
    for head, following in pairwise([*heads, len(places)]):
        group = [word for _, word in places[head:following]]
        begin_s = starts.get(places[head][0], 0.0)
        end_s = starts[places[following][0]] if following < len(places) else length_s
        letters = np.cumsum([0, *map(len, group)]) / sum(map(len, group))
        edges = [begin_s + float(share) * (end_s - begin_s) for share in letters]
        marks += [Mark(word, *span) for word, span in zip(group, pairwise(edges), strict=True)]
    return tuple(marks)


def _resampled(sound: NDArray[np.int16], rate_hz: int, crude: bool) -> NDArray[np.float64]:
    smooth = np.hanning(5 if crude else 3 + 1)
    wave = np.convolve(sound / 32768, smooth / smooth.sum(), "same")
    places = np.arange(int(len(wave) * RATE_HZ / rate_hz)) * rate_hz / RATE_HZ
    return np.interp(places, np.arange(len(wave)), wave)

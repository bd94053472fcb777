"""Speech with known words: a shipped bank of sentences, and recordings of any length composed from it.

The YouTube emulator serves these recordings, and tests of the transcriber compare what was heard with what was said.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from random import Random

import numpy as np

from tests.emulators import encoding
from tests.emulators.encoding import Pcm, encode_m4a, encode_mp4, encode_webm

__all__ = [
    "AUDIO_FILE",
    "INDEX_FILE",
    "SAMPLE_RATE_HZ",
    "Clip",
    "Recording",
    "Score",
    "Section",
    "Sentence",
    "SpeechBank",
    "compose",
    "encode_m4a",
    "encode_mp4",
    "encode_webm",
    "from_clips",
]

SAMPLE_RATE_HZ = encoding.PCM_RATE_HZ
AUDIO_FILE = Path(__file__).parent / "speech_bank" / "sentences.opus"
INDEX_FILE = AUDIO_FILE.with_name("sentences.json")
GAP_S = (0.4, 1.5)


@dataclass(frozen=True)
class Clip:
    """One sentence of the bank; samples count in the bank's own sound."""

    text: str
    voice: str
    start: int
    end: int

    @property
    def duration_s(self) -> float:
        return (self.end - self.start) / SAMPLE_RATE_HZ


@dataclass(frozen=True)
class Sentence:
    """One sentence where it lies in a recording."""

    text: str
    voice: str
    start_s: float
    end_s: float


@dataclass(frozen=True)
class Section:
    """A stretch without speech: `silence`, `noise` (white) or `tone` (a chord)."""

    kind: str
    start_s: float
    end_s: float


@dataclass(frozen=True)
class Score:
    """What to compose; equal scores give equal sound."""

    seed: int
    duration_s: float
    voices: tuple[str, ...] = ()
    sections: tuple[Section, ...] = ()
    speech: bool = True
    gap_s: tuple[float, float] = GAP_S
    hiss: float = 12.0

    @classmethod
    def silent(cls, duration_s: float, seed: int = 0) -> Score:
        return cls(seed, duration_s, speech=False, hiss=0.0)


@dataclass(frozen=True, eq=False)
class Recording:
    """16 kHz mono sound, and what is said in it."""

    pcm: Pcm
    sentences: tuple[Sentence, ...]

    @property
    def duration_s(self) -> float:
        return len(self.pcm) / SAMPLE_RATE_HZ

    @property
    def text(self) -> str:
        return " ".join(s.text for s in self.sentences)


class SpeechBank:
    """The shipped sentences; `load()` decodes them once per process."""

    def __init__(self, clips: Sequence[Clip], pcm: Pcm) -> None:
        self.clips = tuple(clips)
        self._pcm = pcm

    @classmethod
    @lru_cache(maxsize=1)
    def load(cls) -> SpeechBank:
        index = json.loads(INDEX_FILE.read_text(encoding="utf-8"))
        pcm = encoding.decode(AUDIO_FILE)[: index["samples"]]
        pcm.setflags(write=False)
        return cls([Clip(**clip) for clip in index["clips"]], pcm)

    @property
    def voices(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(clip.voice for clip in self.clips))

    def samples(self, clip: Clip) -> Pcm:
        return self._pcm[clip.start : clip.end]

    def spoken_by(self, voices: Sequence[str]) -> list[Clip]:
        return [clip for clip in self.clips if not voices or clip.voice in voices]


def _background(score: Score) -> Pcm:
    """The whole length: a quiet hiss, and the sections that are not speech. Generators are numpy's and seeded."""
    noise = np.random.default_rng(score.seed)
    pcm = np.zeros(round(score.duration_s * SAMPLE_RATE_HZ), np.int16)
    if score.hiss:
        pcm[:] = (noise.standard_normal(len(pcm), dtype=np.float32) * score.hiss).astype(np.int16)
    for section in score.sections:
        span = pcm[round(section.start_s * SAMPLE_RATE_HZ) : round(section.end_s * SAMPLE_RATE_HZ)]
        if section.kind == "noise":
            span[:] = (noise.standard_normal(len(span), dtype=np.float32) * 1500).astype(np.int16)
        elif section.kind == "tone":
            at = np.arange(len(span), dtype=np.float32) / SAMPLE_RATE_HZ
            chord = [np.sin(2 * np.pi * hz * at) for hz in (220.0, 277.2, 329.6)]
            span[:] = (np.sum(chord, axis=0) * 1500).astype(np.int16)
        elif section.kind == "silence":
            span[:] = 0
        else:
            raise ValueError(f"unknown section {section.kind!r}: use silence, noise or tone")
    return pcm


def _speech_spans(score: Score) -> Iterator[tuple[float, float]]:
    """The stretches between the sections, in order."""
    edges = [(0.0, 0.0), *sorted((s.start_s, s.end_s) for s in score.sections), (score.duration_s, score.duration_s)]
    return ((left[1], right[0]) for left, right in pairwise(edges))


def _clips_without_end(bank: SpeechBank, score: Score, r: Random) -> Iterator[Clip]:
    """The clips of the wanted voices in a shuffled order, again and again; a voice speaks a few sentences in a row."""
    while clips := bank.spoken_by(score.voices):
        by_voice = {voice: [c for c in clips if c.voice == voice] for voice in dict.fromkeys(c.voice for c in clips)}
        for own in by_voice.values():
            r.shuffle(own)
        while by_voice:
            voice = r.choice(sorted(by_voice))
            turn, by_voice[voice] = by_voice[voice][:3], by_voice[voice][3:]
            if not by_voice[voice]:
                del by_voice[voice]
            yield from turn


def compose(score: Score, bank: SpeechBank | None = None) -> Recording:
    """The recording of a score: sentences with gaps, wherever no section lies, until the length is full."""
    bank = bank or SpeechBank.load()
    r, pcm, sentences = Random(score.seed), _background(score), list[Sentence]()
    if not score.speech:
        return Recording(pcm, ())
    clips = _clips_without_end(bank, score, r)
    for start_s, end_s in _speech_spans(score):
        at_s = start_s + r.uniform(*score.gap_s)
        while at_s + (clip := next(clips)).duration_s + score.gap_s[0] <= end_s:
            sentences.append(_place(pcm, bank, clip, at_s))
            at_s = sentences[-1].end_s + r.uniform(*score.gap_s)
    return Recording(pcm, tuple(sentences))


def from_clips(clips: Sequence[Clip], gap_s: float = 0.8, bank: SpeechBank | None = None) -> Recording:
    """Exactly these clips, each with `gap_s` of digital silence before it and after the last."""
    bank = bank or SpeechBank.load()
    total_s = sum(clip.duration_s + gap_s for clip in clips) + gap_s
    pcm, sentences, at_s = np.zeros(round(total_s * SAMPLE_RATE_HZ), np.int16), list[Sentence](), gap_s
    for clip in clips:
        sentences.append(_place(pcm, bank, clip, at_s))
        at_s = sentences[-1].end_s + gap_s
    return Recording(pcm, tuple(sentences))


def _place(pcm: Pcm, bank: SpeechBank, clip: Clip, at_s: float) -> Sentence:
    start = round(at_s * SAMPLE_RATE_HZ)
    sound = bank.samples(clip)[: len(pcm) - start]
    pcm[start : start + len(sound)] = np.clip(pcm[start : start + len(sound)].astype(np.int32) + sound, -32768, 32767)
    return Sentence(clip.text, clip.voice, start / SAMPLE_RATE_HZ, (start + len(sound)) / SAMPLE_RATE_HZ)

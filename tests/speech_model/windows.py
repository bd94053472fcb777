"""Windows of sound with everything that is known about them: who says what when, down to words and phonemes.

`targets` turns them into what the network learns; any length up to 30 s, with silences, voices in turn, cut sentences.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

import numpy as np

from tests.speech_model import effects
from tests.speech_model.clips import Clip, Shard
from tests.speech_model.effects import Wave
from tests.speech_model.voices import RATE_HZ, Mark


@dataclass(frozen=True)
class Segment:
    """A sentence in a window; `cut` when the window ends before it does."""

    text: str
    voice: str
    start_s: float
    end_s: float
    words: tuple[Mark, ...]
    phonemes: tuple[Mark, ...]
    cut: bool = False


@dataclass(frozen=True, eq=False)
class Window:
    """Sound of `duration_s`, in one language, and what is said in it."""

    wave: Wave
    language: str
    segments: tuple[Segment, ...]
    before: str = ""

    @property
    def duration_s(self) -> float:
        return len(self.wave) / RATE_HZ


@dataclass(frozen=True)
class Style:
    """How windows are mixed."""

    german: float = 0.25
    wordless: float = 0.07
    crowded: float = 0.6
    effects: float = 1.0
    cut: float = 0.3
    prompt: float = 0.15


def _moved(marks: tuple[Mark, ...], by_s: float, until_s: float) -> tuple[Mark, ...]:
    kept = [m for m in marks if m.start_s + by_s < until_s]
    return tuple(Mark(m.name, m.start_s + by_s, min(m.end_s + by_s, until_s)) for m in kept)


def place(wave: Wave, clip: Clip, at_s: float, gain: float) -> Segment:
    """Adds a clip to the sound, as much of it as fits."""
    first = round(at_s * RATE_HZ)
    sound = clip.spoken.pcm[: len(wave) - first].astype(np.float32) / 32768
    wave[first : first + len(sound)] += sound * gain
    full_s, end_s = len(clip.spoken.pcm) / RATE_HZ, (first + len(sound)) / RATE_HZ
    begin_s = first / RATE_HZ
    marks = (_moved(clip.spoken.words, begin_s, end_s), _moved(clip.spoken.phonemes, begin_s, end_s))
    return Segment(clip.text, clip.voice, begin_s, end_s, *marks, cut=len(sound) < len(clip.spoken.pcm) and full_s > 0)


def _gap_s(r: Random, first: bool) -> float:
    """Mostly the pause of a speaker, now and then a long silence."""
    if r.random() < 0.1:
        return r.uniform(1.5, 10.0)
    return r.uniform(0.0, 0.6) if first else r.uniform(0.05, 1.5)


def _fill(wave: Wave, r: Random, start_s: float, end_s: float) -> None:
    """Noise or a chord in a pause."""
    span = slice(round(start_s * RATE_HZ), round(end_s * RATE_HZ))
    make = r.choice([effects.noise, effects.tones])
    wave[span] += make(span.stop - span.start, r) * 10 ** r.uniform(-3, -0.9)


def wordless(seconds: float, r: Random) -> Wave:
    """Digital silence, noise, or tones."""
    samples = round(seconds * RATE_HZ)
    kind = r.choice(["silence", "noise", "tones", "both"])
    wave = np.zeros(samples, np.float32)
    if kind in ("noise", "both"):
        wave += effects.noise(samples, r) * 10 ** r.uniform(-4, -0.9)
    if kind in ("tones", "both"):
        wave += effects.tones(samples, r) * 10 ** r.uniform(-3, -0.7)
    return wave


def _speech(shard: Shard, language: str, seconds: float, r: Random, style: Style) -> tuple[Wave, list[Segment]]:
    wave, segments = np.zeros(round(seconds * RATE_HZ), np.float32), list[Segment]()
    crowded, turns, gain = r.random() < style.crowded, r.random() < 0.5, r.uniform(0.3, 1.2)
    clip = shard.draw(language, r)
    at_s = _gap_s(r, first=True) if r.random() < 0.7 else 0.0
    while at_s < seconds - 0.5 and (crowded or not segments or r.random() > 0.12):
        clip = next_clip(shard, clip, r, turns) if segments else clip
        fits = at_s + len(clip.spoken.pcm) / RATE_HZ <= seconds
        if not fits and segments and r.random() > style.cut:
            break
        segments.append(place(wave, clip, at_s, gain * r.uniform(0.8, 1.2)))
        gap_s = _gap_s(r, first=False)
        at_s = segments[-1].end_s + gap_s
        if gap_s > 1.0 and at_s < seconds and r.random() < 0.2:
            _fill(wave, r, segments[-1].end_s + 0.1, at_s - 0.1)
    return wave, segments


def next_clip(shard: Shard, last: Clip, r: Random, turns: bool) -> Clip:
    """Another sentence of the same language: by the same voice, unless speakers take turns."""
    if turns and r.random() < 0.5:
        return shard.draw(last.language, r)
    return shard[r.choice(shard.of_voice(last.language, last.voice))]


def compose(shard: Shard, seconds: float, r: Random, style: Style) -> Window:
    """One window to learn from."""
    language = "de" if r.random() < style.german else "en"
    if r.random() < style.wordless:
        return Window(wordless(seconds, r), language, ())
    wave, segments = _speech(shard, language, seconds, r, style)
    before = shard.draw(language, r).text if r.random() < style.prompt else ""
    return Window(effects.some(wave, r, style.effects), language, tuple(segments), before)

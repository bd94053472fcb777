"""Speech to order, with the exact time of every sentence and word: given lines, or a talk between voices of any length.

    python -m tests.speech_model.corpus --seconds 60 --voices en-us en-gb+f2 --out talk.wav    # and talk.json

Equal lines and seed give equal sound: each call speaks in a process of its own, as `clips` does and for its reason.
"""

from __future__ import annotations

import argparse
import json
import wave as wav
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from itertools import chain, groupby, islice
from multiprocessing import get_context
from pathlib import Path
from random import Random

import numpy as np

from tests.emulators.speech import GAP_S
from tests.speech_model.clips import Clip
from tests.speech_model.effects import Wave
from tests.speech_model.sentences import LANGUAGES, sentence
from tests.speech_model.voices import RATE_HZ, Espeak, Mark, Voice
from tests.speech_model.windows import Segment, place

_GAIN = 0.7
_MOST_IN_A_ROW = 3
# No sentence of the vocabulary is as short, so that this many a second are always enough.
_SHORTEST_S = 0.8


@dataclass(frozen=True)
class Line:
    """What one speaker says."""

    text: str
    voice: Voice
    language: str = "en"


@dataclass(frozen=True)
class Turn:
    """A voice from the start of its first sentence to the end of its last one before another voice speaks."""

    voice: str
    start_s: float
    end_s: float


@dataclass(frozen=True, eq=False)
class Talk:
    """16 kHz mono sound between -1 and 1, and what is said in it."""

    wave: Wave
    segments: tuple[Segment, ...]

    @property
    def duration_s(self) -> float:
        return len(self.wave) / RATE_HZ

    @property
    def words(self) -> tuple[Mark, ...]:
        return tuple(chain.from_iterable(segment.words for segment in self.segments))

    @property
    def text(self) -> str:
        return " ".join(segment.text for segment in self.segments)

    @property
    def turns(self) -> tuple[Turn, ...]:
        runs = [list(run) for _, run in groupby(self.segments, key=lambda segment: segment.voice)]
        return tuple(Turn(run[0].voice, run[0].start_s, run[-1].end_s) for run in runs)


def _speak(lines: Sequence[Line]) -> list[Clip]:
    said = Espeak.shared().speak
    return [Clip(line.text, line.language, line.voice.name, said(line.text, line.voice)) for line in lines]


def spoken(lines: Sequence[Line]) -> list[Clip]:
    """Each line as sound; ValueError for a voice that espeak-ng does not have."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as fresh:
        return fresh.submit(_speak, lines).result()


def recite(lines: Sequence[Line], seed: int = 0, gap_s: tuple[float, float] = GAP_S) -> Talk:
    """These lines one after the other, with digital silence of a random length before, between and after them."""
    return _laid_out(spoken(lines), Random(seed), gap_s, None)


def talk(
    seconds: float, seed: int, voices: Sequence[Voice], language: str = "en", gap_s: tuple[float, float] = GAP_S
) -> Talk:
    """Exactly `seconds` in which the voices take turns of one to three sentences of the vocabulary."""
    r, enough = Random(seed), round(seconds / (_SHORTEST_S + gap_s[0])) + 1
    return _laid_out(spoken(list(islice(_lines(r, voices, language), enough))), r, gap_s, seconds)


def _lines(r: Random, voices: Sequence[Voice], language: str) -> Iterator[Line]:
    """Without end."""
    voice = r.choice(voices)
    while True:
        for _ in range(r.randint(1, _MOST_IN_A_ROW)):
            yield Line(sentence(language, r), voice, language)
        voice = r.choice([other for other in voices if other != voice] or [voice])


def _laid_out(clips: Sequence[Clip], r: Random, gap_s: tuple[float, float], seconds: float | None) -> Talk:
    """All clips, or as many as end within `seconds`."""
    starts, at_s = list[float](), r.uniform(*gap_s)
    for clip in clips:
        end_s = at_s + len(clip.spoken.pcm) / RATE_HZ
        if seconds is not None and end_s > seconds:
            break
        starts.append(at_s)
        at_s = end_s + r.uniform(*gap_s)
    sound = np.zeros(round((at_s if seconds is None else seconds) * RATE_HZ), np.float32)
    return Talk(sound, tuple(place(sound, clip, start, _GAIN) for clip, start in zip(clips, starts, strict=False)))


def write(found: Talk, out: Path) -> Path:
    """The sound as WAV and, beside it, what is said as JSON; the path of the latter."""
    with wav.open(str(out), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE_HZ)
        file.writeframes((np.clip(found.wave, -1, 1) * 32767).astype("<i2").tobytes())
    beside = out.with_suffix(".json")
    known = {"turns": [asdict(turn) for turn in found.turns], "segments": [asdict(s) for s in found.segments]}
    beside.write_text(json.dumps(known, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return beside


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--voices", nargs="+", default=["en-us", "en-gb+f2"], help="such as en-us+f3; de for German")
    parser.add_argument("--language", choices=LANGUAGES, default="en")
    parser.add_argument("--out", type=Path, required=True, help="the WAV file to write")
    given = parser.parse_args()
    r = Random(f"voices {given.seed}")
    voices = [Voice(name, r.randint(135, 190), r.randint(30, 70)) for name in given.voices]
    found = talk(given.seconds, given.seed, voices, given.language)
    beside = write(found, given.out)
    print(f"{given.out}: {found.duration_s:.0f} s, {len(found.segments)} sentences; what is said when: {beside}")


if __name__ == "__main__":
    main()

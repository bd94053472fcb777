"""Judges a checkpoint on speech it never heard: `python -m tests.speech_model.evaluate [--model FOLDER ...]`.

Word errors by voice, language, length, noise and codec; times of sentences; words made up in silence.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from statistics import median

import jiwer
import numpy as np

from tests.emulators.speech import Score, SpeechBank
from tests.emulators.speech import compose as recite_bank
from tests.speech_model import clips, effects
from tests.speech_model.clips import Recipe, Shard
from tests.speech_model.effects import Wave
from tests.speech_model.judges import Heard, Judge, open_judge
from tests.speech_model.sentences import LANGUAGES, plain
from tests.speech_model.voices import ACCENTS, RATE_HZ, VARIANTS
from tests.speech_model.windows import Segment, Window, next_clip, place

CHECKPOINT = Path(__file__).parent / "checkpoint"
PARAKEET = Path(__file__).parent / "checkpoint_parakeet"
SHORT_S, FULL_S = 8.0, 28.0
JUDGE = Recipe(seed=90_001, count=2500, german=0.3, other_voices=0.6, held_out=True)
WORDLESS = 20
Voices = Callable[[str], bool]
Spoiler = Callable[[Wave, Random], Wave]


@dataclass(frozen=True)
class Row:
    """One line of the result."""

    name: str
    windows: int
    words: int
    wrong: int
    start_error_s: float | None = None
    end_error_s: float | None = None
    language_right: float | None = None

    @property
    def wer(self) -> float:
        return self.wrong / max(1, self.words)


def normal(text: str) -> str:
    return " ".join(map(plain, text.split()))


def count_errors(pairs: Iterable[tuple[str, str]]) -> tuple[int, int]:
    """Words that were said, and how many were heard wrong, left out or made up."""
    said, wrong = 0, 0
    for reference, hypothesis in pairs:
        if not reference:
            wrong += len(hypothesis.split())
            continue
        found = jiwer.process_words(reference, hypothesis)
        said += found.hits + found.substitutions + found.deletions
        wrong += found.substitutions + found.deletions + found.insertions
    return said, wrong


def _time_errors(windows: Sequence[Window], heard: Sequence[Heard]) -> tuple[float | None, float | None]:
    """Median distance of each sentence's start and end to the nearest heard one."""
    starts, ends = list[float](), list[float]()
    for window, result in zip(windows, heard, strict=True):
        for segment in window.segments if result.said else ():
            starts.append(min(abs(s.start_s - segment.start_s) for s in result.said))
            ends.append(min(abs(s.end_s - segment.end_s) for s in result.said))
    return (median(starts), median(ends)) if starts else (None, None)


def judge(name: str, windows: Sequence[Window], by: Judge) -> Row:
    return score(name, windows, list(by.hear(windows)))


def score(name: str, windows: Sequence[Window], heard: Sequence[Heard]) -> Row:
    truth = [normal(" ".join(s.text for s in w.segments)) for w in windows]
    said, wrong = count_errors(zip(truth, (normal(h.text) for h in heard), strict=True))
    known = [h.language == w.language for w, h in zip(windows, heard, strict=True) if h.language]
    right = sum(known) / len(known) if known else None
    return Row(name, len(windows), said, wrong, *_time_errors(windows, heard), right)


def from_bank(seconds: float, seed: int, voice: str) -> Window:
    """The shipped bank's sentences by one voice."""
    recording = recite_bank(Score(seed, seconds, voices=(voice,)), SpeechBank.load())
    segments = tuple(Segment(s.text, s.voice, s.start_s, s.end_s, (), ()) for s in recording.sentences)
    return Window(np.asarray(recording.pcm / 32768, np.float32), "en", segments)


def from_shard(shard: Shard, seconds: float, r: Random, language: str, of: Voices = lambda voice: True) -> Window:
    """Held-out sentences by one voice (one of those that `of` takes), with the pauses of a speaker."""
    wave, segments = np.zeros(round(seconds * RATE_HZ), np.float32), list[Segment]()
    voice = r.choice([name for name in shard.voices(language) if of(name)])
    clip, at_s = shard[r.choice(shard.of_voice(language, voice))], r.uniform(0.2, 0.8)
    while at_s + len(clip.spoken.pcm) / RATE_HZ < seconds:
        segments.append(place(wave, clip, at_s, 0.7))
        at_s = segments[-1].end_s + r.uniform(0.3, 1.2)
        clip = next_clip(shard, clip, r, turns=False)
    return Window(wave, language, tuple(segments))


def with_accent(accent: str) -> Voices:
    return lambda voice: voice.partition("+")[0] == accent


def with_variant(variant: str) -> Voices:
    return lambda voice: voice.partition("+")[2] == variant


SPOILERS: dict[str, Spoiler] = {
    "white noise 20 dB": lambda w, r: effects.add(w, np.random.default_rng(1).standard_normal(len(w), np.float32), 20),
    "noise 15 dB": lambda w, r: effects.add(w, effects.noise(len(w), r), 15),
    "tones 15 dB": lambda w, r: effects.add(w, effects.tones(len(w), r), 15),
    "room 0.3 s": lambda w, r: effects.reverberate(w, r, 0.3),
    "overload 6 dB": lambda w, r: effects.clip(w, 6),
    **{f"codec {name}": lambda w, r, name=name: effects.through_codec(w, name) for name in effects.CODECS},  # type: ignore[misc]
}


def speech_rows(by: Judge, count: int, shard: Shard) -> Iterator[Row]:
    voices = SpeechBank.load().voices
    for seconds in (SHORT_S, FULL_S):
        pooled, heard = list[Window](), list[Heard]()
        for voice in voices:
            windows = [from_bank(seconds, 1000 + i, voice) for i in range(count)]
            pooled += windows
            heard += by.hear(windows)
            yield score(f"bank, {seconds:.0f} s, {voice}", windows, heard[-count:])
        yield score(f"bank, {seconds:.0f} s, all voices", pooled, heard)
    for language in ("en", "de"):
        for seconds in (SHORT_S, FULL_S):
            r = Random(f"judge {language} {seconds}")
            windows = [from_shard(shard, seconds, r, language) for _ in range(3 * count)]
            yield judge(f"held-out {language}, {seconds:.0f} s, many voices", windows, by)


def _kinds() -> Iterator[tuple[str, str, Voices]]:
    """Every accent of English, and every variant in both languages."""
    yield from (("en", accent, with_accent(accent)) for accent in ACCENTS)
    for language in LANGUAGES:
        yield from ((language, f"+{name}" if name else "plain", with_variant(name)) for name in VARIANTS)


def voice_rows(by: Judge, count: int, shard: Shard) -> Iterator[Row]:
    """Held-out sentences by voices that the bank does not have, clean and with every harm once."""
    for language, name, of in _kinds():
        r = Random(f"judge {language} {name}")
        windows = [from_shard(shard, FULL_S, r, language, of) for _ in range(count)]
        yield judge(f"held-out {language}, 28 s, {name}", windows, by)
    for language, name, of in _kinds():
        r = Random(f"spoiled {language} {name}")
        windows = [_spoiled(from_shard(shard, FULL_S, r, language, of), spoil, r) for spoil in SPOILERS.values()]
        yield judge(f"held-out {language}, 28 s, {name}, spoiled", windows, by)


def _spoiled(window: Window, spoil: Spoiler, r: Random) -> Window:
    return Window(spoil(window.wave, r), window.language, window.segments)


def spoiled_rows(by: Judge, count: int) -> Iterator[Row]:
    """What each harm costs, and how each voice bears all of them together."""
    voices = SpeechBank.load().voices
    clean = [from_bank(FULL_S, 2000 + i, voice) for voice in voices for i in range(count)]
    yield judge("bank, 28 s, clean", clean, by)
    pooled = {voice: list[tuple[Window, Heard]]() for voice in voices}
    for name, spoil in SPOILERS.items():
        r = Random(name)
        windows = [_spoiled(window, spoil, r) for window in clean]
        heard = list(by.hear(windows))
        yield score(name, windows, heard)
        for window, result in zip(windows, heard, strict=True):
            pooled[window.segments[0].voice].append((window, result))
    for voice, pairs in pooled.items():
        yield score(f"all of these, {voice}", [window for window, _ in pairs], [result for _, result in pairs])


def wordless_rows(by: Judge) -> Iterator[Row]:
    """Half an hour in windows of 30 s, and digital silence, which is always the same; all words here are made up."""
    samples = round(30 * RATE_HZ)
    kinds: dict[str, Callable[[Random], Wave]] = {
        "silence": lambda r: np.zeros(samples, np.float32),
        "quiet hiss": lambda r: np.asarray(effects.noise(samples, r) * 10 ** r.uniform(-5, -3), np.float32),
        "noise": lambda r: np.asarray(effects.noise(samples, r) * 0.05, np.float32),
        "tones": lambda r: np.asarray(effects.tones(samples, r) * 0.1, np.float32),
    }
    for name, make in kinds.items():
        r = Random(name)
        windows = [Window(make(r), "en", ()) for _ in range(1 if name == "silence" else WORDLESS)]
        yield judge(f"no words: {name}", windows, by)


def _wrong(row: Row) -> str:
    return f"{row.wer:.1%}" if row.words else f"{row.wrong * 120 / row.windows:.0f} an hour"


def shown(same: Sequence[Row]) -> str:
    """What each of several checkpoints made of the same windows; times and language are the first one's."""
    first = same[0]
    cells = [first.name, str(first.windows), str(first.words), *map(_wrong, same)]
    for value, form in ((first.start_error_s, ".2f"), (first.end_error_s, ".2f"), (first.language_right, ".0%")):
        cells.append("" if value is None or not first.words else format(value, form))
    return "| " + " | ".join(cells) + " |"


def rows(by: Judge, count: int, shard: Shard) -> Iterator[Row]:
    yield from speech_rows(by, count, shard)
    yield from voice_rows(by, count, shard)
    yield from spoiled_rows(by, count)
    yield from wordless_rows(by)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, nargs="+", default=[CHECKPOINT, PARAKEET], help="one or more to compare")
    parser.add_argument("--windows", type=int, default=6, help="windows of each voice")
    parser.add_argument("--clips", type=Path, default=Path("~/.cache/channelscribe-speech").expanduser())
    parser.add_argument("--out", type=Path, help="the rows as JSON, too")
    given = parser.parse_args()
    names = [f"{model.name}: wrong" for model in given.model]
    head = ["speech", "windows", "words", *names, "start off by (s)", "end off by (s)", "language"]
    print("| " + " | ".join(head) + f" |\n|{'---|' * len(head)}")
    shard, made = clips.load(JUDGE, 0, given.clips), dict[str, list[dict[str, object]]]()
    for same in zip(*(rows(open_judge(model), given.windows, shard) for model in given.model), strict=True):
        made[same[0].name] = [asdict(row) for row in same]
        print(shown(same), flush=True)
    if given.out:
        given.out.write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

"""The spoken sentences: what they say, when, and that they are the same again."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from random import Random

import numpy as np
import pytest

from tests.emulators import vocabulary
from tests.emulators.speech import SpeechBank
from tests.speech_model import clips, sentences
from tests.speech_model.clips import Recipe, Shard
from tests.speech_model.conftest import SMALL
from tests.speech_model.voices import RATE_HZ, Espeak, Voice


def test_a_shard_is_the_same_again(shard: Shard, tmp_path: Path) -> None:
    again = clips.load(SMALL, 0, tmp_path)
    assert [shard[i].text for i in range(len(shard))] == [again[i].text for i in range(len(again))]
    assert all(np.array_equal(shard[i].spoken.pcm, again[i].spoken.pcm) for i in range(len(shard)))


def test_the_words_of_a_clip_are_its_text_end_to_end_in_its_sound(shard: Shard) -> None:
    for clip in (shard[i] for i in range(len(shard))):
        words = clip.spoken.words
        assert " ".join(w.name for w in words) == clip.text
        assert words[0].start_s == pytest.approx(0, abs=0.02)
        assert words[-1].end_s == pytest.approx(len(clip.spoken.pcm) / RATE_HZ, abs=1e-4)
        assert all(a.end_s == b.start_s and a.start_s < a.end_s for a, b in pairwise(words))


def test_a_clip_is_speech_of_its_language(shard: Shard) -> None:
    languages = {shard[i].language for i in range(len(shard))}
    assert languages == {"en", "de"}
    for clip in (shard[i] for i in range(len(shard))):
        assert clip.voice.startswith("de") == (clip.language == "de")
        assert np.abs(clip.spoken.pcm).max() > 1000


def test_sound_changes_where_the_word_does(shard: Shard) -> None:
    voice = Voice("en-us", 150, 50)
    ring, ships = (Espeak.shared().speak(f"The wolf guards the {noun}.", voice) for noun in ("ring", "ships"))
    start = round(ring.words[-1].start_s * RATE_HZ)
    before = slice(0, start - RATE_HZ // 10)
    after = slice(start + RATE_HZ // 20, start + RATE_HZ // 5)
    assert _likeness(ring.pcm[before], ships.pcm[before]) > 0.9 > 0.8 > _likeness(ring.pcm[after], ships.pcm[after])


def _likeness(a: np.ndarray, b: np.ndarray) -> float:
    """Of the two spectra over time: the phase of espeak-ng is never the same twice."""
    shapes = [np.abs(np.fft.rfft(x[: len(x) // 320 * 320].reshape(-1, 320) * np.hanning(320), axis=1)) for x in (a, b)]
    return float(np.corrcoef(shapes[0].ravel(), shapes[1].ravel())[0, 1])


def test_what_is_kept_for_judging_is_never_learned() -> None:
    r = Random(3)
    learned = {sentences.sentence(language, r) for language in ("en", "de") for _ in range(2000)}
    judged = {sentences.sentence(language, r, held_out=True) for language in ("en", "de") for _ in range(300)}
    assert not learned & judged
    assert not (learned | judged) & {clip.text for clip in SpeechBank.load().clips}


def test_every_word_of_the_bank_is_known() -> None:
    r = Random(4)
    said = {sentences.plain(word) for _ in range(3000) for word in vocabulary.sentence(r).split()}
    assert said <= set(sentences.words())
    assert {sentences.plain(w) for c in SpeechBank.load().clips for w in c.text.split()} <= set(sentences.words())


def test_an_unknown_voice_is_refused(shard: Shard) -> None:
    with pytest.raises(ValueError, match="no voice"):
        Espeak.shared().speak("Odin.", Voice("xx-none", 150, 50))


def test_a_recipe_names_its_file() -> None:
    names = {Recipe(1).file(0), Recipe(1).file(1), Recipe(2).file(0), Recipe(1, held_out=True).file(0)}
    assert len(names) == 4

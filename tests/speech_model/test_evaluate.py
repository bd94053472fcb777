"""The judge counts as jiwer counts, and reads timestamps as they are written."""

from __future__ import annotations

from random import Random

import jiwer
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.emulators.speech import SpeechBank
from tests.speech_model.clips import Shard
from tests.speech_model.effects import noise, tones
from tests.speech_model.evaluate import (
    CHECKPOINT,
    FULL_S,
    SHORT_S,
    SPOILERS,
    Row,
    count_errors,
    from_bank,
    from_shard,
    judge,
    normal,
    shown,
    with_accent,
    with_variant,
)
from tests.speech_model.judges import WhisperJudge
from tests.speech_model.windows import Window

words = st.lists(st.sampled_from(["the", "raven", "guards", "a", "ring"]), min_size=1, max_size=12).map(" ".join)


@given(st.lists(st.tuples(words, words | st.just("")), min_size=1, max_size=5))
@settings(deadline=None, max_examples=60)
def test_errors_are_counted_as_jiwer_counts(pairs: list[tuple[str, str]]) -> None:
    said, wrong = count_errors(pairs)
    expected = jiwer.wer([a for a, _ in pairs], [b for _, b in pairs])
    assert said == sum(len(a.split()) for a, _ in pairs)
    assert wrong / said == pytest.approx(expected)


def test_words_in_silence_are_all_wrong() -> None:
    assert count_errors([("", "the raven"), ("", "")]) == (0, 2)


def test_case_and_stops_do_not_count() -> None:
    assert normal("The Raven guards. Again.") == "the raven guards again"


def test_a_row_without_words_is_no_division_by_zero() -> None:
    assert Row("x", 1, 0, 3).wer == 3


def test_a_line_compares_what_several_made_of_the_same_windows() -> None:
    whisper, parakeet = Row("x", 2, 200, 3, 0.011, 0.02, 1.0), Row("x", 2, 200, 0, 0.1, 0.2)
    assert shown([whisper, parakeet]) == "| x | 2 | 200 | 1.5% | 0.0% | 0.01 | 0.02 | 100% |"
    assert shown([Row("silence", 20, 0, 1)]) == "| silence | 20 | 0 | 6 an hour |  |  |  |"


def test_every_voice_is_judged_by_its_own_sentences(shard: Shard) -> None:
    for of in (with_accent("de"), with_variant(shard.voices("de")[0].partition("+")[2])):
        window = from_shard(shard, FULL_S, Random(2), "de", of)
        assert window.segments and all(of(s.voice) for s in window.segments)


@pytest.mark.parametrize("seconds", [SHORT_S, FULL_S])
def test_judged_windows_hold_what_they_say(shard: Shard, seconds: float) -> None:
    for window in (from_bank(seconds, 1, "en-us"), from_shard(shard, seconds, Random(1), "de")):
        assert window.duration_s == pytest.approx(seconds) and window.segments
        assert all(0 < s.start_s < s.end_s <= seconds for s in window.segments)
        assert {s.voice for s in window.segments} == {window.segments[0].voice}


def test_spoiled_sound_keeps_its_length() -> None:
    window = from_bank(SHORT_S, 1, "en-us")
    for name, spoil in SPOILERS.items():
        if not name.startswith("codec"):
            assert spoil(window.wave, Random(1)).shape == window.wave.shape


@pytest.mark.parametrize("seconds", [SHORT_S, FULL_S])
def test_the_shipped_checkpoint_understands_every_voice_of_the_bank(seconds: float) -> None:
    windows = [from_bank(seconds, 6000 + i, voice) for i, voice in enumerate(SpeechBank.load().voices)]
    row = judge("bank", windows, WhisperJudge(CHECKPOINT))
    assert row.words > 50 and row.wer < 0.03 and row.language_right == 1
    assert row.start_error_s is not None and row.start_error_s < 0.05
    assert row.end_error_s is not None and row.end_error_s < 0.05


def test_the_shipped_checkpoint_is_quiet_where_nobody_speaks() -> None:
    quiet = [
        np.zeros(30 * 16_000, np.float32),
        noise(30 * 16_000, Random(1)) * 0.05,
        tones(30 * 16_000, Random(2)) * 0.1,
    ]
    silent = judge("silence", [Window(wave, "en", ()) for wave in quiet], WhisperJudge(CHECKPOINT))
    assert silent.wrong == 0

"""The speech bank and what is composed from it: known words at known places."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.emulators import encoding, vocabulary
from tests.emulators.speech import SAMPLE_RATE_HZ, Recording, Score, Section, SpeechBank, compose, from_clips


def level(recording: Recording, start_s: float, end_s: float) -> float:
    span = recording.pcm[round(start_s * SAMPLE_RATE_HZ) : round(end_s * SAMPLE_RATE_HZ)].astype(np.float64)
    return float(np.sqrt(np.mean(span**2))) if len(span) else 0.0


def test_no_sentence_of_the_bank_was_heard_in_training() -> None:
    clips = SpeechBank.load().clips
    texts = {clip.text for clip in clips}
    heard = vocabulary.training_sentences()
    assert len(heard) > 7000
    assert len(texts) == len(clips) == 240
    assert not texts & heard


def test_voices_speak_equally_often_and_clips_do_not_overlap() -> None:
    clips = SpeechBank.load().clips
    assert set(Counter(clip.voice for clip in clips).values()) == {40}
    assert {clip.voice for clip in clips} == set(vocabulary.VOICES)
    assert all(left.end <= right.start for left, right in pairwise(clips))
    assert all(1.0 < clip.duration_s < 8.0 for clip in clips)


def test_every_clip_sounds_where_the_index_says() -> None:
    bank = SpeechBank.load()
    for clip in bank.clips:
        edges = bank.samples(clip).astype(np.float64)
        assert np.sqrt(np.mean(edges**2)) > 500, clip.text
        before = bank._pcm[clip.start - 1200 : clip.start - 200].astype(np.float64)
        assert np.sqrt(np.mean(before**2)) < 100, clip.text


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 2**31), duration_s=st.floats(0.0, 40.0))
def test_any_length_is_met_exactly_and_sentences_keep_their_gaps(seed: int, duration_s: float) -> None:
    recording = compose(Score(seed, duration_s))
    assert len(recording.pcm) == round(duration_s * SAMPLE_RATE_HZ)
    ends = [0.0, *(s.end_s for s in recording.sentences)]
    for end_s, sentence in zip(ends, recording.sentences, strict=False):
        assert sentence.start_s - end_s >= 0.39
        assert sentence.end_s <= duration_s


def test_sentences_sound_where_they_are_said_to_be_and_gaps_do_not() -> None:
    recording = compose(Score(5, 60.0))
    assert len(recording.sentences) > 10
    for before, after in pairwise(recording.sentences):
        assert level(recording, before.start_s, before.end_s) > 500
        assert level(recording, before.end_s + 0.05, after.start_s - 0.05) < 100


def test_sections_hold_no_speech() -> None:
    sections = (Section("tone", 0, 5), Section("silence", 10, 20), Section("noise", 25, 28))
    recording = compose(Score(6, 40.0, sections=sections))
    for section in sections:
        assert all(s.end_s <= section.start_s or s.start_s >= section.end_s for s in recording.sentences)
    assert level(recording, 10, 20) == 0.0
    assert level(recording, 25, 28) > 1000
    assert any(5 <= s.start_s < 10 for s in recording.sentences)
    with pytest.raises(ValueError, match="unknown section"):
        compose(Score(6, 10.0, sections=(Section("music", 0, 1),)))


def test_equal_scores_sound_equal_and_other_seeds_do_not() -> None:
    first, again, other = compose(Score(7, 20.0)), compose(Score(7, 20.0)), compose(Score(8, 20.0))
    assert first.sentences == again.sentences
    assert np.array_equal(first.pcm, again.pcm)
    assert first.text != other.text


def test_a_wanted_voice_is_the_only_one() -> None:
    recording = compose(Score(9, 60.0, voices=("en-gb",)))
    assert {s.voice for s in recording.sentences} == {"en-gb"}


def test_silence_is_digital_silence() -> None:
    recording = compose(Score.silent(3.0))
    assert recording.sentences == ()
    assert not recording.pcm.any()


def test_chosen_clips_are_laid_end_to_end_with_silence_between() -> None:
    clips = SpeechBank.load().clips[:3]
    recording = from_clips(clips, gap_s=1.0)
    assert [s.text for s in recording.sentences] == [c.text for c in clips]
    assert recording.duration_s == pytest.approx(sum(c.duration_s for c in clips) + 4.0, abs=0.01)
    assert level(recording, 0.0, 0.9) == 0.0


@pytest.mark.parametrize("form", [encoding.M4A, encoding.M4A_LOW, encoding.WEBM, encoding.MP4, encoding.OGG])
def test_every_container_keeps_length_and_places(form: encoding.Encoding) -> None:
    recording = compose(Score(10, 12.0))
    data = encoding.encode(recording.pcm, form)
    assert data == encoding.encode(recording.pcm, form)
    heard = Recording(encoding.decode(data), recording.sentences)
    assert heard.duration_s == pytest.approx(12.0, abs=0.1)
    for sentence in heard.sentences:
        assert level(heard, sentence.start_s, sentence.end_s) > 500
        assert level(heard, sentence.start_s - 0.3, sentence.start_s - 0.05) < 150

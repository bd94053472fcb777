"""Tokens to words: the words are the text, in order, inside their line, mapped to the file; and heard where spoken."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from ctypes.util import find_library
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from channelscribe.asr.align import TimedToken, align
from channelscribe.asr.plausible import Attempt, Rated
from channelscribe.asr.segments import segments_of
from channelscribe.asr.spelling import spelled
from channelscribe.asr.words import Stretch, words_of
from channelscribe.core.model import Segment, Word
from channelscribe.core.window import RATE_HZ, Piece, Window
from tests.channelscribe.asr.models import SHIPPED, loaded
from tests.channelscribe.asr.test_align import features

STEP_S = 0.1
# Measured over 585 words in four voices: starts and ends 0.02 s off in the median, nine of ten within 0.2 s.
WORST_MEDIAN_S, WORST_MOSTLY_S = 0.06, 0.25


@lru_cache(maxsize=1)
def tokenizer() -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(str(SHIPPED), local_files_only=True)


def timed(text: str) -> list[TimedToken]:
    """Each token lasts a tenth of a second."""
    ids = tokenizer().encode(text, add_special_tokens=False)
    return [TimedToken(t, at * STEP_S, (at + 1) * STEP_S, 0.5 + at % 2 / 4) for at, t in enumerate(ids)]


def whole(seconds: float) -> Window:
    return Window(0, (Piece(0, round(seconds * RATE_HZ)),))


def words(text: str, language: str = "en") -> list[str]:
    return [w.word for w in words_of(timed(text), tokenizer(), language, Stretch(whole(600), 0.0, 600.0))]


@pytest.mark.parametrize(
    ("text", "language", "wanted"),
    [
        (" The raven guards a hammer.", "en", ["The", "raven", "guards", "a", "hammer."]),
        ("The raven", "en", ["The", "raven"]),
        (" Wait, what?! 3.5 % of high-tech", "en", ["Wait,", "what?!", "3.5 %", "of", "high-tech"]),
        (' He said: "no (not now)"', "en", ["He", "said:", '"no', "(not", 'now)"']),
        (" - Hello - she said -", "en", ["- Hello", "- she", "said -"]),
        (" Größe über alles…", "de", ["Größe", "über", "alles…"]),
        (" ¿Qué?  dos   espacios", "es", ["¿Qué?", "dos", "espacios"]),
        ("今日は、OpenAIの「猫」。", "ja", ["今", "日", "は、", "OpenAI", "の", "「猫」。"]),
        ("สวัสดี", "th", ["ส", "วั", "ส", "ดี"]),
        (" 🎉 ♪ la", "en", ["🎉", "♪", "la"]),
        ("...", "en", ["..."]),
        ("", "en", []),
        ("   ", "en", []),
    ],
)
def test_words_of_texts(text: str, language: str, wanted: list[str]) -> None:
    found = words(text, language)
    if language == "th":  # its vowels are marks of their own here; only the order is certain
        assert "".join(found) == text
    else:
        assert found == wanted


@settings(max_examples=60, deadline=None)
@given(
    st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), max_size=40), st.sampled_from(["en", "ja"])
)
def test_nothing_of_a_text_is_lost(text: str, language: str) -> None:
    decoded = tokenizer().decode([t.token for t in timed(text)], clean_up_tokenization_spaces=False)
    assert "".join("".join(words(text, language)).split()) == "".join(decoded.split())
    if language == "en":
        assert " ".join(words(text)).split() == decoded.split()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 1180), max_size=40))
def test_any_tokens_are_spelled_as_the_tokenizer_spells_them(tokens: list[int]) -> None:
    wanted = tokenizer().decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    found = list(spelled(tokenizer(), tokens))
    assert "".join(text for text, _ in found) == wanted
    places = [place for _, some in found for place in some]
    assert places == list(range(len(places)))


def assert_in_order(found: Sequence[Word], start_s: float, end_s: float) -> None:
    edges = [edge for word in found for edge in (word.start_s, word.end_s)]
    assert edges == sorted(edges)
    assert all(start_s <= edge <= end_s for edge in edges)


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 50_000), st.integers(1, 40_000)), min_size=1, max_size=4),
    st.floats(0, 12),
    st.floats(0, 12),
    st.lists(st.floats(0, 12), min_size=30, max_size=30),
)
def test_words_stay_in_their_line_and_in_the_sound_that_was_heard(
    pieces: list[tuple[int, int]], one_s: float, other_s: float, times: list[float]
) -> None:
    at, laid = 0, []
    for gap, length in pieces:
        laid.append(Piece(at + gap + 1, at + gap + 1 + length))
        at = laid[-1].end
    window, edges = Window(0, tuple(laid)), sorted(times)
    tokens = [
        TimedToken(t.token, edges[i], edges[i + 1], 1.0)
        for i, t in enumerate(timed(" The raven guards a silver hammer before dawn."))
    ]
    stretch = Stretch(window, min(one_s, other_s), max(one_s, other_s))
    found = words_of(tokens, tokenizer(), "en", stretch)
    assert [word.word for word in found] == ["The", "raven", "guards", "a", "silver", "hammer", "before", "dawn."]
    assert_in_order(found, *stretch.file_s)
    for word in found:
        held = any(p.start / RATE_HZ - 1e-3 <= word.start_s and word.end_s <= p.end / RATE_HZ + 1e-3 for p in laid)
        assert held or word.start_s == word.end_s


def test_a_word_over_a_cut_in_the_sound_ends_at_the_cut() -> None:
    window = Window(0, (Piece(0, RATE_HZ), Piece(61 * RATE_HZ, 62 * RATE_HZ)))
    tokens = [
        TimedToken(t.token, s, e, 0.9) for t, (s, e) in zip(timed(" The raven"), [(0.2, 1.1), (1.1, 1.8)], strict=True)
    ]
    found = words_of(tokens, tokenizer(), "en", Stretch(window, 0.0, 2.0))
    assert [(w.start_s, w.end_s) for w in found] == [(0.2, 1.0), (61.1, 61.8)]


def heard(pcm: np.ndarray) -> list[Segment]:
    """The segments with words of one window, by the shipped model."""
    whisper = loaded(SHIPPED)
    with torch.inference_mode():
        spectrum = features(whisper, pcm)
        encoded = whisper.model.model.encoder(spectrum).last_hidden_state
        written = whisper.model.generate(spectrum, language="en", task="transcribe", return_timestamps=True)[0].tolist()
    tokens = [t for t in written if t < whisper.vocabulary.end or t >= whisper.vocabulary.first_timestamp]
    window = Window(0, (Piece(RATE_HZ, RATE_HZ + len(pcm)),))
    times = align(whisper, encoded, [tokens], ["en"], [len(pcm)])[0]
    rated = Rated(Attempt(tuple(tokens), -0.1, 0.0, 0.0), 1.0)
    plain = segments_of(window, rated, whisper)
    with_words = segments_of(window, rated, whisper, timed=times, language="en")
    assert [(s.start_s, s.end_s, s.text) for s in plain] == [(s.start_s, s.end_s, s.text) for s in with_words]
    assert not any(segment.words for segment in plain)
    return with_words


@pytest.mark.skipif(find_library("espeak-ng") is None, reason="espeak-ng says when each word is spoken")
def test_words_are_heard_where_they_are_spoken() -> None:
    from tests.emulators.speech import SpeechBank
    from tests.speech_model.corpus import Line, recite
    from tests.speech_model.voices import Voice

    texts = [clip.text for clip in SpeechBank.load().clips[:40:6]]
    said = recite([Line(text, Voice("en-gb", 160, 50)) for text in texts], gap_s=(0.5, 0.5))
    spoken = [(mark.name, mark.start_s + 1.0, mark.end_s + 1.0) for mark in said.words]
    segments = heard((said.wave[: 29 * RATE_HZ] * 32767).astype(np.int16))
    for segment in segments:
        assert [word.word for word in segment.words] == segment.text.split()
        assert_in_order(segment.words, segment.start_s, segment.end_s)
    found = [word for segment in segments for word in segment.words]
    pairs = [
        (w, min((s for s in spoken if s[0] == w.word), key=lambda s: abs(s[1] - w.start_s), default=None))
        for w in found
    ]
    apart = sorted(abs(w.start_s - s[1]) for w, s in pairs if s)
    assert len(apart) > 0.8 * len(spoken)
    assert statistics.median(apart) < WORST_MEDIAN_S
    assert apart[int(0.9 * len(apart))] < WORST_MOSTLY_S
    assert all(0 < word.probability <= 1 for word in found)

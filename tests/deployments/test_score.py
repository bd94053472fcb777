"""The demo's marks: word error rate against the known text, and what should have been done."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.score import Expected, normal, word_error_rate


def test_punctuation_and_case_are_no_errors() -> None:
    assert word_error_rate([("The red boat, sails.", "the RED boat sails")]) == 0.0


def test_errors_are_counted_over_all_videos_together() -> None:
    rate = word_error_rate([("one two three four", "one two three four"), ("five six", "five nine")])
    assert rate == pytest.approx(1 / 6)


def test_words_heard_in_silence_count() -> None:
    assert word_error_rate([("one two", "one two"), ("", "ghost words")]) == pytest.approx(1.0)


def test_nothing_heard_is_all_wrong() -> None:
    assert word_error_rate([("one two", "")]) == pytest.approx(1.0)


@pytest.mark.parametrize("pairs", [[], [("", "")], [("...", "")]])
def test_nothing_spoken_has_no_rate(pairs: list[tuple[str, str]]) -> None:
    assert word_error_rate(pairs) is None


@given(st.text(max_size=60))
def test_a_text_never_differs_from_itself(text: str) -> None:
    assert word_error_rate([(text, text)]) in (0.0, None)
    assert normal(normal(text)) == normal(text)


def test_which_videos_should_be_done() -> None:
    due = [kind for kind in ("ok", "short", "silent", "private", "live") if Expected("x", "t", kind, "").should_be_done]
    assert due == ["ok", "short", "silent"]

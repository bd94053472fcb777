"""Pure parts of the engine: fallback, loops, silence, and tokens to segments."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from channelscribe.asr.plausible import (
    Attempt,
    Rated,
    best,
    compression_ratio,
    draws,
    is_plausible,
    is_silence,
    repeating_tail,
    without_loop,
)
from channelscribe.asr.segments import lines
from channelscribe.core.profile import TranscriptionProfile

PROFILE = TranscriptionProfile()


def rated(
    logprob: float = -0.3, ratio: float = 1.5, no_speech: float = 0.0, looped: bool = False, t: float = 0
) -> Rated:
    return Rated(Attempt((1, 2), logprob, no_speech, t, looped), ratio)


def test_whispers_own_rule() -> None:
    assert is_plausible(rated(), PROFILE)
    assert not is_plausible(rated(logprob=-1.2), PROFILE)
    assert not is_plausible(rated(ratio=2.6), PROFILE)
    assert not is_plausible(rated(looped=True), PROFILE)
    silent = rated(logprob=-1.2, no_speech=0.7)
    assert is_plausible(silent, PROFILE)
    assert is_silence(silent.attempt, PROFILE)
    assert not is_silence(rated(no_speech=0.99).attempt, PROFILE), "sure of its text, so it is text"


def test_of_bad_attempts_the_most_probable_that_is_no_loop_is_kept() -> None:
    first, loop, worse = rated(-1.1), rated(-0.1, ratio=9.0), rated(-2.0)
    assert best([loop, worse, first], PROFILE) is first
    assert best([loop], PROFILE) is loop
    assert best([first, good := rated(-0.9, t=0.4), rated(-0.1)], PROFILE) is good


@given(
    st.lists(st.integers(0, 50), max_size=60), st.lists(st.integers(0, 50), min_size=1, max_size=24), st.integers(4, 40)
)
def test_a_loop_is_found_and_cut_to_one_turn(head: list[int], turn: list[int], times: int) -> None:
    tokens = head + turn * times
    if len(turn) * times >= 32:
        assert repeating_tail(tokens) is not None
    cut = without_loop(tokens)
    assert list(cut) == tokens[: len(cut)]
    if repeating_tail(tokens) is not None:
        assert len(cut) <= len(head) + 2 * len(turn)
        assert set(tokens) == set(cut)


@given(st.lists(st.integers(0, 10**6), unique=True, max_size=300))
def test_what_does_not_repeat_is_no_loop(tokens: list[int]) -> None:
    assert repeating_tail(tokens) is None
    assert list(without_loop(tokens)) == tokens


def test_draws_belong_to_the_window_alone() -> None:
    assert draws("a", 1, 0.2, 50) == draws("a", 1, 0.2, 80)[:50]
    others = [draws("b", 1, 0.2, 50), draws("a", 2, 0.2, 50), draws("a", 1, 0.4, 50)]
    assert all(other != draws("a", 1, 0.2, 50) for other in others)
    assert all(0 <= x < 1 for x in draws("a", 1, 0.2, 50))


def test_compression() -> None:
    assert compression_ratio("") == 0.0
    assert compression_ratio("thank you " * 40) > 10
    assert compression_ratio("The captain answers the first poet before dawn.") < 1.5


@given(st.lists(st.integers(0, 1600), max_size=80), st.floats(0.1, 30.0))
def test_lines_keep_every_text_token_and_time_never_goes_back(tokens: list[int], window_s: float) -> None:
    found = list(lines(tokens, 100, 0.02, window_s))
    assert [t for line in found for t in line.tokens] == [t for t in tokens if t < 100]
    assert all(line.tokens and 0 <= line.start_s <= line.end_s <= window_s for line in found)
    assert all(a.end_s <= b.start_s for a, b in pairwise(found))


@pytest.mark.parametrize(
    ("tokens", "wanted"),
    [
        ([100, 1, 2, 150, 150, 3, 200], [(0.0, 1.0, (1, 2)), (1.0, 2.0, (3,))]),
        ([110, 1, 160, 185, 2], [(0.2, 1.2, (1,)), (1.7, 8.0, (2,))]),
        ([1, 2], [(0.0, 8.0, (1, 2))]),
        ([100, 1, 1500], [(0.0, 8.0, (1,))]),
        ([100, 150], []),
        ([], []),
    ],
)
def test_lines_by_example(tokens: list[int], wanted: list[tuple[float, float, tuple[int, ...]]]) -> None:
    found = [(line.start_s, line.end_s, line.tokens) for line in lines(tokens, 100, 0.02, 8.0)]
    assert found == [(pytest.approx(a), pytest.approx(b), text) for a, b, text in wanted]

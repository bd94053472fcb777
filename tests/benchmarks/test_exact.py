"""The comparison of tokens that a GPU is asked for, on the CPU: nothing may differ in float32."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.gpu.exact import compare, distance, first_difference
from benchmarks.gpu.speech import bank_sentences, compressed, expanded, shipped, spoken


def test_slots_and_generate_write_the_same_tokens() -> None:
    some = spoken(3, 12.0)
    found = compare([one.pcm for one in some], [one.text for one in some], "cpu", "float32", slots=2)
    assert (found.windows, found.differing, found.changed) == (3, (), 0.0)
    assert found.right and found.tokens > 30
    assert found.word_errors[0] == found.word_errors[1] < 0.1


def test_the_first_difference_is_found() -> None:
    assert first_difference([1, 2], [1, 2]) is None
    assert first_difference([1, 2, 3], [1, 5]) == (1, 2, 5)
    assert first_difference([1], [1, 7]) == (1, -1, 7)


@pytest.mark.parametrize(("a", "b", "edits"), [("", "", 0), ("abc", "abc", 0), ("abc", "axc", 1), ("", "ab", 2), ("kitten", "sitting", 3)])  # fmt: skip  # noqa: E501
def test_edits_are_counted(a: str, b: str, edits: int) -> None:
    assert distance(a, b) == distance(b, a) == edits


def test_the_shipped_sentences_are_those_of_the_bank() -> None:
    """In 8 bits: a sample is off by at most a fortieth of itself, and a little where it is quiet."""
    for ours, banks in zip(shipped(), bank_sentences(), strict=True):
        assert ours.text == banks.text
        off = np.abs(ours.pcm.astype(np.int32) - banks.pcm.astype(np.int32))
        assert np.all(off <= np.abs(banks.pcm.astype(np.int32)) / 40 + 4)


def test_eight_bits_come_back_as_they_went() -> None:
    codes = np.arange(256, dtype=np.uint8)
    assert np.array_equal(compressed(expanded(codes)), codes)


def test_windows_are_the_same_every_time_and_no_two_alike() -> None:
    one, two = spoken(6), spoken(6)
    assert all(np.array_equal(a.pcm, b.pcm) and a.text == b.text for a, b in zip(one, two, strict=True))
    assert len({each.text for each in one}) == 6
    assert [round(len(each.pcm) / 16_000) for each in one] == [4, 9, 14, 18, 23, 28]

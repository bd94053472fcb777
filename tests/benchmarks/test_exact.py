"""The comparison of tokens that a card is asked for, on the CPU: nothing may differ in float32."""

from __future__ import annotations

from benchmarks.gpu.exact import _first_difference, compare
from benchmarks.gpu.speech import windows


def test_slots_and_generate_write_the_same_tokens() -> None:
    found = compare(windows(3), "cpu", "float32", slots=2)
    assert (found.windows, found.differing) == (3, ())
    assert found.tokens > 60


def test_the_first_difference_is_found() -> None:
    assert _first_difference([1, 2], [1, 2]) is None
    assert _first_difference([1, 2, 3], [1, 5]) == (1, 2, 5)
    assert _first_difference([1], [1, 7]) == (1, -1, 7)

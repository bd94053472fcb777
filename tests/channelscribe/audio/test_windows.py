"""Properties of the packer: nothing lost, nothing twice, never too long, exact times, streaming equals all at once."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from channelscribe.audio.windows import Packer, PackingRules, Span, pack
from channelscribe.core.window import RATE_HZ, Piece, Window


@st.composite
def speech(draw: st.DrawFn) -> list[Span]:
    spans, at = [], 0
    for gap, length in draw(st.lists(st.tuples(st.integers(0, 200), st.integers(1, 400)), max_size=30)):
        spans.append(Span(at + gap, at + gap + length))
        at += gap + length
    return spans


@st.composite
def packing(draw: st.DrawFn) -> PackingRules:
    return PackingRules(draw(st.integers(2, 200)), draw(st.integers(0, 40)), draw(st.integers(0, 150)))


def quietest(seed: int, low: int, high: int) -> int:
    return low + (low * 2654435761 + seed) % (high - low + 1)


def pieces(windows: list[Window]) -> list[Piece]:
    return [piece for window in windows for piece in window.pieces]


@given(speech(), packing(), st.integers(0, 99))
def test_speech_is_covered_exactly_once_in_windows_that_fit(spans: list[Span], rules: PackingRules, seed: int) -> None:
    windows = pack(spans, rules, lambda low, high: quietest(seed, low, high))
    assert [w.index for w in windows] == list(range(len(windows)))
    assert all(0 < w.length <= rules.window for w in windows)
    everything = pieces(windows)
    assert all(a.start < a.end <= b.start for a, b in pairwise(everything))
    covered = {sample for piece in everything for sample in range(piece.start, piece.end)}
    assert covered.issuperset(sample for span in spans for sample in range(span.start, span.end))
    assert len(covered) == sum(piece.length for piece in everything)


@given(speech(), packing(), st.integers(0, 99))
def test_no_window_is_wasted(spans: list[Span], rules: PackingRules, seed: int) -> None:
    windows = pack(spans, rules, lambda low, high: quietest(seed, low, high))
    for left, right in pairwise(windows):
        gap = right.pieces[0].start - left.pieces[-1].end
        first_span = min((s.end for s in spans if s.end > right.pieces[0].start), default=0)
        first_part = min(first_span, right.pieces[0].end) - right.pieces[0].start
        too_long = left.length + min(gap, rules.keep_gap) + first_part > rules.window
        assert gap > rules.break_gap or too_long


@given(speech(), packing(), st.integers(0, 99), st.lists(st.integers(1, 120), max_size=60))
def test_streaming_equals_all_at_once(spans: list[Span], rules: PackingRules, seed: int, steps: list[int]) -> None:
    heard = 0

    def only_heard(low: int, high: int) -> int:
        assert high <= heard, "asked about sound that was not heard yet"
        return quietest(seed, low, high)

    end = spans[-1].end if spans else 0
    packer, found = Packer(rules, only_heard), list[Window]()
    kept_from = 0
    for step in [*steps, end]:
        before, heard = heard, min(end, heard + step)
        new = [
            Span(s.start, min(s.end, heard), ended=s.end <= heard) for s in spans if s.start < heard and s.end > before
        ]
        settled = next((s.start for s in spans if s.end > heard and s.start < heard), heard)
        given_now = packer.feed(new, settled)
        assert all(piece.start >= kept_from for piece in pieces(given_now)), "asked for sound that was dropped"
        found += given_now
        kept_from = packer.needed_from(settled)
    assert found + packer.finish() == pack(spans, rules, lambda low, high: quietest(seed, low, high))


@given(speech(), packing(), st.integers(0, 99))
def test_the_map_to_file_time_is_exact_and_never_goes_back(spans: list[Span], rules: PackingRules, seed: int) -> None:
    for window in pack(spans, rules, lambda low, high: quietest(seed, low, high)):
        laid_out = [sample for piece in window.pieces for sample in range(piece.start, piece.end)]
        assert [window.to_file(sample) for sample in range(window.length)] == laid_out
        assert [window.to_file(s, ending=True) for s in range(1, window.length + 1)] == [s + 1 for s in laid_out]
        assert window.to_file(-5) == laid_out[0]
        assert window.to_file(window.length + 5) == window.to_file(window.length) == laid_out[-1] + 1
        assert window.to_file_s(0.0) == laid_out[0] / RATE_HZ


@given(st.integers(1, 20_000))
def test_hours_without_a_pause_never_wait_for_its_end(length: int) -> None:
    rules = PackingRules(100, 20, 50)
    packer = Packer(rules, lambda low, high: high)
    windows = packer.feed([Span(0, length, ended=False)], settled=0)
    assert packer.needed_from(0) >= length - 2 * rules.window
    assert sum(w.length for w in windows) >= length - 2 * rules.window


@pytest.mark.parametrize(("gap_s", "windows", "kept_s"), [(1.0, 1, 5.0), (5.0, 1, 6.0), (11.0, 2, 4.0)])
def test_long_gaps_are_shortened_and_longer_ones_part(gap_s: float, windows: int, kept_s: float) -> None:
    second = round((2 + gap_s) * RATE_HZ)
    spans = [Span(0, 2 * RATE_HZ), Span(second, second + 2 * RATE_HZ)]
    found = pack(spans, PackingRules.seconds(30.0), lambda low, high: high)
    assert len(found) == windows
    assert sum(w.duration_s for w in found) == kept_s

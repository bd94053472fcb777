"""Spans of speech to windows of bounded length, each with the map back to file time. Between `speech` and the pool.

Windows are cut at silence; a span is cut inside, at its quietest point, only when it is longer than a window. Gaps up
to `keep_gap` stay as they are, longer ones are shortened to it, and after `break_gap` a new window begins.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from channelscribe.core.window import RATE_HZ, Piece, Window

Quietest = Callable[[int, int], int]
KEEP_GAP_S = 2.0
BREAK_GAP_S = 10.0


@dataclass(frozen=True, slots=True)
class Span:
    """Speech from sample `start` to `end`. While it has not `ended`, it lasts at least to `end`."""

    start: int
    end: int
    ended: bool = True


@dataclass(frozen=True, slots=True)
class PackingRules:
    """In samples."""

    window: int
    keep_gap: int = round(KEEP_GAP_S * RATE_HZ)
    break_gap: int = round(BREAK_GAP_S * RATE_HZ)

    @classmethod
    def seconds(cls, window_s: float) -> PackingRules:
        return cls(window=int(window_s * RATE_HZ))


class Packer:
    """Takes spans in order as they are found and gives windows as soon as they are certain.

    `quietest(low, high)` names the sample between the two at which a too long span is cut; it is asked only for sound
    that has been heard. Feeding in steps or all at once gives the same windows.
    """

    def __init__(self, rules: PackingRules, quietest: Quietest) -> None:
        self._rules, self._quietest = rules, quietest
        self._pieces: list[Piece] = []
        self._count = 0
        self._handled = 0

    def feed(self, spans: Iterable[Span], settled: int = 0) -> list[Window]:
        """`settled`: no span that is still to come begins before this sample."""
        windows: list[Window] = []
        for span in spans:
            start = self._hard_cut(max(span.start, self._handled), span.end, windows)
            if span.ended and start < span.end:
                self._add(Piece(start, span.end), windows)
        if self._pieces and max(settled, self._handled) - self._pieces[-1].end > self._rules.break_gap:
            self._close(windows)
        return windows

    def finish(self) -> list[Window]:
        windows: list[Window] = []
        if self._pieces:
            self._close(windows)
        return windows

    def needed_from(self, settled: int) -> int:
        """Sound before this sample will not be asked for any more."""
        first_open = max(settled, self._handled)
        return min(first_open, self._pieces[0].start) if self._pieces else first_open

    def _hard_cut(self, start: int, end: int, windows: list[Window]) -> int:
        longest = self._rules.window
        while end - start > longest:
            low, high = start + max(1, longest // 2), start + longest
            cut = min(max(self._quietest(low, high), low), high)
            self._add(Piece(start, cut), windows)
            start = cut
        return start

    def _add(self, piece: Piece, windows: list[Window]) -> None:
        self._handled = piece.end
        if self._pieces:
            gap = piece.start - self._pieces[-1].end
            length = sum(p.length for p in self._pieces) + min(gap, self._rules.keep_gap) + piece.length
            if gap <= self._rules.break_gap and length <= self._rules.window:
                self._join(piece, gap)
                return
            self._close(windows)
        self._pieces = [piece]

    def _join(self, piece: Piece, gap: int) -> None:
        last = self._pieces.pop()
        if gap <= self._rules.keep_gap:
            self._pieces.append(Piece(last.start, piece.end))
            return
        before = self._rules.keep_gap // 2
        after = self._rules.keep_gap - before
        self._pieces += [Piece(last.start, last.end + before), Piece(piece.start - after, piece.end)]

    def _close(self, windows: list[Window]) -> None:
        windows.append(Window(self._count, tuple(self._pieces)))
        self._count += 1
        self._pieces = []


def pack(spans: Iterable[Span], rules: PackingRules, quietest: Quietest) -> list[Window]:
    """All windows of a file whose spans are known."""
    packer = Packer(rules, quietest)
    return packer.feed(spans) + packer.finish()

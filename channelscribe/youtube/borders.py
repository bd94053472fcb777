"""Finds which videos of a keyless listing lie in a date range, with as few looks at single videos as possible.

YouTube's pages say "6 months ago" at best. In a list that is ordered by date, the borders are found by bisection over
exact dates, and the neighbourhood of each border is looked at one by one because the order is not strict.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from channelscribe.core.model import Video
from channelscribe.youtube.listing import Selection

_NEAR = 5
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Rough:
    """A listed video with the date that its page showed in words, which may be None."""

    video: Video
    about: datetime | None


def slack(about: datetime, now: datetime) -> timedelta:
    """How much older than `about` the video may be: YouTube rounds down to whole days, weeks, months, years."""
    age = now - about
    for limit_days, unit_days in ((6, 1), (28, 8), (360, 32)):
        if age <= timedelta(days=limit_days):
            return timedelta(days=unit_days)
    return timedelta(days=367)


class Borders:
    """`exact` gives the video with its exact date, or without one when it cannot be found out."""

    def __init__(self, selection: Selection, exact: Callable[[Video], Video], now: datetime) -> None:
        self._selection = selection
        self._exact = exact
        self._now = now

    def select(self, listed: Sequence[Rough], *, ordered: bool) -> list[Rough]:
        """The videos inside, with exact dates where they were looked up."""
        if not ordered:
            return [inside for rough in listed if (inside := self._judged(rough))]
        begin, end = self._selection.begin, self._selection.end
        first = self._cut(listed, end, unknown_is_newer=False) if end else 0
        last = self._cut(listed, begin, unknown_is_newer=True) if begin else len(listed)
        near = {*(_around(first) if end else ()), *(_around(last) if begin else ())}
        chosen = []
        for index, rough in enumerate(listed):
            if index not in near and first <= index < last:
                chosen.append(rough)
            elif index in near and (inside := self._judged(rough)):
                chosen.append(inside)
        return chosen

    def _judged(self, rough: Rough) -> Rough | None:
        """Sure by its rough date, or else by its exact one; a video whose date cannot be found out is kept."""
        sure = self._sure(rough)
        if sure is not None:
            return rough if sure else None
        video = self._exact(rough.video)
        return replace(rough, video=video) if self._selection.covers(video.published_at) else None

    def _sure(self, rough: Rough) -> bool | None:
        if rough.about is None:
            return None
        newest, oldest = rough.about + _DAY, rough.about - slack(rough.about, self._now)
        begin, end = self._selection.begin, self._selection.end
        if (begin and newest < begin) or (end and oldest >= end):
            return False
        return True if (not begin or oldest >= begin) and (not end or newest < end) else None

    def _cut(self, listed: Sequence[Rough], border: datetime, *, unknown_is_newer: bool) -> int:
        """The first index of what is older than `border`, by bisection; the unknown falls to the side that is kept."""
        low, high = 0, len(listed)
        while low < high:
            middle = (low + high) // 2
            moment, index = self._moment_near(listed, middle, high, border)
            if (moment >= border) if moment else unknown_is_newer:
                low = index + 1
            else:
                high = middle
        return low

    def _moment_near(
        self, listed: Sequence[Rough], start: int, stop: int, border: datetime
    ) -> tuple[datetime | None, int]:
        """A date that decides at `start`; a video without one lets its next neighbour speak."""
        for index in range(start, min(start + _NEAR, stop)):
            about = listed[index].about
            if about is not None and about + _DAY < border:
                return about, index
            if about is not None and about - slack(about, self._now) >= border:
                return about, index
            if (found := self._exact(listed[index].video).published_at) is not None:
                return found, index
        return None, start


def _around(cut: int) -> range:
    return range(max(cut - _NEAR, 0), cut + _NEAR)

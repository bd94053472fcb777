"""What is asked of a listing, what it gives, and who makes it: the Data API where there is a key, yt-dlp otherwise.

Discovery's face towards the verbs; `api` and `flat` do the work.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Protocol

from channelscribe.core.clock import Clock, SystemClock
from channelscribe.core.errors import EnvironmentFailure, Throttled, UsageError
from channelscribe.core.model import Availability, Video
from channelscribe.youtube.config import YouTubeConfig
from channelscribe.youtube.source import Source

log = logging.getLogger(__name__)
Progress = Callable[[int], None]
_UNDATED = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Selection:
    """Which videos of a source: published from `since` to `until` (UTC days, both included), the `latest` N of them."""

    since: date | None = None
    until: date | None = None
    latest: int | None = None

    def __post_init__(self) -> None:
        for name in ("since", "until"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, date) or isinstance(value, datetime)):
                raise UsageError(f"'{name}' must be a date such as 2026-01-31, not {value!r}.", code="bad_selection")
        if self.since and self.until and self.since > self.until:
            raise UsageError(f"The range ends ({self.until}) before it begins ({self.since}).", code="bad_selection")
        if self.latest is not None and (isinstance(self.latest, bool) or not isinstance(self.latest, int)):
            raise UsageError(f"'latest' must be a whole number, not {self.latest!r}.", code="bad_selection")
        if self.latest is not None and self.latest < 1:
            raise UsageError(f"'latest' must be at least 1, not {self.latest}.", code="bad_selection")

    @property
    def dated(self) -> bool:
        return self.since is not None or self.until is not None

    @property
    def begin(self) -> datetime | None:
        """The first moment inside."""
        return datetime.combine(self.since, time(), UTC) if self.since else None

    @property
    def end(self) -> datetime | None:
        """The first moment after; None also for the last day that a calendar has."""
        if self.until is None or self.until == date.max:
            return None
        return datetime.combine(self.until + timedelta(days=1), time(), UTC)

    def covers(self, published: datetime | None) -> bool:
        """True inside the range, and for an unknown moment: what cannot be judged is not dropped."""
        if published is None:
            return True
        return not ((self.begin and published < self.begin) or (self.end and published >= self.end))


@dataclass(frozen=True, slots=True)
class Listing:
    """The videos found, newest first. `notes` tells people what they should know about its limits."""

    channel_id: str
    channel_title: str
    videos: tuple[Video, ...]
    listed_by: str
    quota_units: int = 0
    notes: tuple[str, ...] = ()


class Lister(Protocol):
    def list(self, source: Source, selection: Selection, progress: Progress | None = None) -> Listing: ...


def make_lister(config: YouTubeConfig, clock: Clock | None = None) -> Lister:
    """A lister with the API where there is a key (falling back when no key serves any more), else without."""
    from channelscribe.youtube.flat import FlatLister

    flat = FlatLister(config, clock or SystemClock())
    if not config.api_keys:
        return flat
    from channelscribe.youtube.api import ApiLister

    return FallbackLister(ApiLister(config, flat, clock or SystemClock()), flat)


class FallbackLister:
    """Asks the API first; when every key is used up or refused, lists without a key and says so."""

    def __init__(self, api: Lister, flat: Lister) -> None:
        self._api = api
        self._flat = flat

    def list(self, source: Source, selection: Selection, progress: Progress | None = None) -> Listing:
        try:
            return self._api.list(source, selection, progress)
        except (Throttled, EnvironmentFailure) as error:
            if error.code not in {"quota_exceeded", "bad_key"}:
                raise
            log.warning("Listing without a key: %s", error.reason)
            listing = self._flat.list(source, selection, progress)
            return replace(listing, notes=(f"Listed without a key: {error.reason}", *listing.notes))


def newest_first(videos: Iterable[Video]) -> list[Video]:
    """Sorted by moment of publication, in the given order among equals; undated ones at the end."""
    return sorted(videos, key=lambda v: v.published_at or _UNDATED, reverse=True)


def missing_video(video_id: str, title: str = "", channel_id: str = "", channel_title: str = "") -> Video:
    """A stand-in for a private, deleted or mistyped video, so that it is accounted for and not dropped."""
    word = title.strip("[] ").lower()
    if word in {"", "private video", "deleted video"}:  # YouTube's own stand-ins are the same for all
        title = f"{word.capitalize() or 'Unavailable video'} {video_id}"
    return Video(video_id, title, channel_id=channel_id, channel_title=channel_title, availability=Availability.PRIVATE)

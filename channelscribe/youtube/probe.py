"""Looks at one video's watch page without downloading anything: title, exact date, availability, schedule.

Used by the keyless listing, for videos given one by one and for dates near the borders of a range. One request each.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from channelscribe.core.clock import Clock
from channelscribe.core.errors import (
    ChannelscribeError,
    EnvironmentFailure,
    LaneFailure,
    NeedsAccess,
    NotReady,
    Permanent,
)
from channelscribe.core.model import Availability, Video
from channelscribe.youtube.config import YouTubeConfig
from channelscribe.youtube.failures import classify
from channelscribe.youtube.info import video_of
from channelscribe.youtube.listing import Selection, missing_video
from channelscribe.youtube.ytdlp import Capture, open_ydl

# The web client's answer stands in the watch page itself; formats, and so the player's script, are not needed.
_PAGE_ONLY = {"youtube": {"player_client": ["web"], "player_skip": ["configs", "js"]}}


class Prober:
    """One after the other; not thread-safe. Stops asking as soon as YouTube throttles or blocks."""

    def __init__(self, config: YouTubeConfig, clock: Clock) -> None:
        self._config = config
        self._clock = clock
        self._known: dict[str, Video] = {}
        self._asked = 0
        self._stopped: ChannelscribeError | None = None
        self._unread: set[str] = set()

    def probe(self, video_id: str) -> Video:
        """What the watch page says. A private or deleted video gives a stand-in, an unreadable one its bare id."""
        if video_id in self._known:
            return self._known[video_id]
        if self._stopped is not None or self._asked >= self._config.date_lookups:
            return self._unreadable(video_id)
        self._asked += 1
        self._clock.sleep(self._config.sleep_between_requests_s)  # yt-dlp's own pause spares the first request
        capture = Capture()
        try:
            with self._ydl(capture) as ydl:
                info = ydl.extract_info(f"https://www.youtube.com/watch?v={video_id}", download=False, process=False)
        except Exception as error:
            classified = classify(error, capture.warnings, now=self._clock.now())
            if isinstance(classified, EnvironmentFailure):
                raise classified from error
            return self._failed(video_id, classified)
        return self._judged(video_id, info or {}, capture.warnings)

    def notes(self, selection: Selection) -> tuple[str, ...]:
        """For people: which dates that the selection needed could not be found out, and why."""
        bounded = self._asked >= self._config.date_lookups
        if not self._unread or not (selection.dated or selection.latest or self._stopped or bounded):
            return ()
        count = len(self._unread)
        why = self._stopped.reason if self._stopped else "the page did not tell."
        if bounded:
            why = f"only {self._config.date_lookups} pages are read one by one."
        return (f"{count} video{'s' if count > 1 else ''} included without a known date: {why}",)

    @contextmanager
    def _ydl(self, capture: Capture) -> Iterator[Any]:
        with open_ydl(
            self._config, capture, ignore_no_formats_error=True, extractor_args=_PAGE_ONLY, js_runtimes={}
        ) as ydl:
            yield ydl

    def _judged(self, video_id: str, info: dict[str, Any], warnings: list[str]) -> Video:
        """With formats ignored, YouTube's refusal is only a warning."""
        refusal = _refusal(warnings, self._clock)
        if isinstance(refusal, LaneFailure):
            return self._failed(video_id, refusal)
        if info.get("channel_id") is None and isinstance(refusal, Permanent | NotReady):
            return self._gone(video_id)
        if info.get("id") != video_id or info.get("channel_id") is None:
            return self._unreadable(video_id)
        video = video_of(info, discovered_by="flat")
        if isinstance(refusal, Permanent):
            video = replace(video, availability=Availability.PRIVATE)
        if isinstance(refusal, NeedsAccess) and refusal.code == "members_only":
            video = replace(video, availability=Availability.MEMBERS)
        return self._kept(video)

    def _failed(self, video_id: str, error: ChannelscribeError) -> Video:
        if isinstance(error, LaneFailure):
            self._stopped = error
        if isinstance(error, Permanent | NeedsAccess):
            return self._gone(video_id)
        return self._unreadable(video_id)

    def _kept(self, video: Video) -> Video:
        self._known[video.video_id] = video
        if video.published_at is None:
            self._unread.add(video.video_id)
        return video

    def _unreadable(self, video_id: str) -> Video:
        return self._kept(Video(video_id, f"Video {video_id}", discovered_by="flat"))

    def _gone(self, video_id: str) -> Video:
        return self._kept(replace(missing_video(video_id), discovered_by="flat"))


def _refusal(warnings: list[str], clock: Clock) -> ChannelscribeError | None:
    """The first warning that names a cause about the visitor or the video."""
    for warning in warnings:
        error = classify(warning, now=clock.now())
        if isinstance(error, LaneFailure | Permanent | NeedsAccess | NotReady):
            return error
    return None

"""Turns entries of the YouTube Data API into our Video.

Used by `api`; the only place that knows the API's field names.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

from channelscribe.core.model import Availability, Video, VideoKind

_DURATION = re.compile(r"P(?:(\d+)W)?(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?", re.ASCII)
_PRIVACY = {"public": Availability.PUBLIC, "unlisted": Availability.UNLISTED, "private": Availability.PRIVATE}
# YouTube's longest Short; only the channel's list of shorts says for certain.
LONGEST_SHORT_S = 180.0


def video_from(item: dict[str, Any]) -> Video:
    """A Video from an entry of `videos.list` (snippet, contentDetails, status, liveStreamingDetails)."""
    snippet: dict[str, Any] = item.get("snippet") or {}
    duration_s = seconds((item.get("contentDetails") or {}).get("duration"))
    live: dict[str, Any] | None = item.get("liveStreamingDetails")
    return Video(
        video_id=item["id"],
        title=snippet.get("title") or f"Untitled video {item['id']}",
        channel_id=snippet.get("channelId") or "",
        channel_title=snippet.get("channelTitle") or "",
        published_at=moment(snippet.get("publishedAt")),
        duration_s=duration_s,
        kind=_kind(live, duration_s, item),
        language=snippet.get("defaultAudioLanguage") or None,
        availability=_availability(item, snippet),
        description=snippet.get("description") or "",
        thumbnail_url=_thumbnail(snippet),
        scheduled_at=moment((live or {}).get("scheduledStartTime")) if _upcoming(snippet) else None,
        discovered_by="api",
    )


def seconds(text: str | None) -> float | None:
    """ISO 8601 duration; None for none and for `P0D`, which stands for a stream without an end."""
    if not text or not (found := _DURATION.fullmatch(text)):
        return None
    weeks, days, hours, minutes, rest = (float(part or 0) for part in found.groups())
    return (((weeks * 7 + days) * 24 + hours) * 60 + minutes) * 60 + rest or None


def moment(text: str | None) -> datetime | None:
    try:
        found = datetime.fromisoformat(text) if text else None
    except ValueError:
        return None
    return found.replace(tzinfo=UTC) if found and found.tzinfo is None else found


def _kind(live: dict[str, Any] | None, duration_s: float | None, item: dict[str, Any]) -> VideoKind:
    if live is None:
        return VideoKind.UPLOAD
    # A premiere is a file that exists before it is shown; the API has no flag for it.
    upcoming = _upcoming(item.get("snippet") or {})
    processed = (item.get("status") or {}).get("uploadStatus") == "processed"
    return VideoKind.PREMIERE if upcoming and (duration_s or processed) else VideoKind.LIVE


def _upcoming(snippet: dict[str, Any]) -> bool:
    return snippet.get("liveBroadcastContent") == "upcoming"


def _availability(item: dict[str, Any], snippet: dict[str, Any]) -> Availability:
    state = snippet.get("liveBroadcastContent")
    if state == "upcoming":
        return Availability.UPCOMING
    if state == "live":
        return Availability.LIVE_NOW
    return _PRIVACY.get(str((item.get("status") or {}).get("privacyStatus")), Availability.UNKNOWN)


def _thumbnail(snippet: dict[str, Any]) -> str:
    pictures: dict[str, Any] = snippet.get("thumbnails") or {}
    best: dict[str, Any] = max(pictures.values(), key=lambda p: p.get("width") or 0, default={})
    return str(best.get("url") or "")

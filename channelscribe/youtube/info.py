"""Reads yt-dlp's info dictionaries into our Video: dates, kinds, availability.

Used by downloads (to enrich), probes and keyless listings (to begin with).
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from channelscribe.core.model import Availability, Video, VideoKind

_AVAILABILITY = {
    "public": Availability.PUBLIC,
    "unlisted": Availability.UNLISTED,
    "private": Availability.PRIVATE,
    "subscriber_only": Availability.MEMBERS,
    "premium_only": Availability.MEMBERS,
}
_LONGEST_DESCRIPTION = 20_000


def video_of(info: dict[str, Any], *, discovered_by: str) -> Video:
    """A Video from an info dictionary; what it does not say stays None."""
    return Video(
        video_id=info["id"],
        title=info.get("title") or f"Untitled video {info['id']}",
        channel_id=info.get("channel_id") or "",
        channel_title=info.get("channel") or info.get("uploader") or "",
        published_at=published_at(info),
        duration_s=_positive(info.get("duration")),
        kind=kind_of(info) or VideoKind.UPLOAD,
        language=info.get("language"),
        availability=availability_of(info),
        description=(info.get("description") or "")[:_LONGEST_DESCRIPTION],
        thumbnail_url=thumbnail_of(info),
        scheduled_at=moment(info.get("release_timestamp")) if info.get("live_status") == "is_upcoming" else None,
        discovered_by=discovered_by,
    )


def enriched(video: Video, info: dict[str, Any], part: dict[str, Any]) -> Video:
    """`video` with what the extraction knew. The API's own values win: yt-dlp's titles may be translated."""
    found = video_of(info, discovered_by=video.discovered_by)
    names = ("title", "channel_id", "channel_title", "published_at", "duration_s", "description", "thumbnail_url")
    from_api = video.discovered_by == "api"
    merged: dict[str, Any] = {}
    for name in names:
        old, new = getattr(video, name), getattr(found, name)
        merged[name] = (old or new) if from_api else (new or old)
    if video.kind is VideoKind.UPLOAD and (kind := kind_of(info)) is not None:
        merged["kind"] = kind
    if found.availability is not Availability.UNKNOWN:
        merged["availability"] = found.availability
    merged["language"] = video.language or part.get("language") or found.language
    return replace(video, **merged)


def kind_of(info: dict[str, Any]) -> VideoKind | None:
    """None where the dictionary does not say."""
    if info.get("media_type") == "short" or "/shorts/" in str(info.get("url") or info.get("original_url") or ""):
        return VideoKind.SHORT
    if info.get("live_status") in {"is_live", "was_live", "post_live"} or info.get("media_type") == "livestream":
        return VideoKind.LIVE
    if info.get("live_status") == "is_upcoming":
        return VideoKind.PREMIERE if _positive(info.get("duration")) else VideoKind.LIVE
    return VideoKind.UPLOAD if info.get("media_type") == "video" else None


def availability_of(info: dict[str, Any]) -> Availability:
    status = info.get("live_status")
    if status == "is_upcoming":
        return Availability.UPCOMING
    if status == "is_live":
        return Availability.LIVE_NOW
    return _AVAILABILITY.get(str(info.get("availability")), Availability.UNKNOWN)


def published_at(info: dict[str, Any]) -> datetime | None:
    """The exact moment, or midnight UTC of the day where only the day is known."""
    if (exact := moment(info.get("timestamp"))) is not None:
        return exact
    try:
        return datetime.strptime(str(info.get("upload_date")), "%Y%m%d").replace(tzinfo=UTC)
    except ValueError:
        return None


def moment(timestamp: Any) -> datetime | None:
    try:
        return None if timestamp is None else datetime.fromtimestamp(float(timestamp), UTC)
    except (ValueError, TypeError, OverflowError, OSError):
        return None


def thumbnail_of(info: dict[str, Any]) -> str:
    if isinstance(found := info.get("thumbnail"), str):
        return found
    pictures = info.get("thumbnails") or []
    return str(pictures[-1].get("url") or "") if pictures else ""


def _positive(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and value > 0 else None

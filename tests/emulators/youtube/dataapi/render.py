"""Videos, channels and playlist items as resources of the Data API, only the parts that were asked for.

Pure functions of the world; the methods page them.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.emulators.youtube.world import GONE, NOT_STARTED, Availability, Channel, Kind, Playlist, Video, World

Resource = dict[str, Any]
_SIZES = (("default", "default", 120, 90), ("medium", "mqdefault", 320, 180), ("high", "hqdefault", 480, 360))


def etag(value: object) -> str:
    digest = hashlib.sha256(json.dumps(value, sort_keys=True).encode()).digest()[:20]
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def rfc3339(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def iso_duration(seconds: float) -> str:
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    parts = f"{hours}H" * bool(hours) + f"{minute}M" * bool(minute) + f"{second}S" * bool(second)
    return "PT" + (parts or "0S")


def finished(kind: str, content: Resource, parts: Collection[str]) -> Resource:
    """The resource with only the wanted parts, kind and etag in front."""
    kept = {name: value for name, value in content.items() if name in parts or name == "id"}
    return {"kind": f"youtube#{kind}", "etag": etag(kept), **kept}


def _thumbnails(video: Video) -> Resource:
    return {
        name: {"url": f"https://i.ytimg.com/vi/{video.id}/{file}.jpg", "width": width, "height": height}
        for name, file, width, height in _SIZES
    }


def channel(world: World, found: Channel, parts: Collection[str]) -> Resource:
    snippet = {
        "title": found.title,
        "description": found.description,
        "customUrl": "@" + found.handle.lower(),
        "publishedAt": "2012-01-01T00:00:00Z",
        "thumbnails": {},
        "localized": {"title": found.title, "description": found.description},
    }
    count = str(len(found.feed("UU")))
    numbers = {"viewCount": "1", "subscriberCount": "1", "hiddenSubscriberCount": False, "videoCount": count}
    related = {"relatedPlaylists": {"likes": "", "uploads": "UU" + found.id[2:]}}
    content = {"id": found.id, "snippet": snippet, "contentDetails": related, "statistics": numbers}
    return finished("channel", content, parts)


def playlist(world: World, found: Playlist, parts: Collection[str]) -> Resource:
    owner = world.channels[found.channel_id]
    snippet = {
        "publishedAt": "2020-01-01T00:00:00Z",
        "channelId": owner.id,
        "title": found.title,
        "description": "",
        "thumbnails": {},
        "channelTitle": owner.title,
        "localized": {"title": found.title, "description": ""},
    }
    count = {"itemCount": len(found.video_ids)}
    content = {"id": found.id, "snippet": snippet, "contentDetails": count, "status": {"privacyStatus": "public"}}
    return finished("playlist", content, parts)


def playlist_item(world: World, list_id: str, video: Video, position: int, parts: Collection[str]) -> Resource:
    """Videos that may not be watched keep their place, with a masked title and no date."""
    owner = world.owner_of(list_id) or world.channels[video.channel_id]
    hidden = video.availability in GONE
    state = "Private" if video.availability is Availability.PRIVATE else "Deleted"
    snippet = {
        "publishedAt": rfc3339(video.published),
        "channelId": owner.id,
        "title": f"{state} video" if hidden else video.title,
        "description": f"This video is {'private' if state == 'Private' else 'unavailable'}."
        if hidden
        else video.description,
        "thumbnails": {} if hidden else _thumbnails(video),
        "channelTitle": owner.title,
        "playlistId": list_id,
        "position": position,
        "resourceId": {"kind": "youtube#video", "videoId": video.id},
    }
    if not hidden:
        uploader = world.channels[video.channel_id]
        snippet |= {"videoOwnerChannelTitle": uploader.title, "videoOwnerChannelId": uploader.id}
    content = {
        "id": base64.urlsafe_b64encode(f"{list_id}.{video.id}".encode()).decode().rstrip("="),
        "snippet": snippet,
        "contentDetails": {"videoId": video.id} | ({} if hidden else {"videoPublishedAt": rfc3339(video.published)}),
        "status": {"privacyStatus": "private" if hidden and state == "Private" else "public"},
    }
    return finished("playlistItem", content, parts)


def video(world: World, found: Video, parts: Collection[str]) -> Resource:
    content = {
        "id": found.id,
        "snippet": _video_snippet(world, found),
        "contentDetails": _video_details(found),
        "status": _video_status(found),
        "statistics": {"viewCount": "1234", "likeCount": "12", "favoriteCount": "0", "commentCount": "3"},
    }
    if found.live_content or found.kind is Kind.PREMIERE:
        content["liveStreamingDetails"] = _live_details(found)
    return finished("video", content, parts)


def _video_snippet(world: World, found: Video) -> Resource:
    live = {Kind.LIVE: "live", Kind.UPCOMING: "upcoming", Kind.PREMIERE: "upcoming"}.get(found.kind, "none")
    return {
        "publishedAt": rfc3339(found.published),
        "channelId": found.channel_id,
        "title": found.title,
        "description": found.description,
        "thumbnails": _thumbnails(found),
        "channelTitle": world.channels[found.channel_id].title,
        "tags": ["emulated"],
        "categoryId": "27",
        "liveBroadcastContent": live,
        "defaultLanguage": found.language,
        "localized": {"title": found.title, "description": found.description},
        "defaultAudioLanguage": found.language,
    }


def _video_details(found: Video) -> Resource:
    details = {
        "duration": "P0D" if found.kind in NOT_STARTED else iso_duration(found.duration_s),
        "dimension": "2d",
        "definition": "hd",
        "caption": "false",
        "licensedContent": False,
        "contentRating": {"ytRating": "ytAgeRestricted"} if found.availability is Availability.AGE else {},
        "projection": "rectangular",
    }
    regions = {Availability.GEO: {"allowed": ["US", "CA"]}, Availability.COPYRIGHT: {"blocked": ["DE", "GB"]}}
    if found.availability in regions:
        details["regionRestriction"] = regions[found.availability]
    return details


def _video_status(found: Video) -> Resource:
    waiting = found.kind in (Kind.UPCOMING, Kind.PREMIERE) or found.availability is Availability.PROCESSING
    return {
        "uploadStatus": "uploaded" if waiting else "processed",
        "privacyStatus": "public",
        "license": "youtube",
        "embeddable": True,
        "publicStatsViewable": True,
        "madeForKids": found.availability is Availability.KIDS,
    }


def _live_details(found: Video) -> Resource:
    details = {"scheduledStartTime": rfc3339(found.scheduled)} if found.scheduled else {}
    if found.kind in (Kind.LIVE, Kind.POST_LIVE, Kind.WAS_LIVE):
        details["actualStartTime"] = rfc3339(found.published)
    if found.kind in (Kind.POST_LIVE, Kind.WAS_LIVE):
        details["actualEndTime"] = rfc3339(found.published + timedelta(hours=1))
    return details


def search_result(found: Video, parts: Collection[str]) -> Resource:
    snippet = {"publishedAt": rfc3339(found.published), "channelId": found.channel_id, "title": found.title}
    content = {"id": {"kind": "youtube#video", "videoId": found.id}, "snippet": snippet}
    return finished("searchResult", content, parts)

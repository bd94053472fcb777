"""Channel tabs and playlists: first pages, and the continuations that `browse` asks for.

Thirty videos a page on a channel tab, a hundred on a playlist, as recorded from YouTube.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from tests.emulators.youtube.texts import (
    VISITOR,
    age,
    channel_byline,
    clock_length,
    runs,
    simple,
    thumbnail,
    token,
    untoken,
)
from tests.emulators.youtube.world import GONE, Availability, Channel, Kind, Video, World

TABS = {"videos": "UULF", "shorts": "UUSH", "streams": "UULV"}
_LIVE_WORDS = {Kind.LIVE: "LIVE", Kind.UPCOMING: "UPCOMING", Kind.PREMIERE: "UPCOMING"}
_PLAYLIST_STYLES = {Kind.LIVE: "LIVE", Kind.UPCOMING: "UPCOMING", Kind.SHORT: "SHORTS"}
_MEMBERS_BADGE = {"badgeViewModel": {"badgeText": "Members only", "badgeStyle": "BADGE_MEMBERS_ONLY"}}


class Lists:
    """Answers for one world; `page_sizes` may be changed by a test that wants many small pages."""

    def __init__(self, world: World, now: Callable[[], datetime]) -> None:
        self._world, self._now = world, now
        self.page_sizes = {"playlist": 100, "tab": 30}

    def channel(self, channel: Channel, wanted: str) -> dict[str, Any]:
        """The data of a channel page; Home is selected when the wanted tab is empty or none."""
        tabs = []
        for tab, prefix in TABS.items():
            if items := channel.feed(prefix):
                shown: dict[str, Any] = {"title": "Live" if tab == "streams" else tab.capitalize()}
                shown["endpoint"] = _tab_address(channel, tab)
                if tab == wanted:
                    grid = self._slice(items, tab, channel.id, 0)
                    shown |= {"selected": True, "content": {"richGridRenderer": {"contents": grid}}}
                tabs.append({"tabRenderer": shown})
        if not any(tab["tabRenderer"].get("selected") for tab in tabs):
            tabs.insert(0, _home(channel))
        return {
            "contents": {"twoColumnBrowseResultsRenderer": {"tabs": tabs}},
            "metadata": {"channelMetadataRenderer": _channel_metadata(channel)},
            "header": {"pageHeaderRenderer": {"pageTitle": channel.title, "content": {"pageHeaderViewModel": {}}}},
        }

    def playlist(self, list_id: str) -> dict[str, Any]:
        items, owner = self._world.list_items(list_id), self._world.owner_of(list_id)
        if items is None or owner is None:
            return {"alerts": [{"alertRenderer": {"type": "ERROR", "text": runs("The playlist does not exist.")}}]}
        videos = {"playlistId": list_id, "contents": self._slice(items, "playlist", list_id, 0)}
        section = {"itemSectionRenderer": {"contents": [{"playlistVideoListRenderer": videos}]}}
        tab = {"selected": True, "content": {"sectionListRenderer": {"contents": [section]}}}
        address = f"https://www.youtube.com/playlist?list={list_id}"
        header = {"numVideosText": runs(f"{len(items)} videos"), "privacy": "PUBLIC"}
        header |= {"ownerText": channel_byline(owner.title, owner.id, owner.handle)}
        return {
            "contents": {"twoColumnBrowseResultsRenderer": {"tabs": [{"tabRenderer": tab}]}},
            "metadata": {"playlistMetadataRenderer": {"title": self._world.list_title(list_id)}},
            "header": {"playlistHeaderRenderer": header},
            "microformat": {"microformatDataRenderer": {"urlCanonical": address}},
        }

    def browse(self, body: dict[str, Any]) -> dict[str, Any] | None:
        """InnerTube `browse`: a continuation, a playlist (VL...) or a channel; None when there is no such thing."""
        if continuation := body.get("continuation"):
            return self._continue(continuation)
        target = str(body.get("browseId", ""))
        if target.startswith("VL"):
            return self.playlist(target[2:])
        channel = self._world.channels.get(target)
        return self.channel(channel, str(body.get("params", "videos"))) if channel else None

    def _continue(self, continuation: str) -> dict[str, Any] | None:
        try:
            kind, key, start = untoken(continuation)
        except ValueError:
            return None
        of_list = kind == "playlist"
        items = self._world.list_items(key) if of_list else self._world.channels[key].feed(TABS[kind])
        more = {"continuationItems": self._slice(items or [], kind, key, start), "targetId": "browse-feed"}
        actions = [{"appendContinuationItemsAction": more}]
        return {"responseContext": {"visitorData": VISITOR}, "onResponseReceivedActions": actions}

    def _slice(self, items: list[Video], kind: str, key: str, start: int) -> list[dict[str, Any]]:
        size = self.page_sizes["playlist" if kind == "playlist" else "tab"]
        shown = items[start : start + size]
        if kind == "playlist":
            out = [self._playlist_item(video, start + i) for i, video in enumerate(shown)]
        else:
            out = [_short(video) if kind == "shorts" else self._lockup(video) for video in shown]
        if start + size < len(items):
            out.append(_continuation(token([kind, key, start + size])))
        return out

    def _when(self, video: Video) -> str:
        streamed = video.kind in (Kind.WAS_LIVE, Kind.POST_LIVE)
        return ("Streamed " if streamed else "") + age(video.published, self._now())

    def _lockup(self, video: Video) -> dict[str, Any]:
        text = _LIVE_WORDS.get(video.kind) or clock_length(video.duration_s)
        style = "LIVE" if video.kind is Kind.LIVE else "DEFAULT"
        badge = {"text": text, "badgeStyle": f"THUMBNAIL_OVERLAY_BADGE_STYLE_{style}"}
        overlay = {"thumbnailBottomOverlayViewModel": {"badges": [{"thumbnailBadgeViewModel": badge}]}}
        picture = {"sources": [{"url": thumbnail(video.id), "width": 336, "height": 188}]}
        when = self._when(video)
        parts = [{"text": {"content": t}, "accessibilityLabel": t} for t in ("1.2K views", when)]
        rows: list[dict[str, Any]] = [{"metadataParts": parts}]
        if video.availability is Availability.MEMBERS:
            rows.append({"badges": [_MEMBERS_BADGE]})
        lines = {"contentMetadataViewModel": {"metadataRows": rows}}
        lockup = {
            "contentId": video.id,
            "contentType": "LOCKUP_CONTENT_TYPE_VIDEO",
            "contentImage": {"thumbnailViewModel": {"image": picture, "overlays": [overlay]}},
            "metadata": {"lockupMetadataViewModel": {"title": {"content": video.list_title}, "metadata": lines}},
        }
        return {"richItemRenderer": {"content": {"lockupViewModel": lockup}}}

    def _playlist_item(self, video: Video, index: int) -> dict[str, Any]:
        head = {"videoId": video.id, "title": runs(video.list_title), "index": simple(str(index + 1))}
        if video.availability in GONE:
            return {"playlistVideoRenderer": {**head, "isPlayable": False}}
        channel = self._world.channels[video.channel_id]
        length = clock_length(video.duration_s)
        status = {"style": _PLAYLIST_STYLES.get(video.kind, "DEFAULT"), "text": simple(length)}
        known: dict[str, Any] = {} if video.kind in _LIVE_WORDS else {"lengthSeconds": str(round(video.duration_s))}
        if video.scheduled:
            known |= {"upcomingEventData": {"startTime": str(int(video.scheduled.timestamp()))}}
        item = {
            **head,
            **known,
            "lengthText": simple(length),
            "isPlayable": True,
            "thumbnail": {"thumbnails": [{"url": thumbnail(video.id)}]},
            "shortBylineText": channel_byline(channel.title, channel.id, channel.handle),
            "videoInfo": runs("1.2K views", " • ", self._when(video)),
            "thumbnailOverlays": [{"thumbnailOverlayTimeStatusRenderer": status}],
        }
        return {"playlistVideoRenderer": item}


def _short(video: Video) -> dict[str, Any]:
    lockup = {
        "entityId": "shorts-shelf-item-" + video.id,
        "accessibilityText": f"{video.title}, 1.2 million views - play Short",
        "onTap": {"innertubeCommand": {"reelWatchEndpoint": {"videoId": video.id}}},
        "overlayMetadata": {"primaryText": {"content": video.title}, "secondaryText": {"content": "1.2M views"}},
    }
    return {"richItemRenderer": {"content": {"shortsLockupViewModel": lockup}}}


def _continuation(text: str) -> dict[str, Any]:
    command = {"token": text, "request": "CONTINUATION_REQUEST_TYPE_BROWSE"}
    endpoint = {"clickTrackingParams": "CAAQ", "continuationCommand": command}
    item = {"trigger": "CONTINUATION_TRIGGER_ON_ITEM_SHOWN", "continuationEndpoint": endpoint}
    return {"continuationItemRenderer": item}


def _tab_address(channel: Channel, tab: str) -> dict[str, Any]:
    return {"commandMetadata": {"webCommandMetadata": {"url": f"/@{channel.handle}/{tab}"}}}


def _home(channel: Channel) -> dict[str, Any]:
    content: dict[str, Any] = {"sectionListRenderer": {"contents": []}}
    home = {"title": "Home", "selected": True, "endpoint": _tab_address(channel, "featured"), "content": content}
    return {"tabRenderer": home}


def _channel_metadata(channel: Channel) -> dict[str, Any]:
    return {
        "title": channel.title,
        "description": channel.description,
        "externalId": channel.id,
        "channelUrl": f"https://www.youtube.com/channel/{channel.id}",
        "vanityChannelUrl": f"http://www.youtube.com/@{channel.handle}",
        "ownerUrls": [f"http://www.youtube.com/@{channel.handle}"],
        "avatar": {"thumbnails": []},
        "keywords": "",
    }

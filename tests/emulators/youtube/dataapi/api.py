"""The Data API as one route: key, quota, parameters, method, partial answer, etag.

The emulator sends it every request for *.googleapis.com.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import datetime
from typing import Any

from tests.emulators.youtube.dataapi import discovery, partial, render
from tests.emulators.youtube.dataapi.discovery import Args
from tests.emulators.youtube.dataapi.errors import ApiError, no_filter, not_found, quota_exceeded
from tests.emulators.youtube.dataapi.paging import paged
from tests.emulators.youtube.dataapi.quota import Quota
from tests.emulators.youtube.exchange import Request, Response
from tests.emulators.youtube.world import GONE, Video, World

_JSON = "application/json; charset=UTF-8"
_HEADERS = {"Vary": "Origin, X-Origin, Referer", "X-Content-Type-Options": "nosniff"}
_SEARCH_CEILING = 500
_IDS_CEILING = 50
_CHANNEL_FILTERS = ("id", "forHandle", "forUsername", "mine", "managedByMe", "categoryId")
_PARTS = {
    "channels.list": "auditDetails brandingSettings contentDetails contentOwnerDetails id localizations snippet "
    "statistics status topicDetails",
    "playlistItems.list": "contentDetails id snippet status",
    "playlists.list": "contentDetails id localizations player snippet status",
    "videos.list": "contentDetails fileDetails id liveStreamingDetails localizations paidProductPlacementDetails "
    "player processingDetails recordingDetails snippet statistics status suggestions topicDetails brandPartner",
    "search.list": "id snippet",
}


class DataApi:
    """Serves one world. `playlist_items_ceiling` is how far paging reaches, as reported of the real one."""

    def __init__(self, world: World, now: Callable[[], datetime]) -> None:
        self._world = world
        self.quota = Quota(now)
        self.playlist_items_ceiling = 20_000
        self._calls: dict[str, Callable[[Args, list[str]], dict[str, Any]]] = {
            "channels.list": self._channels,
            "playlistItems.list": self._playlist_items,
            "playlists.list": self._playlists,
            "videos.list": self._videos,
            "search.list": self._search,
        }

    def route(self, request: Request) -> Response:
        try:
            answer, fields = self._answer(request)
        except ApiError as error:
            request.record.reason = error.reason
            return Response(error.code, _dump(error.body), _JSON, _HEADERS)
        tag = render.etag(answer)
        answer = {"kind": answer.pop("kind"), "etag": tag, **answer}
        headers = {**_HEADERS, "ETag": tag, "Cache-Control": "private", "Expires": "-1"}
        if tag in request.header("If-None-Match"):
            return Response(304, b"", _JSON, headers)
        return Response(200, _dump(partial.pick(answer, partial.parse(fields))), _JSON, headers)

    def _answer(self, request: Request) -> tuple[dict[str, Any], str]:
        if request.record.fault == "quota":
            raise quota_exceeded()
        method = discovery.methods().get(request.path)
        if method is None or method.name not in self._calls:
            raise not_found()
        key = self.quota.authorise(request.record.key)
        self.quota.charge(key, method.name)
        args = discovery.validate(method, request.args)
        return self._calls[method.name](args, _parts(args, method.name)), args.get("fields", "")

    def _channels(self, args: Args, parts: list[str]) -> dict[str, Any]:
        filters = [name for name in _CHANNEL_FILTERS if name in args]
        if not filters:
            raise no_filter("forHandle, categoryId, mySubscribers, id, idParam, mine, managedByMe, forUsername")
        if len(filters) > 1:
            message = "Incompatible parameters specified in the request: " + ", ".join(filters)
            raise ApiError(400, message, "incompatibleParameters", location="parameters.", location_type="other")
        if "id" in args:
            found = [self._world.channels.get(i) for i in _ids(args)]
        elif "forHandle" in args:
            found = [self._world.by_handle(args["forHandle"])]
        else:
            found = [self._world.by_username(args.get("forUsername", ""))]
        items = [render.channel(self._world, channel, parts) for channel in found if channel]
        page = {"totalResults": len(items), "resultsPerPage": args.get("maxResults", 5)}
        # The real answer has no "items" at all when nothing matched.
        listed = {"items": items} if items else {}
        return {"kind": "youtube#channelListResponse", "pageInfo": page, **listed}

    def _playlist_items(self, args: Args, parts: list[str]) -> dict[str, Any]:
        list_id = args.get("playlistId")
        if list_id is None:
            raise no_filter("playlistId, id, idParam")
        items = self._world.list_items(list_id)
        if items is None:
            message = "The playlist identified with the request's <code>playlistId</code> parameter cannot be found."
            raise ApiError(404, message, "playlistNotFound", "youtube.playlistItem", location="playlistId")
        if wanted := args.get("videoId"):
            items = [video for video in items if video.id == wanted]
        page = paged(
            items[: self.playlist_items_ceiling],
            args,
            lambda video, i: render.playlist_item(self._world, list_id, video, i, parts),
        )
        return {"kind": "youtube#playlistItemListResponse", **page}

    def _playlists(self, args: Args, parts: list[str]) -> dict[str, Any]:
        if "id" in args:
            found = [p for i in _ids(args) if (p := self._world.playlists.get(i))]
        elif "channelId" in args:
            found = [p for p in self._world.playlists.values() if p.channel_id == args["channelId"]]
        else:
            raise no_filter("channelId, id, idParam, mine")
        page = paged(found, args, lambda playlist, _: render.playlist(self._world, playlist, parts))
        return {"kind": "youtube#playlistListResponse", **page}

    def _videos(self, args: Args, parts: list[str]) -> dict[str, Any]:
        if not {"id", "chart", "myRating"} & set(args):
            raise no_filter("id, idParam, chart, myRating")
        ids = _ids(args)
        if len(ids) > _IDS_CEILING:
            message = "The request specifies an invalid filter parameter."
            raise ApiError(400, message, "invalidFilters", location="parameters.", location_type="other")
        found = [v for i in ids if (v := self._world.videos.get(i)) and v.availability not in GONE]
        items = [render.video(self._world, video, parts) for video in found]
        page = {"totalResults": len(items), "resultsPerPage": len(items)}
        return {"kind": "youtube#videoListResponse", "items": items, "pageInfo": page}

    def _search(self, args: Args, parts: list[str]) -> dict[str, Any]:
        channel = self._world.channels.get(args.get("channelId", ""))
        found = [v for v in (channel.feed("UU") if channel else []) if _published_within(v, args)]
        page = paged(found[:_SEARCH_CEILING], args, lambda video, _: render.search_result(video, parts))
        return {"kind": "youtube#searchListResponse", "regionCode": "US", **page}


def _published_within(video: Video, args: Args) -> bool:
    after, before = args.get("publishedAfter"), args.get("publishedBefore")
    return (not after or video.published >= datetime.fromisoformat(after)) and (
        not before or video.published < datetime.fromisoformat(before)
    )


def _ids(args: Args) -> list[str]:
    return [one for several in args.get("id", []) for one in several.split(",") if one]


def _parts(args: Args, method: str) -> list[str]:
    parts = [one for several in args["part"] for one in several.split(",") if one]
    unknown = [part for part in parts if part not in _PARTS[method].split()]
    if unknown or not parts:
        message = ",".join(f"'{part}'" for part in unknown) or "'part'"
        raise ApiError(400, message, "unknownPart", "youtube.part", location="part")
    return parts


def _dump(body: dict[str, Any]) -> bytes:
    text = json.dumps(body, indent=2, ensure_ascii=False)
    return re.sub(r"[<>&]", lambda m: f"\\u{ord(m.group()):04x}", text).encode() + b"\n"

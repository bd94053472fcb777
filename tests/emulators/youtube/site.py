"""www.youtube.com: which path is answered by what.

Pages, InnerTube, player script, captions and feeds; the emulator sends every request for *.youtube.com here.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.emulators.youtube import challenge, feeds
from tests.emulators.youtube.exchange import Request, Response, as_json, html, nothing
from tests.emulators.youtube.lists import Lists
from tests.emulators.youtube.media import MediaStore
from tests.emulators.youtube.pages import page, watch_next
from tests.emulators.youtube.player import Player
from tests.emulators.youtube.world import Channel, Kind, World

_CHANNEL_PATH = re.compile(r"/(@[^/]+|channel/UC[\w-]{22}|c/[^/]+|user/[^/]+)(?:/(\w+))?/?")
_VIDEO_ID = re.compile(r"[\w-]{11}", re.ASCII)
_BAD_WORDS = "Request contains an invalid argument."
_BAD = {
    "code": 400,
    "message": _BAD_WORDS,
    "errors": [{"message": _BAD_WORDS, "domain": "global", "reason": "badRequest"}],
    "status": "INVALID_ARGUMENT",
}
_NOT_FOUND = {"code": 404, "message": "Requested entity was not found.", "status": "NOT_FOUND"}


def client_of(request: Request) -> str:
    """The InnerTube client that a request names, empty when it is not a well-formed InnerTube request."""
    context = request.json.get("context")
    client = context.get("client") if isinstance(context, dict) else None
    number = request.header("X-YouTube-Client-Name")
    if not isinstance(client, dict) or not client.get("clientVersion") or not number.isdigit():
        return ""
    return str(client.get("clientName", ""))


class Site:
    def __init__(self, world: World, store: MediaStore, player: Player, lists: Lists) -> None:
        self._world, self._store, self._player, self._lists = world, store, player, lists
        self._exact: dict[str, Callable[[Request], Response]] = {
            "/watch": self._watch,
            "/playlist": self._playlist,
            "/iframe_api": lambda _: Response(200, challenge.IFRAME_API_JS.encode(), "text/javascript"),
            "/api/timedtext": self._captions,
            "/feeds/videos.xml": self._rss,
            "/": lambda r: html(page("home", {}, r.signed_in)),
            "/tv": lambda r: html(page("home", {}, r.signed_in, "TVHTML5")),
        }

    def route(self, request: Request) -> Response:
        if request.path.startswith("/youtubei/v1/"):
            return self._innertube(request, request.path.removeprefix("/youtubei/v1/"))
        if exact := self._exact.get(request.path):
            return exact(request)
        if request.path.startswith("/s/player/"):
            return Response(200, challenge.PLAYER_JS.encode(), "text/javascript")
        if request.path.startswith("/embed/"):
            return html(page("home", {}, request.signed_in, "WEB_EMBEDDED_PLAYER"))
        if short := re.fullmatch(r"/shorts/([\w-]{11})", request.path):
            return self._short(request, short[1])
        if named := _CHANNEL_PATH.fullmatch(unquote(request.path)):
            return self._channel(request, named[1], named[2] or "")
        return nothing(404)

    def _watch(self, request: Request) -> Response:
        video_id = request.arg("v")
        player = self._player.answer(video_id, "WEB", request.signed_in)
        data = {"ytInitialPlayerResponse": player, "ytInitialData": watch_next(self._world, video_id)}
        return html(page("watch", data, request.signed_in))

    def _playlist(self, request: Request) -> Response:
        return html(page("playlist", {"ytInitialData": self._lists.playlist(request.arg("list"))}, request.signed_in))

    def _short(self, request: Request, video_id: str) -> Response:
        video = self._world.videos.get(video_id)
        if video and video.kind is not Kind.SHORT:
            return Response(303, headers={"Location": f"https://www.youtube.com/watch?v={video_id}"})
        return html(page("short", {}, request.signed_in))

    def _captions(self, request: Request) -> Response:
        video = self._world.videos.get(request.arg("v"))
        if video is None or not video.captions:
            return nothing(404)
        mime, data = feeds.captions(self._store.recording(video.media).sentences, request.arg("fmt", "vtt"))
        return Response(200, data, mime)

    def _rss(self, request: Request) -> Response:
        list_id = request.arg("playlist_id") or "UU" + request.arg("channel_id")[2:]
        videos = self._world.list_items(list_id)
        if videos is None:
            return nothing(404)
        return Response(200, feeds.rss(self._world.list_title(list_id), videos), "text/xml; charset=UTF-8")

    def _channel(self, request: Request, name: str, tab: str) -> Response:
        channel = self._find(name)
        if channel is None:
            return html(page("404 Not Found", {}), 404)
        data = self._lists.channel(channel, tab)
        return html(page(channel.title, {"ytInitialData": data}, request.signed_in))

    def _find(self, name: str) -> Channel | None:
        if name.startswith("@"):
            return self._world.by_handle(name)
        kind, _, value = name.partition("/")
        if kind == "channel":
            return self._world.channels.get(value)
        return self._world.by_custom(value) if kind == "c" else self._world.by_username(value)

    def _innertube(self, request: Request, endpoint: str) -> Response:
        client = client_of(request)
        if not client:
            return as_json({"error": _BAD}, 400)
        video_id = str(request.json.get("videoId", ""))
        if endpoint == "player":
            if not _VIDEO_ID.fullmatch(video_id):
                return as_json({"error": _BAD}, 400)
            return as_json(self._player.answer(video_id, client, request.signed_in))
        if endpoint == "next":
            return as_json(watch_next(self._world, video_id))
        found: dict[str, Any] | None = None
        if endpoint == "browse":
            found = self._lists.browse(request.json)
        elif endpoint == "navigation/resolve_url":
            found = self._resolve(str(request.json.get("url", "")))
        return as_json(found) if found else as_json({"error": _NOT_FOUND}, 404)

    def _resolve(self, url: str) -> dict[str, Any] | None:
        parts = urlsplit(url)
        named = _CHANNEL_PATH.fullmatch(unquote(parts.path))
        channel = self._find(named[1]) if named else None
        if named and channel:
            return {"endpoint": {"browseEndpoint": {"browseId": channel.id, "params": named[2] or "videos"}}}
        list_id = parse_qs(parts.query).get("list", [""])[0]
        if parts.path == "/playlist" and self._world.list_items(list_id) is not None:
            return {"endpoint": {"browseEndpoint": {"browseId": "VL" + list_id}}}
        return None

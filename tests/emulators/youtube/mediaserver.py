"""*.googlevideo.com: the media server, with ranges, expiry and the checks of `sig`, `n` and PO token.

The player hands out its URLs; its bytes come from the media store.
"""

from __future__ import annotations

import re
import time

from tests.emulators.youtube import challenge
from tests.emulators.youtube.exchange import FileSlice, Request, Response, nothing
from tests.emulators.youtube.media import FORMATS, MediaStore
from tests.emulators.youtube.player import Player, dub_of
from tests.emulators.youtube.texts import untoken
from tests.emulators.youtube.world import Video, World

_LIVE_MANIFEST = b"""#EXTM3U
#EXT-X-STREAM-INF:BANDWIDTH=150000,CODECS="mp4a.40.2"
https://manifest.googlevideo.com/api/manifest/hls_playlist/live.m3u8
"""


def video_id_of(request: Request) -> str:
    """The video that a media URL is for, empty when it says none."""
    try:
        return str(untoken(request.arg("id").removeprefix("o-"))[0])
    except (ValueError, LookupError, TypeError):
        return ""


class MediaServer:
    def __init__(self, world: World, store: MediaStore, player: Player) -> None:
        self._world, self._store, self._player = world, store, player

    def route(self, request: Request) -> Response:
        if request.path.startswith("/api/manifest/hls_variant/"):
            return Response(200, _LIVE_MANIFEST, "application/vnd.apple.mpegurl")
        video, itag = self._world.videos.get(video_id_of(request)), request.arg("itag")
        if request.path != "/videoplayback" or video is None or itag not in FORMATS:
            return nothing(404)
        if refused := self._refusal(request, video, itag):
            request.record.reason = refused
            return nothing(403)
        return self._file(request, video, itag)

    def _refusal(self, request: Request, video: Video, itag: str) -> str:
        expire = request.arg("expire", "0")
        if not expire.isdigit() or int(expire) < time.time():
            return "expired"
        if self._player.po_token_enforced and not request.arg("pot"):
            return "no PO token"
        if request.arg("c") not in challenge.PUZZLE_CLIENTS:
            return ""
        signature = challenge.solve_signature(challenge.scrambled_signature(video.id, itag))
        n = challenge.solve_n(challenge.n_puzzle(video.id))
        return "" if (request.arg("sig"), request.arg("n")) == (signature, n) else "sig or n is wrong"

    def _file(self, request: Request, video: Video, itag: str) -> Response:
        path = self._store.file(video.media.track(dub_of(request.arg("xtags"))), itag)
        total = path.stat().st_size
        headers = {"Accept-Ranges": "bytes", "Last-Modified": "Mon, 20 Oct 2025 00:00:00 GMT"}
        mime = FORMATS[itag].mime
        if wanted := re.fullmatch(r"(\d+)-(\d+)", request.arg("range")):
            start, end = int(wanted[1]), min(int(wanted[2]), total - 1)
            return Response(200, FileSlice(path, start, max(0, end - start + 1)), mime, headers)
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", request.record.range)
        if not wanted:
            return Response(200, FileSlice(path, 0, total), mime, headers)
        start, end = int(wanted[1]), min(int(wanted[2] or total - 1), total - 1)
        if start >= total:
            return Response(416, b"", mime, {"Content-Range": f"bytes */{total}"})
        headers["Content-Range"] = f"bytes {start}-{end}/{total}"
        return Response(206, FileSlice(path, start, end - start + 1), mime, headers)

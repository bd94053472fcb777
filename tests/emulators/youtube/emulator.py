"""The YouTube emulator: one proxy behind which youtube.com, its APIs and its media servers answer from a World.

Clients reach it with environment variables alone; tests look at `log` and the counters.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.emulators.speech import Recording
from tests.emulators.youtube.authority import Authority
from tests.emulators.youtube.dataapi.api import DataApi
from tests.emulators.youtube.exchange import Request, Response, nothing
from tests.emulators.youtube.faults import Faults
from tests.emulators.youtube.journal import Journal
from tests.emulators.youtube.lists import Lists
from tests.emulators.youtube.media import MediaStore
from tests.emulators.youtube.mediaserver import MediaServer, video_id_of
from tests.emulators.youtube.player import Player
from tests.emulators.youtube.server import ProxyServer
from tests.emulators.youtube.site import Site, client_of
from tests.emulators.youtube.world import World

API_KEY = "TEST-KEY-NOT-REAL-0000000000000000000000"
API_PROJECT = "100000000001"
_KNOWN_HOST = re.compile(
    r"(?:(?:www|m|music|studio)\.)?youtube\.com|youtu\.be|[\w-]+\.googlevideo\.com|i\d?\.ytimg\.com"
    r"|youtube\.googleapis\.com|www\.googleapis\.com"
)
_LOOPBACK = "127.0.0.1,localhost,::1"
_PROXY_NAMES = ("HTTPS_PROXY", "HTTP_PROXY", "https_proxy", "http_proxy")
_CA_NAMES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "HTTPLIB2_CA_CERTS")
_TINY_JPEG = b"\xff\xd8\xff\xd9"


class YouTubeEmulator:
    """Start it, hand `environment()` to the client, stop it. `now` is the clock of ages, schedules and quota days."""

    def __init__(self, world: World, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.world = world
        self._folder = Path(tempfile.mkdtemp(prefix="channelscribe-youtube-"))
        self.media = MediaStore(self._folder / "media")
        self.player = Player(world, self.media, now)
        self.lists = Lists(world, now)
        self.api = DataApi(world, now)
        self.api.quota.add_key(API_KEY, API_PROJECT)
        self.faults = Faults()
        self.log = Journal()
        self._site = Site(world, self.media, self.player, self.lists)
        self._media_server = MediaServer(world, self.media, self.player)
        self._authority = Authority(self._folder / "tls")
        self._server = ProxyServer(self._route, self._describe, self.knows, self._authority, self.faults, self.log)
        self._thread: threading.Thread | None = None

    @staticmethod
    def knows(host: str) -> bool:
        return bool(_KNOWN_HOST.fullmatch(host))

    @property
    def proxy_url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def ca_file(self) -> Path:
        return self._authority.ca_file

    @property
    def api_key(self) -> str:
        return API_KEY

    def start(self) -> Self:
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        return self

    def stop(self) -> None:
        """Ends the server and every open connection, and removes the files. May be called twice."""
        if self._thread:
            self._server.shutdown()
            self._thread.join()
            self._thread = None
        self._server.close_connections()
        self._server.server_close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def environment(self) -> dict[str, str]:
        """What a process needs to reach the emulator with verified TLS, and nothing else beyond this machine.

        yt-dlp reads SSL_CERT_FILE only with its compatibility option `no-certifi`: its Python API needs
        `compat_opts={"no-certifi"}`; its command line finds the option in the configuration named here.
        """
        config = self._folder / "xdg" / "yt-dlp" / "config"
        config.parent.mkdir(parents=True, exist_ok=True)
        config.write_text("--compat-options no-certifi\n", encoding="utf-8")
        return {
            **dict.fromkeys(_PROXY_NAMES, self.proxy_url),
            **dict.fromkeys(_CA_NAMES, str(self.ca_file)),
            "NO_PROXY": _LOOPBACK,
            "no_proxy": _LOOPBACK,
            "XDG_CONFIG_HOME": str(config.parent.parent),
        }

    @contextlib.contextmanager
    def applied(self) -> Iterator[Self]:
        """The environment set in this process for the length of the block."""
        before = dict(os.environ)
        os.environ.pop("ALL_PROXY", None)
        os.environ.pop("all_proxy", None)
        os.environ.update(self.environment())
        try:
            yield self
        finally:
            os.environ.clear()
            os.environ.update(before)

    def warm(self, stop: threading.Event | None = None) -> None:
        """Makes the media of every video ahead, the short ones first, so that no client waits for an encoder."""
        for video in sorted(self.world.videos.values(), key=lambda v: v.duration_s):
            for itag in video.media.itags:
                if stop and stop.is_set():
                    return
                self.media.file(video.media, itag)

    def recording(self, video_id: str) -> Recording:
        """What is said in a video, and when."""
        return self.media.recording(self.world.videos[video_id].media)

    def media_bytes(self, video_id: str, itag: str = "140") -> bytes:
        """The bytes that the media server serves for a video."""
        return self.media.bytes_of(self.world.videos[video_id].media, itag)

    def media_requests(self, video_id: str) -> int:
        return sum(r.media and r.video_id == video_id for r in self.log)

    def bytes_served(self, video_id: str) -> int:
        return sum(r.bytes_sent for r in self.log if r.media and r.video_id == video_id)

    def requests(self, pattern: str) -> int:
        """How many requests match a regular expression on `METHOD host/path?query video=ID client=NAME `."""
        return len(self.log.matching(pattern))

    @property
    def leaks(self) -> list[str]:
        """Hosts that a client asked for and that are not YouTube's."""
        return [r.host for r in self.log if r.reason == "leak"]

    def state(self) -> dict[str, Any]:
        """Counters as plain JSON, for the control endpoint."""
        return {**self.log.summary(), "quota_units": self.api.quota.units_used()}

    def _describe(self, request: Request) -> None:
        record = request.record
        if record.host.endswith(".googlevideo.com"):
            record.video_id, record.client = video_id_of(request), request.arg("c")
        elif record.host.endswith("googleapis.com") or record.path.startswith("/youtube/v3/"):
            record.key = request.arg("key") or request.header("X-Goog-Api-Key")
        elif record.path.startswith("/youtubei/"):
            record.video_id, record.client = str(request.json.get("videoId", "")), client_of(request)
        else:
            record.video_id = request.arg("v")

    def _route(self, request: Request) -> Response:
        host = request.host
        if host.endswith("googleapis.com") or request.path.startswith("/youtube/v3/"):
            return self.api.route(request)
        if host.endswith(".googlevideo.com"):
            return self._media_server.route(request)
        if host.endswith("ytimg.com"):
            return Response(200, _TINY_JPEG, "image/jpeg")
        if host == "youtu.be":
            target = f"https://www.youtube.com/watch?v={request.path.strip('/')}"
            return Response(302, headers={"Location": target})
        return self._site.route(request) if host.endswith("youtube.com") else nothing(404)

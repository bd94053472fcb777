"""The control endpoint: another process reads counters and orders faults and changes as JSON.

`python -m tests.emulators` serves it beside both emulators.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import urlsplit

from tests.emulators import worlds
from tests.emulators.odin import OdinEmulator
from tests.emulators.youtube import Channel, YouTubeEmulator

Body = dict[str, Any]


class Control:
    """Orders for two running emulators. `changed` is called after the world was changed."""

    def __init__(self, youtube: YouTubeEmulator, odin: OdinEmulator, changed: Callable[[], None]) -> None:
        self._youtube, self._odin, self._changed = youtube, odin, changed
        self.gets: dict[str, Callable[[], Any]] = {"/state": self.state, "/truth": self.truth}
        self.posts: dict[str, Callable[[Body], Any]] = {
            "/youtube/faults": self.youtube_faults,
            "/youtube/world": self.youtube_world,
            "/youtube/switches": self.youtube_switches,
            "/odin/faults": self.odin_faults,
        }

    def state(self) -> Body:
        world = self._youtube.world
        videos = {v.id: {"title": v.title, "expected": worlds.expectation(v)} for v in list(world.videos.values())}
        return {
            "world": world.name,
            "videos": videos,
            "youtube": self._youtube.state(),
            "odin": self._odin.snapshot(),
        }

    def truth(self) -> Body:
        return worlds.truth(self._youtube.world, self._youtube.recording)

    def youtube_faults(self, body: Body) -> Body:
        """One rule, as the fields of FaultRule; with `video_id` instead of `match` it is for that video's media."""
        if body == {"clear": True}:
            self._youtube.faults.clear()
        elif "video_id" in body:
            self._youtube.faults.media(body.pop("video_id"), body.pop("do"), **body)
        else:
            self._youtube.faults.add(body.pop("match"), body.pop("do"), **body)
        return {"rules": [asdict(rule) for rule in self._youtube.faults.rules]}

    def odin_faults(self, body: Body) -> Body:
        """One rule, as the fields of Fault; or {"processing": {...}} for how documents end."""
        if body == {"clear": True}:
            self._odin.faults.clear()
        elif "processing" in body:
            self._odin.faults.processing(**body["processing"])
        else:
            self._odin.faults.add(**body)
        return {"ok": True}

    def youtube_world(self, body: Body) -> Body:
        """{"video_id": ..., field: value} changes a video, {"title": ..., "duration_s": ...} adds a new one."""
        wanted = body.pop("video_id", "")
        video = self._youtube.world.change(wanted, **body) if wanted else self._add(**body)
        self._changed()
        return {"video_id": video.id, "expected": worlds.expectation(video)}

    def _add(self, *, title: str, duration_s: float, published: str, channel: str = "", seed: int = 900) -> Any:
        world = self._youtube.world
        owner: Channel | None = world.by_handle(channel) if channel else next(iter(world.channels.values()))
        if owner is None:
            raise ValueError(f"no channel {channel!r}")
        moment = datetime.fromisoformat(published)
        return worlds.add(world, owner, title, moment, worlds.spoken(seed, duration_s))

    def youtube_switches(self, body: Body) -> Body:
        """bot_wall, rate_limited, po_token_enforced (true or false), and exhaust_quota (a project number)."""
        for name, value in body.items():
            if name == "exhaust_quota":
                self._youtube.api.quota.exhaust(str(value))
            elif name in ("bot_wall", "rate_limited", "po_token_enforced"):
                setattr(self._youtube.player, name, bool(value))
            else:
                raise ValueError(f"no switch {name!r}")
        return {"ok": True}


class ControlServer:
    """The endpoint on a port of its own."""

    def __init__(self, control: Control) -> None:
        handler = type("ControlHandler", (_Handler,), {"control": control})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads, self._server.block_on_close = True, False
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    control: Control
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing on the terminal: stdout belongs to the one line of `python -m tests.emulators`."""

    def do_GET(self) -> None:
        read = self.control.gets.get(urlsplit(self.path).path)
        self._reply(200, read()) if read else self._reply(404, {"error": "no such thing"})

    def do_POST(self) -> None:
        act = self.control.posts.get(urlsplit(self.path).path)
        if act is None:
            self._reply(404, {"error": "no such thing"})
            return
        try:
            body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)))
            self._reply(200, act(body))
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            self._reply(400, {"error": f"{type(error).__name__}: {error}"})

    def _reply(self, status: int, value: Any) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

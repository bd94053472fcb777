"""An operator's installation: `channelscribe up` as a process of its own, with emulated YouTube and ODIN behind it."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from tests.deployments.worker.api import Api, wait_for
from tests.deployments.worker.channels import NIGHTLY, channel, operated
from tests.emulators.odin import OdinEmulator
from tests.emulators.youtube import YouTubeEmulator
from tests.emulators.youtube.world import Video, World
from tests.flows.environment import clean
from tests.flows.station import CHECKPOINT

_START_S = 400.0
_END_S = 90.0


@dataclass(frozen=True)
class Installation:
    """What a person in front of the dashboard has, and what tests count."""

    home: Path
    data: Path
    api: Api
    youtube: YouTubeEmulator
    odin: OdinEmulator
    environment: dict[str, str]
    process: subprocess.Popen[bytes]

    @property
    def prefect_home(self) -> Path:
        return self.data / ".prefect"

    def film(self, title: str) -> Video:
        return self.youtube.world.video_titled(title)

    def films(self, handle: str) -> list[Video]:
        """The videos of a channel, newest first."""
        return sorted(channel(self.youtube.world, handle).videos, key=lambda v: v.published, reverse=True)

    def documents(self, handle: str) -> dict[str, int]:
        """How often each video of the channel was stored in the knowledge base, by video id."""
        ours = {v.id for v in self.films(handle)}
        entries = self.odin.snapshot()["documents"].values()
        return {e["metadata"]["videoId"]: e["uploads"] for e in entries if e["metadata"]["videoId"] in ours}

    def media_requests(self, handle: str) -> dict[str, int]:
        return {v.id: self.youtube.media_requests(v.id) for v in self.films(handle)}


@contextlib.contextmanager
def installed(home: Path, world: World | None = None, **settings: str) -> Iterator[Installation]:
    """Up and ready; ended by its process id, and it must end cleanly."""
    with YouTubeEmulator(world or operated()) as youtube, OdinEmulator(processing_s=0.05) as odin:
        environment = clean(
            CHANNELSCRIBE_MODEL=str(CHECKPOINT),
            CHANNELSCRIBE_WINDOW_S="8",
            CHANNELSCRIBE_SOURCE=f"@{NIGHTLY}",
            YOUTUBE_API_KEYS=youtube.api_key,
            YOUTUBE_SPACING_S="0",
            YOUTUBE_REQUEST_PAUSE_S="0",
            HF_HUB_OFFLINE="1",
            PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS="5",  # a minute otherwise
            **youtube.environment(),
            **odin.environment(),
            **settings,
        )
        data = home / "data"
        with _up(home, data, environment) as (process, api):
            yield Installation(home, data, api, youtube, odin, environment, process)


@contextlib.contextmanager
def up_again(site: Installation) -> Iterator[Installation]:
    """`channelscribe up` once more on the same data, after the first one ended or was killed."""
    with _up(site.home, site.data, site.environment) as (process, api):
        yield replace(site, process=process, api=api)


@contextlib.contextmanager
def _up(home: Path, data: Path, environment: dict[str, str]) -> Iterator[tuple[subprocess.Popen[bytes], Api]]:
    port = _free_port()
    command = [sys.executable, "-m", "deployments.cli", "up", "--port", str(port), "--data", str(data)]
    with (home / "up.txt").open("wb") as said:
        process = subprocess.Popen(
            command, cwd=home, env=environment, stdin=subprocess.DEVNULL, stdout=said, stderr=said
        )
    try:
        _wait_until_ready(process, home / "up.txt")
        yield process, Api(f"http://127.0.0.1:{port}/api")
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM rather than Ctrl-C, which a shell may have made background jobs deaf to."""
    process.terminate()
    try:
        process.wait(_END_S)
    except subprocess.TimeoutExpired:
        process.kill()  # what it started ends with it
        process.wait(_END_S)
        raise


def _wait_until_ready(process: subprocess.Popen[bytes], said: Path) -> None:
    def ready() -> bool:
        assert process.poll() is None, said.read_text()
        return "Ctrl-C ends everything" in said.read_text()

    wait_for(ready, "`channelscribe up`", _START_S)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])

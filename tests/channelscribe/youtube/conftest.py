"""One emulated YouTube for all tests of this room; every test finds it without faults, log entries and switches."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from channelscribe.core.model import Video
from channelscribe.youtube.config import YouTubeConfig
from channelscribe.youtube.download import Downloader
from channelscribe.youtube.lane import Lane
from tests.channelscribe.youtube.clocks import JumpClock
from tests.channelscribe.youtube.worlds import room_world
from tests.emulators.youtube import YouTubeEmulator

QUICK: dict[str, Any] = {
    "sleep_between_requests_s": 0.0,
    "spacing_s": 0.0,
    "backoff_s": 0.0,
    "http_retries": 1,
    "attempts": 2,
    "socket_timeout_s": 4.0,
    "javascript": False,
}


def quick(**changes: Any) -> YouTubeConfig:
    """A configuration that does not wait for politeness."""
    return YouTubeConfig(**{**QUICK, **changes})


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[YouTubeEmulator]:
    with YouTubeEmulator(room_world()) as emulator:
        yield emulator


@pytest.fixture
def youtube(
    served: YouTubeEmulator, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[YouTubeEmulator]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))
    served.faults.clear()
    served.log.clear()
    served.player.bot_wall = served.player.rate_limited = served.player.po_token_enforced = False
    with served.applied():
        yield served
    assert served.leaks == []


@pytest.fixture
def clock() -> JumpClock:
    return JumpClock(datetime.now(UTC))  # pages say "3 days ago", and yt-dlp reads that by the machine's clock


@pytest.fixture
def downloader(youtube: YouTubeEmulator, clock: JumpClock) -> Downloader:
    config = quick()
    return Downloader(config, Lane(config, clock), clock)


def titled(youtube: YouTubeEmulator, title: str) -> Video:
    """A Video as the shortest listing would give it: an id and no more."""
    video_id = youtube.world.video_titled(title).id
    return Video(video_id, f"Video {video_id}")


def only_file(folder: Path) -> Path:
    (path,) = folder.iterdir()
    return path

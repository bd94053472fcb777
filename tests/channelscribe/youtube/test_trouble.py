"""Every kind of trouble that YouTube, its media server and the network can make, and what becomes of a download."""

from __future__ import annotations

import socket
from datetime import timedelta
from pathlib import Path

import pytest

from channelscribe.core.errors import (
    Blocked,
    ChannelscribeError,
    GeoBlocked,
    NeedsAccess,
    NotReady,
    Permanent,
    Poisoned,
    Refused,
    Throttled,
    Transient,
)
from channelscribe.core.model import Video
from channelscribe.youtube.download import Downloader
from channelscribe.youtube.lane import Lane
from tests.channelscribe.youtube.clocks import JumpClock
from tests.channelscribe.youtube.conftest import only_file, quick, titled
from tests.channelscribe.youtube.worlds import SOON
from tests.emulators.youtube import YouTubeEmulator

GOOD = "Lecture 003"


def media(youtube: YouTubeEmulator, title: str, itag: str = "140") -> bytes:
    return youtube.media_bytes(youtube.world.video_titled(title).id, itag)


CASES: list[tuple[str, type[ChannelscribeError], str]] = [
    ("Case private", Permanent, "private"),
    ("Case deleted", Permanent, "removed"),
    ("Case terminated", Permanent, "removed"),
    ("Case members", NeedsAccess, "members_only"),
    ("Case age", NeedsAccess, "age"),
    ("Case geo", GeoBlocked, "geo"),
    ("Case copyright", Permanent, "copyright"),
    ("Case unavailable", NotReady, "unavailable"),
    ("Case processing", NotReady, "processing"),
    ("Case bot", Blocked, "bot_check"),
    ("Case captcha", Blocked, "captcha"),
    ("Case ratelimited", Throttled, "lane_worn_out"),
    ("Kind upcoming", NotReady, "live_scheduled"),
    ("Kind premiere", NotReady, "premiere"),
    ("Kind live_now", NotReady, "live_now"),
    ("Kind post_live", NotReady, "recording_pending"),
    ("Damage html", Poisoned, "not_media"),
    ("Damage empty", Poisoned, "not_media"),
    ("Damage noise", Poisoned, "not_media"),
]


@pytest.mark.parametrize("javascript", [False, True], ids=["nojs", "deno"])
@pytest.mark.parametrize(("title", "kind", "code"), CASES, ids=[title for title, *_ in CASES])
def test_every_refusal_has_its_class(
    youtube: YouTubeEmulator,
    tmp_path: Path,
    clock: JumpClock,
    title: str,
    kind: type[ChannelscribeError],
    code: str,
    javascript: bool,
) -> None:
    config = quick(javascript=javascript, max_pauses=1)
    lane = Lane(config, clock)
    with pytest.raises(ChannelscribeError) as raised:
        Downloader(config, lane, clock).download(titled(youtube, title), tmp_path)
    assert (type(raised.value), raised.value.code) == (kind, code), raised.value.reason
    assert raised.value.reason.endswith((".", ")"))
    assert bool(lane.snapshot().closed) == (kind in {Blocked, Throttled})
    if kind is NotReady:
        assert raised.value.retry_after and raised.value.retry_after > clock.now()
    assert not [p for p in tmp_path.iterdir() if p.suffix != ".part"]


def test_a_known_schedule_decides_when_to_come_again(
    downloader: Downloader, youtube: YouTubeEmulator, tmp_path: Path
) -> None:
    premiere = youtube.world.video_titled("Kind premiere").id
    with pytest.raises(NotReady) as early:
        downloader.download(Video(premiere, "x", scheduled_at=SOON, duration_s=60.0), tmp_path)
    assert early.value.retry_after == SOON + timedelta(minutes=31)


@pytest.mark.parametrize(
    "fault",
    [
        {"do": "status", "status": 503},
        {"do": "reset"},
        {"do": "cut", "after_bytes": 20_000},
        {"do": "stall", "seconds": 6.0},
        {"do": "status", "status": 403},
        {"do": "status", "status": 200, "body": "<!DOCTYPE html><p>Sorry</p>"},
        {"do": "status", "status": 200, "body": ""},
        {"do": "slow", "bytes_per_s": 60_000},
    ],
    ids=lambda fault: " ".join(str(v)[:8] for v in fault.values()),
)
def test_trouble_that_passes_leaves_a_whole_file(
    downloader: Downloader, youtube: YouTubeEmulator, tmp_path: Path, fault: dict[str, object]
) -> None:
    video = titled(youtube, GOOD)
    youtube.faults.media(video.video_id, times=1, **fault)  # type: ignore[arg-type]
    got = downloader.download(video, tmp_path)
    assert got.local.read_bytes() == media(youtube, GOOD)
    assert only_file(tmp_path) == got.local


@pytest.mark.parametrize(
    ("where", "fault", "kind", "code"),
    [
        ("media", {"do": "status", "status": 403}, Refused, "media_403"),
        ("media", {"do": "status", "status": 503}, Transient, "http_5xx"),
        ("media", {"do": "reset"}, Transient, "network"),
        ("media", {"do": "cut", "after_bytes": 100}, Transient, "network"),
        ("media", {"do": "status", "status": 200, "body": "<html></html>"}, Poisoned, "not_media"),
        ("media", {"do": "status", "status": 200, "body": "xxxxftypM4A short"}, Transient, "wrong_size"),
        ("media", {"do": "status", "status": 429}, Throttled, "lane_worn_out"),
        ("player", {"do": "status", "status": 403}, Blocked, "api_403"),
        ("player", {"do": "status", "status": 429}, Throttled, "lane_worn_out"),
        ("player", {"do": "status", "status": 500}, Transient, "http_5xx"),
        ("all", {"do": "reset"}, Transient, "network"),
    ],
    ids=lambda value: str(value)[:50] if isinstance(value, dict | str) else value.__name__,
)
def test_trouble_that_stays_is_classified(
    youtube: YouTubeEmulator,
    tmp_path: Path,
    clock: JumpClock,
    where: str,
    fault: dict[str, object],
    kind: type[ChannelscribeError],
    code: str,
) -> None:
    config = quick(max_pauses=1)
    match = {"media": "/videoplayback", "player": "/youtubei/v1/player", "all": "."}[where]
    youtube.faults.add(match, times=-1, **fault)  # type: ignore[arg-type]
    with pytest.raises(ChannelscribeError) as raised:
        Downloader(config, Lane(config, clock), clock).download(titled(youtube, GOOD), tmp_path)
    assert (type(raised.value), raised.value.code) == (kind, code), raised.value.reason


def test_a_proxy_that_is_not_there_is_a_broken_connection(
    downloader: Downloader, youtube: YouTubeEmulator, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        nobody = f"http://127.0.0.1:{listener.getsockname()[1]}"
    # A monkeypatch of the fixture's kind would be undone after `youtube` is, and bring its proxy back for good.
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Transient) as unreachable:
        for name in ("HTTPS_PROXY", "https_proxy"):
            patch.setenv(name, nobody)
        downloader.download(titled(youtube, GOOD), tmp_path)
    assert unreachable.value.code == "network"


def test_a_refused_address_is_extracted_again_twice(
    downloader: Downloader, youtube: YouTubeEmulator, tmp_path: Path, clock: JumpClock
) -> None:
    video = titled(youtube, GOOD)
    youtube.faults.media(video.video_id, "status", status=403, times=-1)
    with pytest.raises(Refused):
        downloader.download(video, tmp_path)
    assert youtube.media_requests(video.video_id) == 3
    assert clock.slept_s == pytest.approx(3.0 + 8.0)


def test_throttling_pauses_the_lane_and_then_goes_on(
    youtube: YouTubeEmulator, tmp_path: Path, clock: JumpClock
) -> None:
    config = quick()
    lane = Lane(config, clock)
    headers = {"Retry-After": "2000"}
    video = titled(youtube, GOOD)
    youtube.faults.media(video.video_id, "status", status=429, headers=headers)
    got = Downloader(config, lane, clock).download(video, tmp_path)
    assert got.local.read_bytes() == media(youtube, GOOD)
    assert lane.snapshot().pauses == 1 and clock.slept_s >= 2000


def test_after_the_bot_wall_nobody_asks_any_more(
    downloader: Downloader, youtube: YouTubeEmulator, tmp_path: Path
) -> None:
    youtube.player.bot_wall = True
    with pytest.raises(Blocked):
        downloader.download(titled(youtube, GOOD), tmp_path / "1")
    asked = len(youtube.log)
    with pytest.raises(Blocked) as second:
        downloader.download(titled(youtube, "Lecture 004"), tmp_path / "2")
    assert len(youtube.log) == asked and "YOUTUBE_COOKIES" in second.value.reason


def test_a_crawling_server_is_left_and_the_rest_fetched_anew(
    youtube: YouTubeEmulator, tmp_path: Path, clock: JumpClock
) -> None:
    config = quick(slowest_bytes_per_s=50_000.0, slow_after_s=1.0)
    video = titled(youtube, GOOD)
    youtube.faults.media(video.video_id, "slow", bytes_per_s=10_000)
    got = Downloader(config, Lane(config, clock), clock).download(video, tmp_path)
    ranges = [r.range for r in youtube.log if r.media]
    assert got.local.read_bytes() == media(youtube, GOOD)
    assert len(ranges) == 2 and not ranges[1].startswith("bytes=0-")


def test_cancelling_ends_at_once_although_the_server_stalls(
    downloader: Downloader, youtube: YouTubeEmulator, tmp_path: Path
) -> None:
    video = titled(youtube, GOOD)
    youtube.faults.media(video.video_id, "stall", seconds=3600.0)
    with pytest.raises(Transient) as cancelled:
        downloader.download(video, tmp_path, cancelled=lambda: youtube.media_requests(video.video_id) > 0)
    assert cancelled.value.code == "cancelled"
    assert youtube.bytes_served(video.video_id) == 0
    assert downloader.download(video, tmp_path).local.read_bytes() == media(youtube, GOOD)

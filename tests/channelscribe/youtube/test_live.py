"""The live YouTube, for people with a network: `CHANNELSCRIBE_LIVE=1 pytest -m live`. Never part of a normal run."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from channelscribe.youtube.config import YouTubeConfig
from channelscribe.youtube.download import Downloader
from channelscribe.youtube.lane import Lane
from channelscribe.youtube.listing import Selection, make_lister
from channelscribe.youtube.source import parse_source

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(os.environ.get("CHANNELSCRIBE_LIVE") != "1", reason="set CHANNELSCRIBE_LIVE=1 to ask YouTube"),
]
FIRST_VIDEO = "jNQXAC9IVRw"  # "Me at the zoo", 19 s, the oldest video there is


def test_the_first_video_of_all_is_listed_and_downloaded(tmp_path: Path) -> None:
    config = YouTubeConfig()
    (video,) = make_lister(config).list(parse_source(FIRST_VIDEO), Selection()).videos
    assert video.published_at and video.published_at.year == 2005
    got = Downloader(config, Lane(config)).download(video, tmp_path)
    assert got.local.stat().st_size > 50_000 and got.video.channel_title == "jawed"

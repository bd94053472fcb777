"""A hundred thousand videos and hundreds of small files: the answers stay right; how long they take is reported."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta

import pytest

from channelscribe.store.archive import Archive
from channelscribe.store.status import video_status
from tests.channelscribe.records import NOON, a_media, a_video

VIDEOS = 100_000
Timed = Callable[[str], AbstractContextManager[None]]


@pytest.fixture
def timed(record_property: Callable[[str, object], None]) -> Timed:
    @contextmanager
    def measure(what: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        seconds = time.perf_counter() - start
        record_property(what, seconds)
        print(f"{what}: {seconds:.3f} s")

    return measure


@pytest.mark.slow
def test_a_hundred_thousand_videos(local_archive: Archive, timed: Timed) -> None:
    about = "What is said and sung in this one. " * 12
    videos = [
        a_video(f"{n:011d}", f"Song number {n}", published_at=NOON - timedelta(minutes=n), description=f"{about}{n}")
        for n in range(VIDEOS)
    ]
    with timed("put_videos"):
        local_archive.put_videos(videos)
    with timed("list"):
        found = local_archive.videos()
    assert len(found) == VIDEOS
    assert found["00000050000"] == videos[50_000]
    with timed("one video"):
        assert local_archive.video("00000099999") == videos[-1]
    with timed("status"):
        assert len(video_status(local_archive)) == VIDEOS


@pytest.mark.slow
def test_hundreds_of_small_files(local_archive: Archive, timed: Timed) -> None:
    count = 600
    for n in range(count):
        local_archive.put_media(a_media(f"{n:011d}"))
    for what in ("before tidy", "after tidy"):
        with timed(what), Archive(local_archive.root) as fresh:
            assert len(fresh.media()) == count
        if what == "before tidy":
            with timed("tidy"):
                assert local_archive.tidy()["media"] == count - 1

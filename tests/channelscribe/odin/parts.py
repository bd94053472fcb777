"""Parts that the ODIN tests share: a clock whose sleeps cost nothing, and one finished transcript to upload."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from channelscribe.core.model import Media, Provenance, Segment, Transcript, Upload, Video
from channelscribe.odin.client import OdinClient
from channelscribe.odin.publish import Published, publish

START = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
TEXT = "[00:00 - 00:04] the river is blue\n\n[00:05 - 00:09] seven green boats wait near the old bridge\n"


class VirtualClock:
    """Time passes only when somebody sleeps; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._elapsed_s = 0.0
        self.sleeps: list[float] = []

    def now(self) -> datetime:
        return START + timedelta(seconds=self.monotonic())

    def monotonic(self) -> float:
        with self._lock:
            return self._elapsed_s

    def sleep(self, seconds: float) -> None:
        with self._lock:
            self._elapsed_s += seconds
            self.sleeps.append(seconds)


@dataclass(frozen=True)
class Work:
    """A video that has come as far as its text."""

    video: Video
    media: Media
    transcript: Transcript
    content: bytes

    @property
    def key(self) -> str:
        return f"{self.media.stem}.txt"

    def saying(self, text: str) -> Work:
        return replace(self, content=text.encode())

    def titled(self, title: str) -> Work:
        return replace(self, video=replace(self.video, title=title))

    def publish(self, client: OdinClient, known: Upload | None = None) -> Published:
        return publish(
            client, video=self.video, media=self.media, transcript=self.transcript, content=self.content, known=known
        )


def make_work(video_id: str = "a_b-c_d-e_1", title: str = "The river", text: str = TEXT) -> Work:
    video = Video(
        video_id, title, "UC0123456789012345678901", "A channel", datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC), 9.0
    )
    stem = f"2026-03-04_The_river_{video_id}"
    media = Media(video_id, f"archive/{video.channel_id}/{stem}.m4a", 1000, "ab" * 32, "mp4", "aac", 44_100, 9.0, "140")
    segment = Segment(0, 0.0, 4.0, "the river is blue", -0.1, 0.01, 1.2)
    transcript = Transcript(
        video_id, "cd" * 32, media.sha256, "en", 9.0, 8.0, (segment,), Provenance("whisper", "tiny", "r1")
    )
    return Work(video, media, transcript, text.encode())

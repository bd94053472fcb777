"""Downloads one video's media with the real yt-dlp: resumed, verified, classified. Second arrow of the flow.

Works inside a folder of its own and returns the complete file there; its final name is the caller's affair.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from channelscribe.core.clock import Clock, SystemClock
from channelscribe.core.errors import Blocked, Poisoned, Refused, Throttled, Transient, UsageError
from channelscribe.core.model import Video
from channelscribe.core.names import is_video_id
from channelscribe.youtube.attempt import Attempt
from channelscribe.youtube.config import YouTubeConfig
from channelscribe.youtube.extract import Extracted, Extraction
from channelscribe.youtube.lane import Lane, cancelled_error
from channelscribe.youtube.ytdlp import version

Progress = Callable[[int, int | None], None]
Cancelled = Callable[[], bool]
_TICK_S = 0.2
_GRACE_S = 10.0


class AudioFormat(StrEnum):
    M4A = "m4a"
    MP3 = "mp3"
    MP4 = "mp4"


@dataclass(frozen=True, slots=True)
class Downloaded:
    """A complete file in the work folder. `video` is enriched with what only the extraction knew."""

    video: Video
    local: Path
    extension: str
    source_format: str
    language: str | None
    downloaded_by: str


class Downloader:
    """Thread-safe: one for all threads of a process, which share its lane."""

    def __init__(self, config: YouTubeConfig, lane: Lane, clock: Clock | None = None) -> None:
        self._config = config
        self._lane = lane
        self._clock = clock or SystemClock()
        self._busy: set[Path] = set()
        self._leftover: dict[Path, Attempt[Extracted]] = {}
        self._lock = threading.Lock()

    @property
    def lane(self) -> Lane:
        return self._lane

    def download(
        self,
        video: Video,
        folder: Path,
        fmt: AudioFormat = AudioFormat.M4A,
        progress: Progress | None = None,
        cancelled: Cancelled | None = None,
    ) -> Downloaded:
        """The media of `video`, complete, in `folder`; goes on from a partial file left there.

        Raises the classified errors of `core.errors`. Tries again by itself where that heals: a new extraction after a
        refused address, a pause of the whole lane when YouTube throttles, backoff when a connection breaks.
        """
        if not is_video_id(video.video_id):
            raise UsageError(f"{video.video_id[:40]!r} is not a video id.", code="bad_video_id")
        folder.mkdir(parents=True, exist_ok=True)
        extraction = Extraction(self._config, self._clock, video, folder.absolute(), AudioFormat(fmt).value, progress)
        with self._alone_in(folder.resolve()):
            got = self._persist(extraction, folder.resolve(), cancelled)
        return Downloaded(got.video, got.local, got.local.suffix[1:], got.source_format, got.language, version())

    def _persist(self, extraction: Extraction, folder: Path, cancelled: Cancelled | None) -> Extracted:
        refused = broken = poisoned = 0
        while True:
            try:
                return self._once(extraction, folder, cancelled)
            except Throttled as error:
                self._lane.pause(self._asked_s(error), error.reason)
            except Blocked as error:
                self._lane.close(error)
                raise
            except Refused:
                if refused >= len(self._config.refused_pauses_s):
                    raise
                self._sleep(self._config.refused_pauses_s[refused], cancelled)
                refused += 1
            except Transient as error:
                broken += 1
                if error.code == "cancelled" or broken >= self._config.attempts:
                    raise
                self._sleep(self._backoff_s(broken), cancelled)
            except Poisoned:
                poisoned += 1
                extraction.discard()
                if poisoned > 1:
                    raise

    def _once(self, extraction: Extraction, folder: Path, cancelled: Cancelled | None) -> Extracted:
        with self._lane.enter(cancelled):
            self._await_leftover(folder, cancelled)
            attempt = Attempt(extraction.run, f"download {extraction.video.video_id}")
            self._leftover[folder] = attempt
            return attempt.result(cancelled, self._config.silence_s)

    def _await_leftover(self, folder: Path, cancelled: Cancelled | None) -> None:
        """An abandoned attempt may still hold the partial file; it ends with its next socket timeout at the latest."""
        leftover = self._leftover.get(folder)
        patience_s = self._config.socket_timeout_s * (self._config.http_retries + 1) + _GRACE_S
        while leftover is not None and not leftover.wait(_TICK_S):
            patience_s -= _TICK_S
            if cancelled is not None and cancelled():
                raise cancelled_error()
            if patience_s < 0:
                raise Transient("An earlier download of this video has not ended yet.", code="busy")

    @contextmanager
    def _alone_in(self, folder: Path) -> Iterator[None]:
        """One writer a folder: two threads with one partial file would splice it."""
        with self._lock:
            if folder in self._busy:
                raise Transient("This video is being downloaded by another thread.", code="busy")
            self._busy.add(folder)
        try:
            yield
        finally:
            with self._lock:
                self._busy.discard(folder)
                if folder in self._leftover and self._leftover[folder].wait(0):
                    del self._leftover[folder]

    def _asked_s(self, error: Throttled) -> float | None:
        return (error.retry_after - self._clock.now()).total_seconds() if error.retry_after else None

    def _backoff_s(self, tries: int) -> float:
        return float(self._config.backoff_s * 4 ** (tries - 1) * random.uniform(0.75, 1.25))

    def _sleep(self, seconds: float, cancelled: Cancelled | None) -> None:
        end = self._clock.monotonic() + seconds
        while (left_s := end - self._clock.monotonic()) > 0:
            if cancelled is not None and cancelled():
                raise cancelled_error()
            self._clock.sleep(min(left_s, 0.5))

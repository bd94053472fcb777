"""One extraction and transfer of one video by yt-dlp, checked and brought into the wanted format.

The body of a download attempt; `download.Downloader` decides how often and when it runs.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from channelscribe.core.clock import Clock
from channelscribe.core.errors import ChannelscribeError, NotReady, Transient
from channelscribe.core.model import Video
from channelscribe.youtube import convert
from channelscribe.youtube.attempt import Watch
from channelscribe.youtube.config import YouTubeConfig
from channelscribe.youtube.failures import classify
from channelscribe.youtube.formats import AUDIO, AUDIO_SORT, describe, picture_and_sound
from channelscribe.youtube.info import enriched
from channelscribe.youtube.ytdlp import Capture, open_ydl

# Time for YouTube to turn a finished premiere or stream into a recording.
_MARGIN_S = 1800.0
_LATER_S = 3600.0
_NOT_YET = {
    "is_live": ("live_now", "The live stream is still running; its recording is fetched when it is over."),
    "is_upcoming": ("live_scheduled", "The video has not been broadcast yet."),
    "post_live": ("recording_pending", "The live stream has just ended; YouTube is still making the recording."),
}


@dataclass(frozen=True, slots=True)
class Extracted:
    """What one successful attempt gives."""

    video: Video
    local: Path
    source_format: str
    language: str | None


class Extraction:
    """`run` may be called again and again; partial files stay in the folder between the calls."""

    def __init__(
        self,
        config: YouTubeConfig,
        clock: Clock,
        video: Video,
        folder: Path,
        wanted: str,
        progress: Callable[[int, int | None], None] | None,
    ) -> None:
        self.video = video
        self._config = config
        self._clock = clock
        self._folder = folder
        self._wanted = wanted
        self._progress = progress

    def run(self, watch: Watch) -> Extracted:
        """Downloads, checks and converts. Raises classified errors."""
        capture = Capture(watch.beat)
        try:
            info = self._fetch(capture, watch)
            parts = self._parts(info)
            local = self._in_wanted_format(parts, watch.beat)
        except Exception as error:
            raise self._classified(error, capture.warnings) from error
        video = enriched(self.video, info, parts[-1])
        return Extracted(video, local, describe(parts), parts[-1].get("language"))

    def discard(self) -> None:
        """Removes what was downloaded, so that the next attempt begins with an empty folder."""
        for path in self._folder.glob(f"{self.video.video_id}*"):
            path.unlink(missing_ok=True)

    def _fetch(self, capture: Capture, watch: Watch) -> dict[str, Any]:
        wanted: dict[str, Any] = {"format": AUDIO, "format_sort": list(AUDIO_SORT)}
        if self._wanted == "mp4":
            wanted = {"format": picture_and_sound}
        hooks = [lambda status: self._hook(status, watch)]
        with open_ydl(self._config, capture, **wanted, progress_hooks=hooks) as ydl:
            # Templates expand variables in the folder's own name ($HOME), and nothing escapes them.
            ydl.prepare_filename = self._file_name
            found: dict[str, Any] = ydl.extract_info(self.video.url, download=False, process=False) or {}
            if found.get("live_status") in _NOT_YET:  # or yt-dlp would record a running stream for hours
                raise self._not_ready(found)
            info: dict[str, Any] = ydl.process_ie_result(found, download=True)
        return info

    def _file_name(self, part: dict[str, Any], *_: Any, **__: Any) -> str:
        """The format is part of the name: a partial file of one format must never be continued with another."""
        name = f"{self.video.video_id}.{part.get('format_id')}.{part.get('ext')}"
        return str(self._folder / re.sub(r"[^\w.-]", "_", name))

    def _hook(self, status: dict[str, Any], watch: Watch) -> None:
        watch.beat()
        if status.get("status") != "downloading":
            return
        done, total = status.get("downloaded_bytes") or 0, status.get("total_bytes")
        if self._progress is not None:
            self._progress(int(done), int(total) if total else None)
        elapsed_s, speed = status.get("elapsed") or 0.0, status.get("speed")
        if elapsed_s > self._config.slow_after_s and speed is not None and speed < self._config.slowest_bytes_per_s:
            raise Transient(f"The media server sends only {speed / 1000:.1f} kB/s.", code="too_slow")

    def _parts(self, info: dict[str, Any]) -> list[dict[str, Any]]:
        """The downloaded files, sound last, each whole and of a plausible kind."""
        parts: list[dict[str, Any]] = info.get("requested_downloads") or []
        if not parts:
            raise self._not_ready(info)
        for part in parts:
            path = Path(part["filepath"])
            convert.check_media(path)
            announced, actual = part.get("filesize"), path.stat().st_size
            if announced and announced != actual:
                path.unlink()
                raise Transient(
                    f"The media server sent {actual:,} bytes where {announced:,} were announced.", code="wrong_size"
                )
        return sorted(parts, key=lambda part: part.get("acodec") not in {None, "none"})

    def _in_wanted_format(self, parts: list[dict[str, Any]], beat: Callable[[], None]) -> Path:
        files = [Path(part["filepath"]) for part in parts]
        target = self._folder / f"{self.video.video_id}.{self._wanted}"
        if self._wanted == "mp3":
            return convert.to_mp3(files[-1], target, beat)
        if self._wanted == "mp4" and len(files) == 2:
            return convert.remux(files, target, ("video", "audio"), beat)
        if files[-1].suffix == f".{self._wanted}":
            return files[-1]
        return convert.remux(files, target, ("video", "audio") if self._wanted == "mp4" else ("audio",), beat)

    def _not_ready(self, info: dict[str, Any]) -> ChannelscribeError:
        code, reason = _NOT_YET.get(
            str(info.get("live_status")),
            ("unavailable", "YouTube gave no media for the video; it is tried again later."),
        )
        after = self._clock.now() + timedelta(seconds=_LATER_S)
        return self._scheduled(NotReady(reason, code=code, retry_after=after))

    def _classified(self, error: Exception, warnings: list[str]) -> ChannelscribeError:
        return self._scheduled(classify(error, warnings, now=self._clock.now()))

    def _scheduled(self, error: ChannelscribeError) -> ChannelscribeError:
        """A known schedule is better than the number of days in YouTube's message."""
        begins = self.video.scheduled_at
        if not isinstance(error, NotReady) or begins is None or begins <= self._clock.now():
            return error
        after = begins + timedelta(seconds=(self.video.duration_s or 0.0) + _MARGIN_S)
        return NotReady(error.reason, code=error.code, retry_after=after)

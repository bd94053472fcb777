"""Fetch: a Video becomes a complete, hashed Media file with its sidecar. Second arrow of the flow."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from channelscribe.audio.probe import probe
from channelscribe.core.clock import Clock, SystemClock
from channelscribe.core.errors import EnvironmentFailure, Permanent, Poisoned
from channelscribe.core.fingerprint import sha256_file
from channelscribe.core.model import Media, Video
from channelscribe.core.names import file_stem
from channelscribe.discover import merge
from channelscribe.export.text import sidecar_json
from channelscribe.store.archive import Archive
from channelscribe.youtube.download import AudioFormat, Downloaded, Downloader

# Audio of a long video at 128 kbit/s, twice over (partial file and final file on different devices), and some air.
_BYTES_PER_SECOND = 2 * 16_000
_HEADROOM_BYTES = 4 << 20


def fetch(
    downloader: Downloader,
    archive: Archive,
    video: Video,
    fmt: AudioFormat = AudioFormat.M4A,
    *,
    again: bool = False,
    clock: Clock | None = None,
    progress: Callable[[int, int | None], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> tuple[Media, bool]:
    """The media file of `video` and whether it had to be downloaded.

    A file that `media/` knows and that stands whole in the archive is taken as it is, unless `again` asks for a fresh
    copy (the last one could not be decoded). A partial download of an earlier, interrupted run is resumed.
    """
    known = archive.media_of(video.video_id)
    if known and not again and archive.root.size(known.path) == known.bytes:
        return known, False
    _need_space(archive, video)
    work = archive.root.local(f".work/{video.video_id}/download")
    work.mkdir(parents=True, exist_ok=True)
    got = downloader.download(video, work, fmt, progress, cancelled)
    try:
        media = _adopt(archive, merge(video, got.video), got, known, clock or SystemClock())
    except (Poisoned, Permanent):  # a later try must not take this file for a finished download
        shutil.rmtree(work.parent, ignore_errors=True)
        raise
    shutil.rmtree(work.parent, ignore_errors=True)
    return media, True


def _adopt(archive: Archive, video: Video, got: Downloaded, known: Media | None, clock: Clock) -> Media:
    # Order matters for a kill at any point: the file, its sidecar, then the row that declares both.
    published = video.published_at.date() if video.published_at else None
    stem = known.stem if known else file_stem(published, video.title, video.video_id)
    folder = known.folder if known else f"archive/{video.channel_id or 'unknown-channel'}"
    media = _describe(got, f"{folder}/{stem}.{got.extension}", clock)
    archive.root.publish(got.local, media.path)
    archive.root.write_bytes(f"{folder}/{stem}.json", sidecar_json(video, media).encode("utf-8"))
    archive.put_videos([video])
    archive.put_media(media)
    return media


def _describe(got: Downloaded, path: str, clock: Clock) -> Media:
    info = probe(got.local)
    return Media(
        video_id=got.video.video_id,
        path=path,
        bytes=got.local.stat().st_size,
        sha256=sha256_file(Path(got.local)),
        container=info.container,
        codec=info.codec,
        sample_rate_hz=info.sample_rate_hz,
        duration_s=info.duration_s,
        source_format=got.source_format,
        language=got.language,
        downloaded_at=clock.now(),
        downloaded_by=got.downloaded_by,
    )


def _need_space(archive: Archive, video: Video) -> None:
    free = archive.root.free_bytes()
    need = int((video.duration_s or 0) * _BYTES_PER_SECOND) + _HEADROOM_BYTES
    if free is not None and free < need:
        raise EnvironmentFailure(
            f"The disk under {archive.root.url} has {free / 1e6:.0f} MB free and the next video needs about "
            f"{need / 1e6:.0f} MB: free some space and start the run again.",
            code="disk_full",
        )

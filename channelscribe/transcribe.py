"""Transcribe: a Media file becomes a Transcript, in `transcripts/` and as files for people. Third arrow of the flow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from channelscribe.asr.engine import Engine
from channelscribe.core.clock import Clock, SystemClock
from channelscribe.core.errors import Poisoned
from channelscribe.core.model import Media, Transcript, Video
from channelscribe.export.text import transcript_json, transcript_text
from channelscribe.store.archive import Archive

# What a listing rounds to whole seconds and a container pads with a frame may differ; half a minute may not.
_SHORT_BY_SHARE = 0.05
_SHORT_BY_S = 3.0


def transcribe(
    engine: Engine,
    archive: Archive,
    video: Video,
    media: Media,
    fingerprint: str,
    *,
    run_id: str,
    clock: Clock | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> tuple[Transcript, bool]:
    """The transcript with this `fingerprint` and whether it had to be made. Files for people are made again if lost.

    Of two videos with the very same sound the second takes over what was heard in the first.
    """
    own = archive.transcript(fingerprint, video.video_id)
    transcript = own or archive.transcript(fingerprint)
    fresh = transcript is None
    if transcript is None:
        path = archive.root.fetch(media.path)
        _whole(video, media)
        made = engine.transcribe(path, video_id=video.video_id, media_sha256=media.sha256, cancelled=cancelled)
        transcript = replace(made, created_at=(clock or SystemClock()).now())
    transcript = replace(transcript, video_id=video.video_id)
    write_files(archive, video, media, transcript, overwrite=own is None)
    if own is None:
        archive.put_transcript(transcript, run_id)
    archive.windows.forget(fingerprint)
    return transcript, fresh


def write_files(archive: Archive, video: Video, media: Media, transcript: Transcript, *, overwrite: bool) -> None:
    """TXT and JSON beside the media."""
    base = f"{media.folder}/{media.stem}"
    contents = {".txt": transcript_text(transcript), ".transcript.json": transcript_json(transcript, video)}
    for extension, content in contents.items():
        if overwrite or not archive.root.exists(base + extension):
            archive.root.write_bytes(base + extension, content.encode("utf-8"))


def _whole(video: Video, media: Media) -> None:
    expected = video.duration_s
    if expected and media.duration_s + max(_SHORT_BY_S, expected * _SHORT_BY_SHARE) < expected:
        raise Poisoned(
            f"{Path(media.path).name} lasts {media.duration_s:.0f} s but YouTube announced {expected:.0f} s: the file "
            "is cut short and will be downloaded afresh on the next try.",
            code="truncated",
        )

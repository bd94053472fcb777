"""A small archive in which everything is finished and sound: real files, real rows, documents as if in ODIN."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import datetime, timedelta

from channelscribe.core.model import Media, OutcomeState, Stage, Transcript, Video
from channelscribe.export.text import sidecar_json, transcript_text
from channelscribe.odin.publish import document_key
from channelscribe.store.archive import Archive
from channelscribe.store.root import DataRoot
from channelscribe.transcribe import write_files
from tests.channelscribe.cards import a_reading
from tests.channelscribe.records import NOON, a_media, a_transcript, a_video, an_outcome, an_upload

PROJECT = "p"


class At:
    """A clock that stands."""

    def __init__(self, now: datetime) -> None:
        self._now = now

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return 0.0

    def sleep(self, seconds: float) -> None:
        self._now += timedelta(seconds=seconds)


LATER = At(NOON + timedelta(days=400))


def video_id(number: int) -> str:
    return f"video{number:06d}"


def sound(number: int) -> bytes:
    return bytes((number * 7 + i) % 251 for i in range(4000 + number))


def finish(archive: Archive, number: int, *, uploaded: bool = True, at: datetime = NOON) -> tuple[Video, Media]:
    """One video with file, sidecars, rows and (unless told otherwise) a verified document."""
    data, own = sound(number), video_id(number)
    video = a_video(own, f"Film {number}")
    media = replace(
        a_media(own, hashlib.sha256(data).hexdigest()),
        path=f"archive/UC/2026-11-01_Film_{own}.m4a",
        bytes=len(data),
        downloaded_at=at,
    )
    made: Transcript = replace(a_transcript(f"fp-{number}", own), media_sha256=media.sha256)
    archive.root.write_bytes(media.path, data)
    archive.root.write_bytes(f"{media.folder}/{media.stem}.json", sidecar_json(video, media).encode())
    archive.put_videos([video])
    archive.put_media(media)
    write_files(archive, video, media, made, overwrite=True)
    archive.put_transcript(made, "run-1")
    for minutes, stage in enumerate((Stage.DOWNLOAD, Stage.TRANSCRIBE, Stage.UPLOAD)[: 2 + uploaded]):
        archive.put_outcome(an_outcome(OutcomeState.DONE, stage=stage, minutes=minutes, video_id=own))
    if uploaded:
        upload = an_upload(made.fingerprint, document_key(media.stem), PROJECT, own)
        text = hashlib.sha256(transcript_text(made).encode()).hexdigest()
        archive.put_upload(replace(upload, content_sha256=text, verified_at=at + timedelta(hours=1)))
    return video, media


def build(root: DataRoot, count: int = 4, *, uploaded: bool = True) -> list[tuple[Video, Media]]:
    """The archive of `count` finished videos and three minutes of a card at 1 Hz."""
    with Archive(root) as archive:
        made = [finish(archive, number, uploaded=uploaded) for number in range(count)]
        archive.put_readings([a_reading(second) for second in range(180)])
    return made


def snapshot(root: DataRoot) -> dict[str, bytes]:
    """Every file that a person may look at, and what the views say."""
    files = {rel: root.read_bytes(rel) for rel in root.list("archive/UC")}
    with Archive(root) as archive:
        for view in ("videos", "media", "segments", "uploads", "outcomes", "runs", "gpu_metrics"):
            rows = archive.ask(f"SELECT * FROM {view} ORDER BY ALL").to_pylist()
            files[view] = repr(rows).encode()
    return files

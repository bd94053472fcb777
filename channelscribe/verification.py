"""Verification: is the archive still what its tables say? Media hashed again, transcripts read again, files compared.

Beside a running sync: a video that a run has in hand is left to the next verification. What is broken is recorded in
`outcomes/` in a way that makes the next sync mend it, and files that follow from the tables are written anew.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from channelscribe.core.clock import Clock, SystemClock
from channelscribe.core.errors import ChannelscribeError, EnvironmentFailure, FailureClass
from channelscribe.core.fingerprint import sha256_file
from channelscribe.core.model import Media, Outcome, OutcomeState, Stage, Transcript, Video
from channelscribe.export.text import sidecar_json, transcript_json, transcript_text
from channelscribe.in_hand import free
from channelscribe.ledger import damage, histories
from channelscribe.odin.client import OdinClient
from channelscribe.odin_check import check_uploads
from channelscribe.retired import retired
from channelscribe.store.archive import Archive

# Parts of a transcript's file that follow a later listing (a new title); they say nothing about its soundness.
_OF_THE_LISTING = ("title", "url", "channelId", "channelTitle", "publishedAt")
_STAGES = {"media": Stage.DOWNLOAD, "transcript": Stage.TRANSCRIBE, "document": Stage.UPLOAD}
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it should be. `then` says what happens about it."""

    what: str
    where: str
    reason: str
    then: str
    video_id: str = ""
    title: str = ""

    @property
    def row(self) -> dict[str, str]:
        return {
            "video": self.title or self.video_id,
            "what": self.what,
            "where": self.where,
            "reason": self.reason,
            "then": self.then,
        }


@dataclass
class Verification:
    """What was looked at and what was found. `busy` videos were in the hands of a run and not looked at."""

    media: int = 0
    media_bytes: int = 0
    retired: int = 0
    transcripts: int = 0
    files: int = 0
    documents: int = 0
    busy: int = 0
    findings: list[Finding] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        return not self.findings

    @property
    def sentence(self) -> str:
        looked = (
            f"{self.media} media files ({self.media_bytes / 1e9:.2f} GB), {self.transcripts} transcripts, "
            f"{self.files} files beside them and {self.documents} documents looked at"
        )
        left = f"; {self.busy} videos left to a run that works on them" if self.busy else ""
        count = len(self.findings)
        found = f"{count} thing{'s are' if count > 1 else ' is'} broken" if count else "all of it is sound"
        return f"{looked}{left}: {found}."


def verify(
    archive: Archive,
    run_id: str,
    *,
    odin: OdinClient | None = None,
    mend: bool = True,
    clock: Clock | None = None,
    progress: Progress | None = None,
) -> Verification:
    """Looks at everything; with `odin` also at the documents. Without `mend` nothing is written at all.

    Raises EnvironmentFailure when the data root or ODIN cannot be used; what is broken inside never raises.
    """
    clock = clock or SystemClock()
    done = Verification()
    done.findings += [_damaged_part(rel) for rel in archive.damaged_parts()]
    history = histories(archive.outcomes())
    transcripts, media, videos = _by_video(archive), archive.media(), archive.videos()
    for number, video_id in enumerate(media):
        video = videos.get(video_id) or Video(video_id, video_id)
        with free(archive, video_id) as ours:
            if ours:
                _check(archive, done, video, transcripts.get(video_id, ()), history.get(video_id, []), mend)
            else:
                done.busy += 1
        if progress is not None:
            progress(number + 1, len(media))
    done.findings += _lost(videos, history, transcripts)
    if odin is not None:
        done.documents, broken = check_uploads(archive, odin, mend=mend)
        done.findings += [_document(videos, *each) for each in broken]
    if mend:
        _record(archive, done.findings, history, run_id, clock.now())
    return done


def _by_video(archive: Archive) -> dict[str, list[str]]:
    """Fingerprints of the whole transcripts of each video, the newest last."""
    found = archive.ask("SELECT video_id, fingerprint FROM transcripts ORDER BY created_at NULLS FIRST, fingerprint")
    own: dict[str, list[str]] = defaultdict(list)
    for row in found.to_pylist():
        own[row["video_id"]].append(row["fingerprint"])
    return own


def _check(archive: Archive, done: Verification, video: Video, known: Any, past: list[Outcome], mend: bool) -> None:
    media = archive.media_of(video.video_id)  # again, as a run may have replaced it since the list was read
    if media is None:
        return
    if (why := _no_path(archive, media)) != "":
        done.findings.append(_finding(video, "archive_media_missing", media.path[:200], why))
        return
    done.findings += _media(archive, done, video, media, past)
    made = [t for f in known if (t := archive.transcript(f, video.video_id)) is not None]
    done.transcripts += len(made)
    done.findings += [_finding(video, "transcript", media.path, why, "look at it") for t in made if (why := fault(t))]
    for rel, content, sound in _files(video, media, made):
        done.files += 1
        done.findings += _file(archive, video, rel, content, sound, mend)


def _no_path(archive: Archive, media: Media) -> str:
    """Why the path in the table is none inside the archive; "" when it is one."""
    try:
        archive.root.size(f"{media.folder}/{media.stem}.transcript.json")
    except ChannelscribeError as error:
        if error.code != "bad_path":
            raise
        return error.reason
    return ""


def _media(archive: Archive, done: Verification, video: Video, media: Media, past: list[Outcome]) -> list[Finding]:
    try:
        size = archive.root.size(media.path)
        if size is None:
            done.retired += (gone := retired(past, media))
            return [] if gone else [_finding(video, "archive_media_missing", media.path, "The media file is gone.")]
        done.media, done.media_bytes = done.media + 1, done.media_bytes + size
        if size != media.bytes:
            why = f"The media file has {size} bytes instead of {media.bytes}."
        elif _sha256(archive, media) != media.sha256:
            why = "The media file's content is not what was downloaded."
        else:
            return []
    except EnvironmentFailure:
        raise
    except (ChannelscribeError, OSError) as error:
        why = f"The media file cannot be read: {error}"
    return [_finding(video, "archive_media_damaged", media.path, why)]


def _sha256(archive: Archive, media: Media) -> str:
    """Of a remote root the copy on this machine goes again."""
    try:
        return sha256_file(archive.root.fetch(media.path))
    finally:
        archive.root.forget(media.path)


def fault(transcript: Transcript) -> str:
    """What is wrong inside a whole transcript; "" for nothing."""
    if not transcript.segments and transcript.speech_s > 0:
        return "It has no text although speech was heard."
    if any(s.end_s < s.start_s or s.start_s < 0 for s in transcript.segments):
        return "A segment ends before it begins."
    return ""


def _files(video: Video, media: Media, made: list[Transcript]) -> Iterator[tuple[str, str, Callable[[bytes], bool]]]:
    """Each file beside the media: its path, what it should hold, and whether what it holds will do."""
    base = f"{media.folder}/{media.stem}"
    yield f"{base}.json", sidecar_json(video, media), lambda data: _object(data).get("videoId") == video.video_id
    if not made:
        return
    texts = {transcript_text(t).encode() for t in made}
    yield f"{base}.txt", transcript_text(made[-1]), lambda data: data in texts
    whole = {t.fingerprint: _essence(transcript_json(t, video).encode()) for t in made}
    content = transcript_json(made[-1], video)
    yield (
        f"{base}.transcript.json",
        content,
        lambda data: whole.get(str(_object(data).get("fingerprint"))) == _essence(data),
    )


def _file(
    archive: Archive, video: Video, rel: str, content: str, sound: Callable[[bytes], bool], mend: bool
) -> list[Finding]:
    data = _content(archive, rel)
    if data is not None and sound(data):
        return []
    why = "The file is gone." if data is None else "The file is not what the tables say."
    if not mend:
        return [_finding(video, "file", rel, why, "written anew from the tables with --mend")]
    if data is not None:  # it may be somebody's correction
        archive.root.write_bytes(f"{rel}.replaced", data)
    archive.root.write_bytes(rel, content.encode("utf-8"))
    kept = f"; what stood there is now {rel.rsplit('/', 1)[-1]}.replaced" if data is not None else ""
    return [_finding(video, "file", rel, why, f"written anew from the tables{kept}")]


def _content(archive: Archive, rel: str) -> bytes | None:
    try:
        return archive.root.read_bytes(rel)
    except ChannelscribeError as error:
        if error.code != "file_missing":
            raise
        return None


def _object(data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _essence(data: bytes) -> dict[str, Any]:
    return {name: value for name, value in _object(data).items() if name not in _OF_THE_LISTING}


def _lost(
    videos: dict[str, Video], history: dict[str, list[Outcome]], transcripts: dict[str, list[str]]
) -> list[Finding]:
    """Videos that were transcribed once and of which no whole transcript can be read any more."""
    done = {
        video_id
        for video_id, past in history.items()
        if any(o.stage is Stage.TRANSCRIBE and o.state is OutcomeState.DONE for o in past)
    }
    why = "It was transcribed, but the table holds no whole transcript of it."
    return [
        _finding(videos.get(v) or Video(v, v), "archive_transcript_lost", "transcripts/", why)
        for v in sorted(done - transcripts.keys())
    ]


def _document(videos: dict[str, Video], video_id: str, key: str, what: str, why: str) -> Finding:
    return _finding(videos.get(video_id) or Video(video_id, video_id), what, key, why)


def _damaged_part(rel: str) -> Finding:
    then = "it is left out; what only it held is done again by the next sync. Restore it from a backup if there is one"
    return Finding("table", rel, "This file of a table is damaged.", then)


def _finding(video: Video, what: str, where: str, why: str, then: str = "mended by the next sync") -> Finding:
    return Finding(what, where, why, then, video.video_id, video.title)


def _record(
    archive: Archive, findings: list[Finding], history: dict[str, list[Outcome]], run_id: str, now: datetime
) -> None:
    """What a sync has to mend becomes a failed outcome, once: a second verification does not say it again."""
    for f in findings:
        stage = _STAGES.get(f.what.removeprefix("archive_").split("_")[0])
        if not f.what.startswith("archive_") or stage is None or f.what in damage(history.get(f.video_id, [])):
            continue
        archive.put_outcome(
            Outcome(
                run_id,
                f.video_id,
                f.title,
                stage,
                OutcomeState.FAILED,
                failure_class=str(FailureClass.TRANSIENT),
                code=f.what,
                reason=f"{f.reason} The next sync mends it.",
                at=now,
            )
        )
    archive.flush()

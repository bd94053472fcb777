"""Retention: what may leave the disk by rule. Planned first, and only what was planned and still holds is deleted.

Nothing goes whose transcript or document is not verified: the sound of a video is deleted only when its transcript
reads back whole, the files beside it say the same, and its document is in ODIN wherever this archive sends any.
"""

from __future__ import annotations

import itertools
import shutil
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path, PurePosixPath

from pydantic import BaseModel, ConfigDict, Field

from channelscribe.core.clock import Clock, SystemClock
from channelscribe.core.errors import ChannelscribeError
from channelscribe.core.model import Media, Transcript, Video
from channelscribe.export.text import transcript_text
from channelscribe.in_hand import free
from channelscribe.retired import retirement
from channelscribe.store.archive import Archive
from channelscribe.store.status import DONE, video_status
from channelscribe.store.thin import Thinned

_WORK = ".work"
_WINDOWS = "windows"
_TOGETHER = 50
_NOT_MEDIA = {".json", ".txt", ".parquet", ".replaced", ""}


class RetentionRule(BaseModel):
    """What is old enough to go. 0 days: keep for ever."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    media_days: int = Field(
        0, ge=0, le=36_500, title="Sound kept (days)", description="After the download, once verified; 0: for ever."
    )
    metrics_days: int = Field(
        90,
        ge=0,
        le=36_500,
        title="Every second of the card kept (days)",
        description="Then one reading a minute; 0: for ever.",
    )
    leftovers: bool = Field(
        True, title="Leftovers of finished videos", description="Partial downloads and kept windows in .work."
    )


@dataclass(frozen=True, slots=True)
class Item:
    """A file or folder that may go. `kept` says why it stays after all."""

    path: str
    bytes: int
    why: str
    video_id: str = ""
    kept: str = ""


@dataclass
class Retention:
    """What goes (or, after a dry run, would go) and what stays although it is old."""

    dry_run: bool
    media: list[Item] = field(default_factory=list)
    leftovers: list[Item] = field(default_factory=list)
    kept: list[Item] = field(default_factory=list)
    readings: Thinned = field(default_factory=Thinned)

    @property
    def freed_bytes(self) -> int:
        return sum(item.bytes for item in (*self.media, *self.leftovers)) + self.readings.freed_bytes

    @property
    def sentence(self) -> str:
        would = "Would free" if self.dry_run else "Freed"
        return (
            f"{would} {self.freed_bytes / 1e6:.1f} MB: {len(self.media)} media files, {self.readings.rows} readings of "
            f"the card, {len(self.leftovers)} leftovers; {len(self.kept)} old media files stay."
        )

    @property
    def rows(self) -> list[dict[str, str]]:
        """A row for everything that goes or stays against its age, as tables show them."""
        gone = [_row(item, "would go" if self.dry_run else "gone") for item in (*self.media, *self.leftovers)]
        return gone + [_row(item, f"stays: {item.kept}") for item in self.kept]


@dataclass(frozen=True)
class _Proofs:
    """What the tables say at one moment: videos that are done, and their verified documents by fingerprint."""

    finished: frozenset[str]
    documents: frozenset[tuple[str, str]]
    uploads: bool
    transcripts: Mapping[str, Sequence[str]]

    @classmethod
    def read(cls, archive: Archive) -> _Proofs:
        done = frozenset(v.video_id for v in video_status(archive) if v.state == DONE)
        uploads = archive.uploads().values()
        documents = frozenset((u.video_id, u.fingerprint) for u in uploads if u.verified_at is not None)
        made: dict[str, list[str]] = defaultdict(list)
        for fingerprint, video_id in archive.transcribed():
            made[video_id].append(fingerprint)
        return cls(done, documents, bool(uploads), made)


def retain(
    archive: Archive, rule: RetentionRule, run_id: str, *, dry_run: bool = True, clock: Clock | None = None
) -> Retention:
    """Applies the rule; a dry run (the default) only says what it would do."""
    clock = clock or SystemClock()
    now = clock.now()
    done = Retention(dry_run)
    if rule.media_days:
        _media(archive, done, rule.media_days, run_id, now)
    if rule.leftovers:
        _leftovers(archive, done)
    if rule.metrics_days:
        done.readings = archive.thin(now - timedelta(days=rule.metrics_days), dry_run=dry_run)
    return done


def _media(archive: Archive, done: Retention, days: int, run_id: str, now: datetime) -> None:
    before = now - timedelta(days=days)
    proofs = _Proofs.read(archive)
    old = [m for m in archive.media().values() if m.downloaded_at is not None and m.downloaded_at < before]
    videos = archive.videos()
    ripe = []
    for media in sorted(old, key=lambda m: m.downloaded_at or now):
        size = _size(archive, media)
        if size is None:
            continue
        why = _unverified(archive, media, proofs)
        item = Item(
            media.path, size, f"downloaded {(now - (media.downloaded_at or now)).days} days ago", media.video_id
        )
        if why:
            done.kept.append(Item(item.path, size, item.why, media.video_id, why))
        else:
            ripe.append(item)
    if done.dry_run:
        done.media = ripe
        return
    for some in _batches(ripe):
        done.media += _delete(archive, done, some, videos, run_id, now)


def _size(archive: Archive, media: Media) -> int | None:
    """None also where the path in the table is none inside the archive."""
    try:
        return archive.root.size(media.path)
    except ChannelscribeError as error:
        if error.code != "bad_path":
            raise
        return None


def _unverified(archive: Archive, media: Media, proofs: _Proofs) -> str:
    """Why this file must stay; "" when everything that was made of it is proven."""
    path = PurePosixPath(media.path)
    if path.parts[:1] != ("archive",) or path.suffix.lower() in _NOT_MEDIA:
        return "its path is not that of a media file"
    if archive.root.size(media.path) != media.bytes:
        return "it is not the file that was downloaded; `channelscribe verify` looks at it"
    if media.video_id not in proofs.finished:
        return "its video is not done"
    read = (archive.transcript(key, media.video_id) for key in proofs.transcripts.get(media.video_id, ()))
    made = [t for t in read if t is not None and t.media_sha256 == media.sha256]
    if not made:
        return "no whole transcript of it can be read"
    if not _beside(archive, media, made):
        return "the transcript's files beside it are not what the table says; `channelscribe verify --mend`"
    sent = any((media.video_id, t.fingerprint) in proofs.documents for t in made)
    return "its document is not verified" if proofs.uploads and not sent else ""


def _beside(archive: Archive, media: Media, made: Sequence[Transcript]) -> bool:
    base = f"{media.folder}/{media.stem}"
    if not (archive.root.exists(f"{base}.txt") and archive.root.exists(f"{base}.transcript.json")):
        return False
    return archive.root.read_bytes(f"{base}.txt") in {transcript_text(t).encode("utf-8") for t in made}


def _batches(items: list[Item]) -> Iterator[list[Item]]:
    left = iter(items)
    while some := list(itertools.islice(left, _TOGETHER)):
        yield some


def _delete(
    archive: Archive, done: Retention, some: list[Item], videos: dict[str, Video], run_id: str, now: datetime
) -> list[Item]:
    """Looks again with the videos' locks held, records, and only then deletes: a kill in between loses nothing."""
    with ExitStack() as held:
        ours = {item.video_id for item in some if held.enter_context(free(archive, item.video_id))}
        proofs, sure = _Proofs.read(archive), []
        for item in some:
            media = archive.media_of(item.video_id) if item.video_id in ours else None
            same = media is not None and media.path == item.path
            why = _unverified(archive, media, proofs) if media is not None and same else "a run works on it"
            if media is None or why:
                done.kept.append(replace(item, kept=why))
                continue
            video = videos.get(item.video_id) or Video(item.video_id, item.video_id)
            archive.put_outcome(retirement(video, media, run_id, _days(media, now), now))
            sure.append(item)
        archive.flush()
        for item in sure:
            archive.root.delete(item.path)
    return sure


def _days(media: Media, now: datetime) -> int:
    return (now - (media.downloaded_at or now)).days


def _leftovers(archive: Archive, done: Retention) -> None:
    """Folders of videos and kept windows of transcripts that are finished; what is not finished stays."""
    work = archive.root.local(f"{_WORK}/any").parent
    finished = {v.video_id for v in video_status(archive) if v.state == DONE}
    fingerprints = {fingerprint for fingerprint, _ in archive.transcribed()}
    for path in sorted(work.iterdir()):
        if path.is_dir() and not path.is_symlink() and path.name in finished:
            done.leftovers += _leftover(archive, done.dry_run, path)
    windows = work / _WINDOWS
    for path in sorted(windows.iterdir()) if windows.is_dir() else ():
        if path.name in fingerprints and path.is_file():
            done.leftovers.append(
                Item(f"{_WORK}/{_WINDOWS}/{path.name}", path.stat().st_size, "its transcript is whole")
            )
            if not done.dry_run:
                path.unlink(missing_ok=True)


def _leftover(archive: Archive, dry_run: bool, path: Path) -> list[Item]:
    with free(archive, path.name) as ours:
        if not ours:
            return []
        size = sum(p.stat().st_size for p in path.rglob("*") if p.is_file() and not p.is_symlink())
        if not dry_run:
            shutil.rmtree(path, ignore_errors=True)
    return [Item(f"{_WORK}/{path.name}", size, "its video is done", path.name)]


def _row(item: Item, what: str) -> dict[str, str]:
    return {"file": item.path, "MB": f"{item.bytes / 1e6:.2f}", "why": item.why, "then": what}

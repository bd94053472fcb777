"""Backup: tables, the files for people and a few extra texts in dated, checksummed tar files, read back when written.

A backup is `NAME.001.tar`, `NAME.002.tar`, ... and `NAME.manifest.json`, which comes last: without it a backup does
not count. Any `tar` unpacks it. Sound is left out unless asked for, as it can be downloaded again.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import logging
import tarfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO

from channelscribe.core.clock import Clock, SystemClock
from channelscribe.core.errors import ChannelscribeError, EnvironmentFailure, UsageError
from channelscribe.core.fingerprint import sha256_file
from channelscribe.saved import (
    MANIFEST,
    NAME,
    TABLES,
    Entry,
    Manifest,
    backups,
    damaged_backup,
    fetched,
    members,
    row_counts,
)
from channelscribe.store.archive import Archive
from channelscribe.store.root import DataRoot

log = logging.getLogger(__name__)
_BESIDE = (".json", ".txt", ".transcript.json")
_TAR_BYTES = 256 << 20
_ABANDONED = timedelta(days=1)
_LISTINGS = 20
Progress = Callable[[int], None]


def backup(
    archive: Archive,
    target: DataRoot,
    *,
    extra: Mapping[str, bytes] | None = None,
    media: bool = False,
    keep: int = 0,
    clock: Clock | None = None,
    progress: Progress | None = None,
) -> Manifest:
    """Makes a backup beside whatever else works on the archive, and reads it back. Only then old ones go (`keep` > 0).

    `extra` are further texts by path. Raises UsageError for a target that is the archive itself, EnvironmentFailure
    when the target cannot take it or gives back something else.
    """
    clock = clock or SystemClock()
    if target.url.rstrip("/") == archive.root.url.rstrip("/"):
        raise UsageError("A backup cannot lie in the archive that it saves; name another folder.", code="bad_target")
    with target.lock("backup", timeout_s=0):
        made_at = clock.now().astimezone(UTC).replace(microsecond=0)
        writer = _Writer(target, _free_name(target, made_at), progress)
        _sweep(target, made_at)
        for rel, data in sorted((extra or {}).items()):
            writer.add_bytes(rel, data)
        rows = row_counts(archive)  # counted first: tables only grow meanwhile
        for table in TABLES:
            _copy_table(archive, table, writer)
        for rel in _beside(archive, media):
            if not writer.add(archive.root, rel):
                writer.missing.append(rel)
        manifest = writer.close(made_at, rows)
        _read_back(target, manifest)
        target.write_bytes(manifest.name + MANIFEST, json.dumps(manifest.as_json(), indent=1).encode())
        for old in backups(target)[:-keep] if keep > 0 else ():
            _delete(target, old)
    return manifest


@dataclass
class _Writer:
    """Fills tar files on this machine and publishes each one when it is full."""

    target: DataRoot
    name: str
    progress: Progress | None = None
    entries: list[Entry] = field(default_factory=list)
    tars: list[tuple[str, int, str]] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    _open: tarfile.TarFile | None = None
    _local: Path = field(default_factory=Path)
    _filled: int = 0

    def add(self, root: DataRoot, rel: str) -> bool:
        """False when there is no such file (any more)."""
        try:
            with root.fetch(rel).open("rb") as handle:  # one handle: a file that is replaced now is still this one
                digest = hashlib.file_digest(handle, "sha256").hexdigest()
                size = handle.tell()
                handle.seek(0)
                self._put(rel, size, digest, handle)
        except ChannelscribeError as error:
            if error.code != "file_missing":
                raise
            return False
        except FileNotFoundError:
            return False
        return True

    def add_bytes(self, rel: str, data: bytes) -> None:
        self._put(rel, len(data), hashlib.sha256(data).hexdigest(), io.BytesIO(data))

    def _put(self, rel: str, size: int, digest: str, source: BinaryIO) -> None:
        if self._open is not None and self._filled + size > _TAR_BYTES:
            self._publish()
        if self._open is None:
            self._local = self.target.local(f".work/{self._tar}")
            self._open, self._filled = tarfile.TarFile(self._local, "w", format=tarfile.PAX_FORMAT), 0
        info = tarfile.TarInfo(rel)
        info.size = size
        self._open.addfile(info, source)
        self._filled += size
        self.entries.append(Entry(rel, size, digest, self._tar))

    @property
    def _tar(self) -> str:
        return f"{self.name}.{len(self.tars) + 1:03d}.tar"

    def _publish(self) -> None:
        assert self._open is not None
        tar = self._tar
        self._open.close()
        self._open = None
        self.tars.append((tar, self._local.stat().st_size, sha256_file(self._local)))
        self.target.publish(self._local, tar)
        self.target.forget(tar)
        if self.progress is not None:
            self.progress(len(self.entries))

    def close(self, made_at: datetime, rows: Mapping[str, int]) -> Manifest:
        if self._open is not None:
            self._publish()
        return Manifest(
            self.name, made_at, tuple(self.entries), tuple(self.tars), dict(rows), tuple(sorted(self.missing))
        )


def _copy_table(archive: Archive, table: str, writer: _Writer) -> None:
    """Every file of a table. One that a compaction takes away meanwhile comes with the file that replaced it."""
    have: set[str] = set()
    damaged = set(archive.damaged_parts())
    for _ in range(_LISTINGS):
        new = [rel for rel in archive.part_names(table) if rel not in have and rel not in damaged]
        if not new:
            return
        gone = [rel for rel in new if not writer.add(archive.root, rel)]
        have.update(set(new) - set(gone))
        if not gone:
            return
    raise EnvironmentFailure(f"The table {table} changes faster than it can be copied; try again.", code="storage")


def _beside(archive: Archive, media: bool) -> Iterator[str]:
    transcribed = {video_id for _, video_id in archive.transcribed()}
    for item in archive.media().values():
        base = f"{item.folder}/{item.stem}"
        yield from (base + end for end in (_BESIDE if item.video_id in transcribed else _BESIDE[:1]))
        if media:
            yield item.path


def _free_name(target: DataRoot, made_at: datetime) -> str:
    taken = {rel.split(".", 1)[0] for rel in target.list("")}
    plain = f"channelscribe-{made_at:%Y%m%dT%H%M%SZ}"
    return next(n for n in itertools.chain([plain], (f"{plain}-{i}" for i in itertools.count(2))) if n not in taken)


def _sweep(target: DataRoot, now: datetime) -> None:
    """What interrupted backups left: half a tar file on this machine, and tar files of a day or more ago."""
    for half in target.local(".work/any").parent.glob("channelscribe-*.tar"):
        half.unlink(missing_ok=True)
    complete = set(backups(target))
    for rel in target.list(""):
        name = rel.split(".", 1)[0]
        match = NAME.fullmatch(name)
        if not match or name in complete or not rel.endswith(".tar"):
            continue
        if now - datetime.strptime(match[1], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC) > _ABANDONED:
            log.warning("%s belongs to a backup that was never finished; it is deleted.", rel)
            target.delete(rel)


def _delete(target: DataRoot, name: str) -> None:
    """The manifest first: half a backup must not look like one."""
    tars = [rel for rel in target.list("") if rel.startswith(f"{name}.") and rel.endswith(".tar")]
    target.delete(name + MANIFEST)
    for rel in tars:
        target.delete(rel)


def _read_back(target: DataRoot, manifest: Manifest) -> None:
    for tar, size, digest in manifest.tars:
        path = fetched(target, tar, size, digest)
        for entry, stream in members(path, {e.path: e for e in manifest.entries if e.tar == tar}, manifest.name):
            if hashlib.file_digest(stream, "sha256").hexdigest() != entry.sha256:
                raise damaged_backup(manifest.name, f"{entry.path} changed while it was copied; make another backup")
        target.forget(tar)

"""What a backup is on the disk: tar files and a manifest that names every file in them with its sha256.

Between `backup`, which writes it, and `restore`, which takes nothing from a tar file that the manifest does not name.
"""

from __future__ import annotations

import json
import re
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from io import BufferedReader
from pathlib import Path
from typing import Any, cast

from channelscribe.core.errors import ChannelscribeError, EnvironmentFailure, UsageError
from channelscribe.core.fingerprint import sha256_file
from channelscribe.store.archive import Archive
from channelscribe.store.root import DataRoot

FORMAT = 1
MANIFEST = ".manifest.json"
# Later steps first: whatever a row of one table stands on is then in the copy of the next one.
TABLES = ("uploads", "transcripts", "media", "videos", "outcomes", "runs", "gpu_metrics")
NAME = re.compile(r"channelscribe-(\d{8}T\d{6}Z)(?:-\d+)?")


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of the archive in a tar file of the backup."""

    path: str
    bytes: int
    sha256: str
    tar: str


@dataclass(frozen=True)
class Manifest:
    """What a backup holds. `tars` are name, bytes and sha256 of its tar files."""

    name: str
    made_at: datetime
    entries: tuple[Entry, ...]
    tars: tuple[tuple[str, int, str], ...]
    rows: Mapping[str, int]
    missing: tuple[str, ...] = ()

    @property
    def bytes(self) -> int:
        return sum(entry.bytes for entry in self.entries)

    @property
    def sentence(self) -> str:
        lost = f"; {len(self.missing)} files that should be there were not" if self.missing else ""
        videos = self.rows.get("videos", 0)
        return f"{self.name}: {videos} videos in {len(self.entries)} files, {self.bytes / 1e6:.1f} MB, read back{lost}."

    def as_json(self) -> dict[str, Any]:
        return {"format": FORMAT, **asdict(self), "made_at": self.made_at.isoformat()}


def read_manifest(target: DataRoot, name: str) -> Manifest:
    """Raises UsageError where there is no such backup, EnvironmentFailure where its manifest is damaged."""
    try:
        raw = json.loads(target.read_bytes(name + MANIFEST))
    except ValueError as error:
        raise damaged_backup(name, "its manifest is no JSON") from error
    except ChannelscribeError as error:
        if error.code != "file_missing":
            raise
        known = ", ".join(backups(target)) or "none that is complete"
        raise UsageError(f"There is no backup {name} in {target.url}; there is {known}.", code="no_backup") from error
    try:
        if raw["format"] != FORMAT:
            raise damaged_backup(name, f"its format is {raw['format']!r}, this version reads {FORMAT}")
        return Manifest(
            name,
            datetime.fromisoformat(raw["made_at"]),
            tuple(Entry(str(e["path"]), int(e["bytes"]), str(e["sha256"]), str(e["tar"])) for e in raw["entries"]),
            tuple((str(t[0]), int(t[1]), str(t[2])) for t in raw["tars"]),
            {str(k): int(v) for k, v in raw["rows"].items()},
            tuple(map(str, raw["missing"])),
        )
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise damaged_backup(name, f"its manifest lacks something ({error!r})") from error


def backups(target: DataRoot) -> list[str]:
    """Names of the complete backups, the newest last."""
    found = [rel.removesuffix(MANIFEST) for rel in target.list("") if rel.endswith(MANIFEST)]
    return sorted(name for name in found if NAME.fullmatch(name))


def fetched(target: DataRoot, tar: str, size: int, digest: str) -> Path:
    try:
        path = target.fetch(tar)
    except ChannelscribeError as error:
        if error.code != "file_missing":
            raise
        raise damaged_backup(tar, "the file is gone") from error
    if path.stat().st_size != size or sha256_file(path) != digest:
        raise damaged_backup(tar, "its content is not what was written")
    return path


def members(path: Path, wanted: dict[str, Entry], name: str) -> Iterator[tuple[Entry, BufferedReader]]:
    """The entries of a tar file in their order; nothing that the manifest does not name is ever unpacked."""
    left = dict(wanted)
    try:
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                entry = left.pop(member.name, None)
                stream = tar.extractfile(member) if entry is not None and member.isfile() else None
                if entry is not None and stream is not None:
                    yield entry, cast(BufferedReader, stream)
    except (tarfile.TarError, EOFError) as error:
        raise damaged_backup(name, f"{path.name} cannot be unpacked ({error})") from error
    if left:
        raise damaged_backup(name, f"{next(iter(left))} is not in {path.name}")


def damaged_backup(name: str, why: str) -> EnvironmentFailure:
    return EnvironmentFailure(f"The backup {name} is damaged: {why}. Take another one.", code="backup_damaged")


def row_counts(archive: Archive) -> dict[str, int]:
    counted = archive.ask("SELECT " + ", ".join(f"(SELECT count(*) FROM {t}) AS {t}" for t in TABLES))
    return {name: int(value) for name, value in counted.to_pylist()[0].items()}

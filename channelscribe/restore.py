"""Restore: a backup becomes an archive again, in an empty data root, and all of it is read back."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable
from typing import BinaryIO

from channelscribe.core.errors import EnvironmentFailure, UsageError
from channelscribe.saved import (
    TABLES,
    Entry,
    Manifest,
    backups,
    damaged_backup,
    fetched,
    members,
    read_manifest,
    row_counts,
)
from channelscribe.store.archive import Archive
from channelscribe.store.root import DataRoot

RESTORING = ".restoring.json"
_COPY_BYTES = 1 << 20
Progress = Callable[[int], None]


def restore(target: DataRoot, root: DataRoot, name: str = "", progress: Progress | None = None) -> Manifest:
    """Brings a backup (the newest when no name is given) into an empty data root and reads all of it back.

    An interrupted restore of the same backup goes on. Raises UsageError for a root that holds anything already.
    """
    names = backups(target)
    if not name and not names:
        raise UsageError(f"There is no complete backup in {target.url}.", code="no_backup")
    manifest = read_manifest(target, name or names[-1])
    with root.lock("restore", timeout_s=0):
        _begin(root, manifest)
        for number, (tar, size, digest) in enumerate(manifest.tars):
            own = {e.path: e for e in manifest.entries if e.tar == tar}
            path = fetched(target, tar, size, digest)
            for entry, stream in members(path, own, manifest.name):
                _put(root, entry, stream)
            target.forget(tar)
            if progress is not None:
                progress(number + 1)
        for entry in manifest.entries:
            if root.size(entry.path) != entry.bytes:
                raise EnvironmentFailure(f"{entry.path} did not arrive whole; restore again.", code="restore_failed")
        _compare(root, manifest)
        root.delete(RESTORING)
    return manifest


def _begin(root: DataRoot, manifest: Manifest) -> None:
    own = {"name": manifest.name, "made_at": manifest.made_at.isoformat()}
    if root.exists(RESTORING):
        with contextlib.suppress(ValueError):
            if json.loads(root.read_bytes(RESTORING)) == own:
                return
        raise UsageError(f"Another restore into {root.url} was begun; name an empty folder.", code="not_empty")
    folders = ("", *TABLES)
    there = next((rel for folder in folders for rel in root.list(folder)), None)
    there = there or next((e.path for e in manifest.entries if root.exists(e.path)), None)
    if there is not None:
        reason = f"{root.url} is not empty ({there}); a backup is restored into an empty folder only."
        raise UsageError(reason, code="not_empty")
    root.write_bytes(RESTORING, json.dumps(own).encode())


def _put(root: DataRoot, entry: Entry, stream: BinaryIO) -> None:
    local, digest = root.local(".work/restoring"), hashlib.sha256()
    with local.open("wb") as handle:
        while data := stream.read(_COPY_BYTES):
            digest.update(data)
            handle.write(data)
    if digest.hexdigest() != entry.sha256:
        raise damaged_backup(entry.tar, f"{entry.path} is not what was written")
    root.publish(local, entry.path)


def _compare(root: DataRoot, manifest: Manifest) -> None:
    """The restored tables are read: every row that was counted when the backup began is there."""
    with Archive(root) as restored:
        damaged, rows = restored.damaged_parts(), row_counts(restored)
    short = [name for name, count in manifest.rows.items() if name != "gpu_metrics" and rows.get(name, 0) < count]
    if damaged or short:
        reason = f"{(damaged or short)[0]} did not arrive whole; restore into another empty folder."
        raise EnvironmentFailure(reason, code="restore_failed")

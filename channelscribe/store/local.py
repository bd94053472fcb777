"""A data root that is a folder of this machine.

One of the two backends of `DataRoot` (root.py); the other is an object store (remote.py).
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from channelscribe.store import files


class LocalFolder:
    """Every relative path is a file below `base`."""

    remote = False

    def __init__(self, base: Path) -> None:
        self.base = base
        self.url = str(base)
        self.lock_folder = base / ".locks"

    def create(self) -> None:
        files.make_folder(self.base)

    def path(self, rel: str) -> Path:
        target = self.base / rel
        files.make_folder(target.parent)
        return target

    def publish(self, local: Path, rel: str) -> None:
        files.move_atomic(local, self.base / rel)

    def fetch(self, rel: str) -> Path:
        path = self.base / rel
        if not path.is_file():
            raise FileNotFoundError(rel)
        return path

    def fetch_parts(self, rels: Sequence[str]) -> list[Path]:
        return [self.base / rel for rel in rels]

    def forget(self, rel: str) -> None:
        """Nothing to forget: the local copy is the file itself."""

    def exists(self, rel: str) -> bool:
        return (self.base / rel).exists()

    def size(self, rel: str) -> int | None:
        path = self.base / rel
        return path.stat().st_size if path.is_file() else None

    def read(self, rel: str) -> bytes:
        return (self.base / rel).read_bytes()

    def write(self, rel: str, data: bytes) -> None:
        files.write_atomic(self.base / rel, data)

    def write_new(self, rel: str, data: bytes) -> None:
        files.write_new(self.base / rel, data)

    def delete(self, rel: str) -> None:
        (self.base / rel).unlink(missing_ok=True)

    def names(self, rel_dir: str) -> list[str]:
        folder = self.base / rel_dir
        try:
            return sorted(p.name for p in folder.iterdir() if not files.is_hidden(p.name) and p.is_file())
        except FileNotFoundError:
            return []

    def sweep(self, rel_dir: str, older_than: float) -> int:
        folder = self.base / rel_dir
        below = [p for p in folder.iterdir() if p.is_dir()] if folder.is_dir() else []
        return sum(files.sweep(each, older_than) for each in (folder, *below))

    def free_bytes(self) -> int | None:
        return shutil.disk_usage(self.base).free

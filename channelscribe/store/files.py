"""Whole-or-nothing writes on a local file system.

Below `DataRoot`: a file is written under a hidden name, forced to the disk, and renamed; a reader sees the old file,
the new file, or none, whatever kills the writer.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

_TEMPORARY = ".tmp-"
_COPY_BYTES = 1 << 20


def is_hidden(name: str) -> bool:
    """True for names that readers must not look at: temporaries, locks, folders of work in progress."""
    return name.startswith((".", "_"))


def is_temporary(name: str) -> bool:
    return name.startswith(_TEMPORARY)


def make_folder(folder: Path) -> None:
    """Creates `folder` with its parents, durably."""
    if not folder.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        sync_folder(folder.parent)


def write_atomic(target: Path, data: bytes) -> None:
    """Puts `data` at `target`, whole or not at all, and on the disk before it returns."""
    make_folder(target.parent)
    with _temporary(target.parent) as temporary:
        with temporary.open("xb") as handle:
            handle.write(data)
            handle.flush()
            os.fsync(handle.fileno())
        temporary.replace(target)
    sync_folder(target.parent)


def write_new(target: Path, data: bytes) -> None:
    """The same where there is no `target` yet; FileExistsError when there is one, also if it came this very moment."""
    make_folder(target.parent)
    with _temporary(target.parent) as temporary:
        write_atomic(temporary, data)
        os.link(temporary, target)
    sync_folder(target.parent)


def move_atomic(source: Path, target: Path) -> None:
    """Moves a finished file to `target`, also from another device; `source` is gone afterwards."""
    make_folder(target.parent)
    _sync_file(source)
    try:
        source.replace(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        _copy_atomic(source, target)
        source.unlink()
    sync_folder(target.parent)


def sync_folder(folder: Path) -> None:
    """Forces a folder's list of names to the disk; Windows has no such call and does it by itself."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sweep(folder: Path, older_than: float) -> int:
    """Removes temporaries last touched before `older_than` (seconds since 1970); says how many."""
    removed = 0
    for path in folder.iterdir() if folder.is_dir() else ():
        with contextlib.suppress(OSError):
            if is_temporary(path.name) and path.stat().st_mtime < older_than:
                path.unlink()
                removed += 1
    return removed


def _copy_atomic(source: Path, target: Path) -> None:
    with _temporary(target.parent) as temporary:
        with source.open("rb") as reader, temporary.open("xb") as writer:
            shutil.copyfileobj(reader, writer, _COPY_BYTES)
            writer.flush()
            os.fsync(writer.fileno())
        temporary.replace(target)


def _sync_file(path: Path) -> None:
    with path.open("r+b" if os.name == "nt" else "rb") as handle:
        os.fsync(handle.fileno())


@contextlib.contextmanager
def _temporary(folder: Path) -> Iterator[Path]:
    path = folder / f"{_TEMPORARY}{os.getpid()}-{secrets.token_hex(6)}"
    try:
        yield path
    finally:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)

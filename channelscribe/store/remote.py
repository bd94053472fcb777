"""A data root in an object store, through fsspec: s3://, gs://, memory:// and whatever else fsspec can write to.

One of the two backends of `DataRoot`. Files are worked on in a cache folder of this machine and uploaded whole.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from channelscribe.store import files

# An upload to these appears whole or not at all; elsewhere a hidden name and a rename do the same.
_OBJECT_STORES = frozenset({"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "oss", "memory"})
_DOWNLOADS = 8
_STALE_COPY_S = 3600.0


class RemoteFolder:
    """Every relative path is an object below `base` of the file system `fs`."""

    remote = True

    def __init__(self, url: str, fs: Any, base: str) -> None:
        self.url = url
        self._fs = fs
        self._base = base.rstrip("/")
        self._whole = bool(_OBJECT_STORES & set(_protocols(fs)))
        self.cache = _cache_folder(url, "memory" in _protocols(fs))
        self.lock_folder = self.cache / ".locks"

    def create(self) -> None:
        files.make_folder(self.cache)
        with _plain_errors():
            if "memory" in _protocols(self._fs):
                self._fs.makedirs(self._base or "/", exist_ok=True)

    def path(self, rel: str) -> Path:
        target = self.cache / rel
        files.make_folder(target.parent)
        return target

    def publish(self, local: Path, rel: str) -> None:
        with _plain_errors():
            self._put(lambda key: self._fs.put_file(str(local), key), rel)
        if local != self.path(rel):
            files.move_atomic(local, self.path(rel))
        self._tag(rel).write_text(self._state(rel))

    def fetch(self, rel: str) -> Path:
        """A local copy, downloaded again only when the object has changed."""
        copy, tag, state = self.path(rel), self._tag(rel), self._state(rel)
        if copy.is_file() and tag.is_file() and tag.read_text() == state:
            return copy
        with tempfile.TemporaryDirectory(dir=self.cache) as folder, _plain_errors():
            self._fs.get_file(self._key(rel), f"{folder}/copy")
            files.move_atomic(Path(folder) / "copy", copy)
        tag.write_text(state)
        return copy

    def fetch_parts(self, rels: Sequence[str]) -> list[Path]:
        """Local copies of files that never change under their name; what vanished meanwhile is left out."""
        missing = [rel for rel in rels if not (self.cache / rel).is_file()]
        if missing:
            with ThreadPoolExecutor(_DOWNLOADS) as pool:
                list(pool.map(self._keep, missing))
        self._prune({rel.rsplit("/", 1)[0] for rel in rels}, set(rels))
        return [self.cache / rel for rel in rels if (self.cache / rel).is_file()]

    def forget(self, rel: str) -> None:
        """Drops the local copy; the object stays."""
        self._tag(rel).unlink(missing_ok=True)
        (self.cache / rel).unlink(missing_ok=True)

    def exists(self, rel: str) -> bool:
        with _plain_errors():
            return bool(self._fs.exists(self._key(rel)))

    def size(self, rel: str) -> int | None:
        try:
            with _plain_errors():
                return int(self._fs.info(self._key(rel))["size"])
        except FileNotFoundError:
            return None

    def read(self, rel: str) -> bytes:
        with _plain_errors():
            return bytes(self._fs.cat_file(self._key(rel)))

    def write(self, rel: str, data: bytes) -> None:
        with _plain_errors():
            self._put(lambda key: self._fs.pipe_file(key, data), rel)

    def write_new(self, rel: str, data: bytes) -> None:
        with _plain_errors():
            try:
                self._fs.pipe_file(self._key(rel), data, mode="create")
            except Exception as error:
                if _is_there(error):
                    raise FileExistsError(rel) from error
                raise

    def delete(self, rel: str) -> None:
        with _plain_errors(), contextlib.suppress(FileNotFoundError):
            self._fs.rm_file(self._key(rel))
        self.forget(rel)

    def names(self, rel_dir: str) -> list[str]:
        try:
            with _plain_errors():
                self._fs.invalidate_cache()
                entries = self._fs.ls(self._key(rel_dir), detail=True)
        except FileNotFoundError:
            return []
        names = [e["name"].rstrip("/").rsplit("/", 1)[-1] for e in entries if e["type"] == "file"]
        return sorted(name for name in names if name and not files.is_hidden(name))

    def sweep(self, rel_dir: str, older_than: float) -> int:
        """Only local copies can be half; an object store shows whole objects."""
        folder = self.cache / rel_dir
        below = [p for p in folder.iterdir() if p.is_dir()] if folder.is_dir() else []
        return sum(files.sweep(each, older_than) for each in (folder, *below))

    def free_bytes(self) -> int | None:
        return None

    def _key(self, rel: str) -> str:
        return f"{self._base}/{rel}".rstrip("/")

    def _put(self, send: Any, rel: str) -> None:
        if self._whole:
            send(self._key(rel))
            return
        folder = rel.rsplit("/", 1)[0] if "/" in rel else ""
        temporary = self._key(f"{folder}/.tmp-{os.getpid()}-{time.time_ns()}".lstrip("/"))
        self._fs.makedirs(self._key(folder), exist_ok=True)
        send(temporary)
        self._fs.mv(temporary, self._key(rel))

    def _keep(self, rel: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            files.write_atomic(self.cache / rel, self.read(rel))

    def _prune(self, folders: set[str], current: set[str]) -> None:
        for folder in folders:
            for copy in (self.cache / folder).iterdir() if (self.cache / folder).is_dir() else ():
                with contextlib.suppress(OSError):
                    stale = time.time() - copy.stat().st_mtime > _STALE_COPY_S
                    if stale and f"{folder}/{copy.name}" not in current:
                        copy.unlink()

    def _state(self, rel: str) -> str:
        with _plain_errors():
            self._fs.invalidate_cache()
            return str(self._fs.ukey(self._key(rel)))

    def _tag(self, rel: str) -> Path:
        return self.path(f".tags/{hashlib.sha256(rel.encode()).hexdigest()[:32]}")


def open_remote(url: str) -> RemoteFolder:
    """Raises ValueError for an unknown scheme and ImportError for a missing extra, as fsspec does."""
    import fsspec

    fs, base = fsspec.core.url_to_fs(url, use_listings_cache=False)
    return RemoteFolder(url, fs, base)


def _protocols(fs: Any) -> tuple[str, ...]:
    return (fs.protocol,) if isinstance(fs.protocol, str) else tuple(fs.protocol)


def _is_there(error: Exception) -> bool:
    """How each library says that a conditional write met an object: S3 with 412 or 409, GCS with 412."""
    said = f"{type(error).__name__} {error}"
    return isinstance(error, FileExistsError) or any(
        word in said for word in ("PreconditionFailed", "At least one of the pre-conditions", "412", "409", "Conflict")
    )


@contextlib.contextmanager
def _plain_errors() -> Iterator[None]:
    """Each cloud library has errors of its own; here they become the OSErrors that they mean."""
    try:
        yield
    except (OSError, ValueError):
        raise
    except NotImplementedError as error:
        raise PermissionError("this kind of address cannot be written to") from error
    except Exception as error:
        name = type(error).__name__
        if "Credential" in name or "Auth" in name:
            raise PermissionError(str(error)) from error
        raise ConnectionError(f"{name}: {error}") from error


def _cache_folder(url: str, this_process_only: bool) -> Path:
    base = Path(_process_folder().name) if this_process_only else _cache_base()
    return base / hashlib.sha256(url.encode()).hexdigest()[:16]


def _cache_base() -> Path:
    if named := os.environ.get("CHANNELSCRIBE_CACHE"):
        return Path(named).expanduser()
    usual = os.environ.get("LOCALAPPDATA") if os.name == "nt" else os.environ.get("XDG_CACHE_HOME")
    return (Path(usual) if usual else Path.home() / ".cache") / "channelscribe"


@functools.cache
def _process_folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="channelscribe-", ignore_cleanup_errors=True)

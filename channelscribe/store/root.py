"""The data root: one setting that says where everything is kept, a folder or any URL that fsspec can write to.

Under every step of the flow: downloads are staged and published here, tables (archive.py) are written here.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Protocol
from urllib.parse import urlsplit
from urllib.request import url2pathname

import filelock

from channelscribe.core.errors import ChannelscribeError, EnvironmentFailure, Transient, UsageError
from channelscribe.core.redact import redact, remember_secret
from channelscribe.store import files
from channelscribe.store.failures import storage_errors
from channelscribe.store.local import LocalFolder
from channelscribe.store.remote import open_remote

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/")  # two letters at least: C:/ is a drive
_EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs"}
_PROBE = ".writable"
Names = list[str]  # inside DataRoot the word `list` is the method
Paths = list[Path]


class Backend(Protocol):
    """What a kind of storage has to do; paths are relative and already checked."""

    url: str
    lock_folder: Path
    remote: bool

    def create(self) -> None: ...
    def path(self, rel: str) -> Path: ...
    def publish(self, local: Path, rel: str) -> None: ...
    def fetch(self, rel: str) -> Path: ...
    def fetch_parts(self, rels: Sequence[str]) -> list[Path]: ...
    def forget(self, rel: str) -> None: ...
    def exists(self, rel: str) -> bool: ...
    def size(self, rel: str) -> int | None: ...
    def read(self, rel: str) -> bytes: ...
    def write(self, rel: str, data: bytes) -> None: ...
    def write_new(self, rel: str, data: bytes) -> None: ...
    def delete(self, rel: str) -> None: ...
    def names(self, rel_dir: str) -> list[str]: ...
    def sweep(self, rel_dir: str, older_than: float) -> int: ...
    def free_bytes(self) -> int | None: ...


class DataRoot:
    """Files by relative path (forward slashes), the same on a folder and in an object store."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._place = ""
        self.url = redact(backend.url)
        self.remote = backend.remote

    @classmethod
    def open(cls, url: str | Path) -> DataRoot:
        """Opens and, where it is new, creates a data root. EnvironmentFailure when it cannot be written to."""
        text = str(url)
        scheme = _scheme(text)
        if scheme in ("", "file", "local"):
            root = cls(LocalFolder(_local_path(text, scheme)))
        else:
            root = cls(_remote(text, scheme))
        root._prove_writable()
        return root

    def local(self, rel: str) -> Path:
        """Where to work on `rel`: the file itself on a local root, else its place in the cache. Parents exist."""
        rel = _checked(rel)
        with self._errors(f"making room for {rel}"):
            return self._backend.path(rel)

    def publish(self, local: Path, rel: str) -> None:
        """Moves a finished local file to `rel`, whole or not at all; `local` is gone afterwards."""
        rel = _checked(rel)
        with self._errors(f"storing {rel}", needed=local.stat().st_size if local.is_file() else None):
            self._backend.publish(local, rel)

    def fetch(self, rel: str) -> Path:
        """A local readable file with the content of `rel`: the file itself on a local root."""
        rel = _checked(rel)
        with self._errors(f"reading {rel}"):
            return self._backend.fetch(rel)

    def fetch_parts(self, rels: Sequence[str]) -> Paths:
        """Local files of table parts, which never change under their name; vanished ones are left out."""
        with self._errors("reading tables"):
            return self._backend.fetch_parts(rels)

    def forget(self, rel: str) -> None:
        """Drops this machine's copy of a file that lives elsewhere; does nothing on a local root."""
        rel = _checked(rel)
        with self._errors(f"dropping the local copy of {rel}"):
            self._backend.forget(rel)

    def exists(self, rel: str) -> bool:
        rel = _checked(rel)
        with self._errors(f"looking for {rel}"):
            return self._backend.exists(rel)

    def size(self, rel: str) -> int | None:
        """Bytes of the file, None when there is none."""
        rel = _checked(rel)
        with self._errors(f"looking for {rel}"):
            return self._backend.size(rel)

    def read_bytes(self, rel: str) -> bytes:
        rel = _checked(rel)
        with self._errors(f"reading {rel}"):
            return self._backend.read(rel)

    def write_bytes(self, rel: str, data: bytes) -> None:
        """Writes the file whole or not at all, and on the disk before it returns."""
        rel = _checked(rel)
        with self._errors(f"writing {rel}", needed=len(data)):
            self._backend.write(rel, data)

    def create(self, rel: str, data: bytes) -> bool:
        """Writes the file only where there is none; False when there is one. Of many who try, one succeeds.

        In an object store this needs conditional writes (`If-None-Match: *`), which S3, GCS and memory:// have.
        """
        rel = _checked(rel)
        with self._errors(f"creating {rel}", needed=len(data)):
            try:
                self._backend.write_new(rel, data)
            except FileExistsError:
                return False
        return True

    def delete(self, rel: str) -> None:
        """Deletes the file; nothing happens when there is none."""
        rel = _checked(rel)
        with self._errors(f"deleting {rel}"):
            self._backend.delete(rel)

    def list(self, rel_dir: str) -> Names:
        """Relative paths of the files directly in a folder, sorted, without hidden ones (leading '.' or '_')."""
        folder = _checked(rel_dir) if rel_dir.strip("/.") else ""
        with self._errors(f"listing {folder or 'the root'}"):
            names = self._backend.names(folder)
        return [f"{folder}/{name}" if folder else name for name in names]

    def sweep(self, rel_dir: str, older_than: float) -> int:
        """Removes abandoned temporaries in a folder and the folders directly in it; says how many."""
        with self._errors(f"cleaning {rel_dir}"):
            return self._backend.sweep(_checked(rel_dir), older_than)

    def free_bytes(self) -> int | None:
        """Bytes free on the disk of the root; None where that has no meaning."""
        with self._errors("asking for free space"):
            return self._backend.free_bytes()

    @property
    def place(self) -> str:
        """A name for everybody who shares our machine-wide locks; it stays the same after a restart."""
        if not self._place:
            with self.lock("place"), self._errors("naming this machine"):
                file = self._backend.lock_folder / "place"
                if not file.is_file():
                    files.write_atomic(file, secrets.token_hex(8).encode())
                self._place = file.read_text()
        return self._place

    @contextmanager
    def lock(self, name: str, timeout_s: float = -1) -> Iterator[None]:
        """Holds a lock among the processes and threads of this machine; a killed holder lets go by itself.

        Waits for ever by default; Transient (code `locked`) when `timeout_s` have passed.
        """
        held = self._lock_file(name)
        with self._errors(f"locking {name}"):
            self._acquire(held, name, timeout_s)
        try:
            yield
        finally:
            held.release()

    def _acquire(self, held: filelock.BaseFileLock, name: str, timeout_s: float) -> None:
        try:
            held.acquire(timeout=timeout_s)
        except filelock.Timeout as error:
            reason = f"Another process holds the lock {name!r} of the data root {self.url}; wait for it to finish."
            raise Transient(reason, code="locked") from error

    def _lock_file(self, name: str) -> filelock.BaseFileLock:
        plain = re.sub(r"[^A-Za-z0-9-]", "_", name)[:80]
        if plain != name:
            plain += "-" + hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:12]
        with self._errors("making the lock folder"):
            self._backend.lock_folder.mkdir(parents=True, exist_ok=True)
        return filelock.FileLock(self._backend.lock_folder / f"{plain}.lock", thread_local=False)

    def _prove_writable(self) -> None:
        try:
            with self._errors("opening it"):
                self._backend.create()
            with self._errors("a first test file"):
                self._backend.write(_PROBE, b"ok")
                self._backend.delete(_PROBE)
        except Transient as error:
            reason = f"The data root {self.url} cannot be opened; check that it exists and can be reached."
            raise EnvironmentFailure(reason, code="root_unreachable") from error

    def _errors(self, what: str, needed: int | None = None) -> AbstractContextManager[None]:
        return storage_errors(self.url, what, needed_bytes=needed, free_bytes=self._backend.free_bytes)


def _scheme(text: str) -> str:
    match = _SCHEME.match(text)
    if not match:
        return ""
    scheme = match[1].lower()
    if not text[match.end() :].startswith("/"):
        reason = f"{text!r} looks like a URL that lost a slash; write {scheme}:// and give it as text, not as a Path."
        raise EnvironmentFailure(reason, code="bad_root")
    return scheme


def _local_path(text: str, scheme: str) -> Path:
    if not text.strip() or "\x00" in text:
        raise EnvironmentFailure("The data root is empty or no path; name a folder or a URL.", code="bad_root")
    if scheme == "file":
        text = url2pathname(urlsplit(text).path)
    try:
        return Path(text.removeprefix("local://")).expanduser().absolute()
    except (RuntimeError, OSError) as error:
        reason = f"The data root {text!r} cannot be found: {error}; name a folder."
        raise EnvironmentFailure(reason, code="bad_root") from error


def _remote(url: str, scheme: str) -> Backend:
    if password := _password(url):
        remember_secret(password)
    try:
        return open_remote(url)
    except ImportError as error:
        extra = _EXTRAS.get(scheme)
        what = f"pip install 'channelscribe[{extra}]'" if extra else f"{error}"
        raise EnvironmentFailure(
            f"Addresses with {scheme}:// need one more part: {what}.", code="extra_missing"
        ) from error
    except ChannelscribeError:
        raise
    except Exception as error:
        reason = f"The data root {url!r} is not understood ({error}); use a folder, s3://, gs:// or memory://."
        raise EnvironmentFailure(reason, code="bad_root") from error


def _password(url: str) -> str:
    try:
        return urlsplit(url).password or ""
    except ValueError:
        return ""


def _checked(rel: str) -> str:
    """The relative path in one spelling; a path that leaves the root is refused."""
    plain = rel.replace("\\", "/")
    parts = PurePosixPath(plain).parts
    outside = plain.startswith("/") or ".." in parts or bool(PureWindowsPath(plain).drive)
    if outside or not parts or "\x00" in plain:
        raise UsageError(f"{rel[:200]!r} is not a path inside the data root.", code="bad_path")
    return "/".join(parts)

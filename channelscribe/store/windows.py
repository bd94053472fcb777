"""Finished windows of files whose transcript is not finished: what a crash, a pause or a stop does not cost.

The engine's callers keep here, the verb forgets once the transcript stands in the archive. Always on this machine's
disk (`.work/windows`; of a remote root the local cache), one append-only file for each transcript to be.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import threading
import time
import zlib
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG
from typing import ClassVar

from pydantic import ConfigDict, TypeAdapter

from channelscribe.core.clock import Clock, SystemClock
from channelscribe.core.errors import ChannelscribeError
from channelscribe.core.window import KeptWindows, WindowText
from channelscribe.store.root import DataRoot

log = logging.getLogger(__name__)
FOLDER = ".work/windows"
VERSION = 1
STALE_DAYS = 30.0
# A day of speech with word times stays far below; more than this was not written by us.
_MOST_BYTES = 256 << 20
_SYNC_S = 1.0
_APPEND = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0)


@dataclass(frozen=True, slots=True)
class _Record:
    """One finished window. `version` is this module's, `language` the one that its text was written in."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(ser_json_inf_nan="constants")

    version: int
    language: str
    text: WindowText


_RECORDS = TypeAdapter(_Record)


class WindowFiles:
    """A `WindowKeeper`. Any number of threads and processes may keep at once: a record is one append.

    A record is a line break, a checksum and JSON: whatever tears or garbles one never touches the next.
    """

    def __init__(self, root: DataRoot, clock: Clock | None = None) -> None:
        self._root, self._clock = root, clock or SystemClock()
        self._lock = threading.Lock()
        self._synced_s: dict[str, float] = {}
        self._refused: set[str] = set()

    def kept(self, fingerprint: str) -> KeptWindows:
        """What can still be read, of each window the newest. Only texts in one and the same language."""
        try:
            path = self._path(fingerprint)
            found = path.stat()
            if not S_ISREG(found.st_mode) or found.st_size > _MOST_BYTES:
                raise OSError(f"no file of at most {_MOST_BYTES >> 20} MiB")
            records = _read(path)
        except FileNotFoundError:
            return KeptWindows()
        except (OSError, ChannelscribeError) as error:
            log.warning("kept windows of %s are not used: %s", fingerprint[:12], error)
            return KeptWindows()
        language = records[0].language if records else None
        texts = {r.text.window.index: r.text for r in records if r.language == language}
        return KeptWindows(language, tuple(texts[index] for index in sorted(texts)))

    def keep(self, fingerprint: str, language: str, text: WindowText) -> None:
        """Safe from a kill at once, from a power cut within a second or so; a disk that refuses is told once."""
        if fingerprint in self._refused:
            return
        try:
            data = _RECORDS.dump_json(_Record(VERSION, language, text))
            self._append(fingerprint, b"\n%08x " % zlib.crc32(data) + data)
        except (OSError, ValueError, ChannelscribeError) as error:
            self._refused.add(fingerprint)
            log.warning("windows of %s cannot be kept (%s); the work itself goes on", fingerprint[:12], error)

    def forget(self, fingerprint: str) -> None:
        with self._lock:
            self._synced_s.pop(fingerprint, None)
            self._refused.discard(fingerprint)
        try:
            self._path(fingerprint).unlink(missing_ok=True)
        except (OSError, ChannelscribeError) as error:
            log.warning("kept windows of %s cannot be deleted: %s", fingerprint[:12], error)

    def sweep(self, older_than_days: float = STALE_DAYS) -> int:
        """Deletes what nobody came back for; says how many files. Called when a run begins."""
        before, gone = self._clock.now().timestamp() - older_than_days * 86_400, 0
        try:
            for path in self._path("any").parent.iterdir():
                if path.is_file() and path.stat().st_mtime < before:
                    path.unlink(missing_ok=True)
                    gone += 1
        except (OSError, ChannelscribeError) as error:
            log.warning("old kept windows cannot be swept: %s", error)
        return gone

    def _path(self, fingerprint: str) -> Path:
        plain = re.fullmatch(r"[0-9A-Za-z_-]{1,128}", fingerprint)
        name = fingerprint if plain else hashlib.sha256(fingerprint.encode("utf-8", "surrogatepass")).hexdigest()
        return self._root.local(f"{FOLDER}/{name}")

    def _append(self, fingerprint: str, record: bytes) -> None:
        handle = os.open(self._path(fingerprint), _APPEND, 0o644)
        try:
            if os.write(handle, record) != len(record):
                raise OSError("the disk is full")
            if self._due(fingerprint):
                os.fsync(handle)
        finally:
            os.close(handle)

    def _due(self, fingerprint: str) -> bool:
        """Not at the first record: most files are short and their windows forgotten before a sync would help."""
        now_s = time.monotonic()
        with self._lock:
            if now_s - self._synced_s.setdefault(fingerprint, now_s) < _SYNC_S:
                return False
            self._synced_s[fingerprint] = now_s
            return True


def _read(path: Path) -> list[_Record]:
    lines = [line for line in path.read_bytes().split(b"\n") if line]
    found = [_record(line) for line in lines]
    if None in found[:-1]:  # the last one may be torn by whatever interrupted the run
        log.warning("%s of %s kept windows in %s cannot be read", found.count(None), len(found), path.name[:12])
    return [record for record in found if record is not None]


def _record(line: bytes) -> _Record | None:
    checksum, _, data = line.partition(b" ")
    try:
        if int(checksum, 16) != zlib.crc32(data):
            return None
        record = _RECORDS.validate_json(data)
    except ValueError:
        return None
    return record if record.version == VERSION and record.text.window.pieces else None

"""The Parquet files of one table: their names, writing them, and telling sound ones from others.

Below the archive. A part file is written once, whole, and never changed; its name carries a stamp newer than those of
its rows and a hint which key it is about, so that looking for one key opens few files.
"""

from __future__ import annotations

import hashlib
import io
import logging
import re
import secrets
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from channelscribe.core.clock import Clock
from channelscribe.core.text import clean_text
from channelscribe.store.root import DataRoot
from channelscribe.store.table import TABLE_KEY, VERSION_KEY, Table

log = logging.getLogger(__name__)
_NAME = re.compile(r"(part|tidy)-(\d{20})-([0-9a-f]{8})-([0-9a-f]{16}|many)\.parquet")
_MANY = "many"
_LISTINGS = 10  # a compaction is over sooner; what is still missing then is gone for good
_YEAR_2100_NS = 4_102_444_800_000_000_000  # a stamp from beyond is a broken clock or a forged name


class Stamps:
    """Gives each write of a process a stamp that is greater than all it gave or saw before."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._writer = secrets.token_hex(4)
        self._last_ns = 0
        self._lock = threading.Lock()

    def next(self) -> str:
        moment: datetime = self._clock.now()
        with self._lock:
            self._last_ns = max(self._last_ns + 1, int(moment.timestamp() * 1_000_000) * 1000)
            return f"{self._last_ns:020d}-{self._writer}"

    def seen(self, stamp_ns: int) -> None:
        """Stays ahead of what others wrote, also when this machine's clock was set back."""
        if stamp_ns < _YEAR_2100_NS:
            with self._lock:
                self._last_ns = max(self._last_ns, stamp_ns)


@dataclass(frozen=True)
class Part:
    """`old`: it was written before some column was added to its table."""

    rel: str
    path: Path
    old: bool = False

    @property
    def name(self) -> str:
        return self.rel.rsplit("/", 1)[-1]


class TableFolder:
    """One table's folder of part files."""

    def __init__(self, root: DataRoot, table: Table, stamps: Stamps) -> None:
        self.table = table
        self.root = root
        self.stamps = stamps
        self._sound: set[str] = set()
        self._bad: set[str] = set()
        self._old: set[str] = set()
        self._lock = threading.Lock()

    def write(self, rows: pa.Table, key: str | None = None, kind: str = "part") -> str:
        """Writes the rows as one new part, durably; `key` says that they are all about one thing."""
        # A stamp of its own, newer than those of the rows: no two files ever have one name.
        rel = f"{self.table.name}/{kind}-{self.stamps.next()}-{hint(key)}.parquet"
        sink = io.BytesIO()
        pq.write_table(rows, sink, compression="zstd", write_page_checksum=True, row_group_size=20_000)
        self.root.write_bytes(rel, sink.getvalue())
        return rel

    def names(self) -> list[str]:
        """Part files now in the folder. Never misses rows that a compaction is just moving.

        A compaction publishes its file before it deletes the parts, so a listing during which both happened could
        show neither; it is taken again until no new compacted file shows up after it.
        """
        while True:
            listed = self._list()
            after = {name for name in self._list() if "/tidy-" in name}
            if after <= set(listed):
                break
        for name in listed:
            if match := _NAME.fullmatch(name.rsplit("/", 1)[-1]):
                self.stamps.seen(int(match[2]))
        return listed

    def parts(self, key: str | None = None) -> list[Part]:
        """The sound parts, all of them or those that may hold `key`. A bad file is named in one WARNING.

        On a remote root a listed part may be compacted away before it is copied; what replaced it is listed anew.
        """
        found = self._copied(key)
        for _ in range(_LISTINGS):
            if None not in found:
                break
            found = self._copied(key)
        sound = [part for part in found if part is not None and self._is_sound(part)]
        return [replace(part, old=True) if part.rel in self._old else part for part in sound]

    def _copied(self, key: str | None) -> list[Part | None]:
        """The listed parts with their local files; None for one that vanished in between."""
        names = self.names()
        if key is not None:
            wanted = (hint(key), _MANY)
            names = [n for n in names if not (m := _NAME.fullmatch(n.rsplit("/", 1)[-1])) or m[4] in wanted]
        paths = {path.name: path for path in self.root.fetch_parts(names)}
        local = [(rel, paths.get(rel.rsplit("/", 1)[-1])) for rel in names]
        return [Part(rel, path) if path else None for rel, path in local]

    def drop_broken(self, parts: Sequence[Part]) -> bool:
        """Reads every part to its end and remembers those that cannot be; True when there was one."""
        return any([self._reject(part, why) for part in parts if (why := _deep_fault(part.path))])

    def _list(self) -> list[str]:
        return [rel for rel in self.root.list(self.table.name) if rel.endswith(".parquet")]

    def _is_sound(self, part: Part) -> bool:
        try:
            size = part.path.stat().st_size
        except FileNotFoundError:
            return True  # gone since the listing: the read will notice and list again
        identity = f"{part.rel}:{size}"
        with self._lock:
            if identity in self._sound or identity in self._bad:
                return identity in self._sound
        fault = self._fault(part)
        if fault:
            self._reject(part, fault)
        with self._lock:
            if not fault:
                self._sound.add(identity)
        return not fault

    def _fault(self, part: Part) -> str:
        try:
            schema = pq.read_schema(part.path)
        except FileNotFoundError:
            return ""
        except (pa.ArrowException, OSError, ValueError) as error:
            return f"it is no whole Parquet file ({str(error)[:120]})"
        if not self.table.takes(schema):
            return f"its columns are not those of {self.table.name}"
        metadata = schema.metadata or {}
        ours = self.table.schema.metadata
        if any(metadata.get(key, ours[key]) != ours[key] for key in (TABLE_KEY, VERSION_KEY)):
            return "it was written for another table or by another version of channelscribe"
        if self.table.missing(schema.names):
            self._old.add(part.rel)
        return ""

    def _reject(self, part: Part, why: str) -> bool:
        try:
            identity = f"{part.rel}:{part.path.stat().st_size}"
        except FileNotFoundError:
            return False
        with self._lock:
            known = identity in self._bad
            self._bad.add(identity)
            self._sound.discard(identity)
        if not known:
            log.warning("Skipped %s in %s: %s.", part.rel, self.root.url, why)
        return not known


def hint(key: str | None) -> str:
    """What stands in a part's name for the key it is about."""
    return _MANY if key is None else hashlib.sha256(clean_text(key).encode()).hexdigest()[:16]


def read_part(path: Path) -> pa.Table:
    """All rows of a part, with every page's checksum verified."""
    return pq.read_table(path, page_checksum_verification=True, partitioning=None)


def _deep_fault(path: Path) -> str:
    try:
        read_part(path)
    except FileNotFoundError:
        return ""
    except (pa.ArrowException, OSError, ValueError) as error:
        return f"its content is damaged ({str(error)[:120]})"
    return ""

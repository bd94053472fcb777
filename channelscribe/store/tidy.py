"""Compaction: many small part files of a table become few large ones, without superseded rows.

Run by `Archive.tidy`, beside readers and writers. The new file is on the disk before the first old one is deleted, and
readers count rows once by key and stamp, so a kill in between costs nothing but space.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import duckdb
import pyarrow as pa

from channelscribe.core.errors import ChannelscribeError
from channelscribe.store.parts import Part, TableFolder, read_part
from channelscribe.store.schema import TRANSCRIPTS

log = logging.getLogger(__name__)
_TARGET_BYTES = 32 << 20  # of compressed parts; bounds the memory of one compaction


def tidy(folder: TableFolder) -> int:
    """Compacts one table; says how many part files went away for good."""
    return sum(_compact(folder, group) for group in _groups(folder.parts()))


def roll_up(folder: TableFolder, rels: Sequence[str], key: str) -> int:
    """Makes one part of some that are all about `key`; says how many went away. Parts already gone are left out."""
    wanted = set(rels)
    return _compact(folder, [part for part in folder.parts(key) if part.rel in wanted], key)


def _groups(parts: list[Part]) -> Iterator[list[Part]]:
    group: list[Part] = []
    total_bytes = 0
    for part in parts:
        size = _size(part.path)
        if group and total_bytes + size > _TARGET_BYTES:
            yield group
            group, total_bytes = [], 0
        group.append(part)
        total_bytes += size
    yield group


def _compact(folder: TableFolder, group: list[Part], key: str | None = None) -> int:
    read = [(part, rows) for part in group if (rows := _rows(folder, part)) is not None]
    if len(read) < 2:
        return 0
    folder.write(_newest(folder, pa.concat_tables([rows for _, rows in read])), key, "tidy")
    return sum(_delete(folder, part) for part, _ in read) - 1


def _rows(folder: TableFolder, part: Part) -> pa.Table | None:
    try:
        return folder.table.complete(read_part(part.path))
    except FileNotFoundError:
        return None
    except (pa.ArrowException, OSError, ValueError, KeyError):
        folder.drop_broken([part])
        return None


def _newest(folder: TableFolder, rows: pa.Table) -> pa.Table:
    """The rows that still count, sorted by key. Of a transcript every version is kept, as views judge wholeness."""
    names = folder.table.key if folder.table.name != TRANSCRIPTS.name else (*folder.table.key, "stamp")
    keys = rows.select(list(dict.fromkeys([*names, "stamp"]))).append_column("place", pa.array(range(len(rows))))
    key = ", ".join(f'"{name}"' for name in names)
    with duckdb.connect(":memory:") as connection:
        connection.register("keys", keys)
        kept = connection.sql(
            "SELECT place FROM keys "
            f"QUALIFY row_number() OVER (PARTITION BY {key} ORDER BY stamp DESC) = 1 ORDER BY {key}"
        ).to_arrow_table()
    return rows.take(kept.column("place"))


def _delete(folder: TableFolder, part: Part) -> int:
    try:
        folder.root.delete(part.rel)
    except ChannelscribeError as error:  # Windows keeps a file that a reader has open; the next tidy gets it
        log.info("Left %s for the next tidy: %s", part.rel, error)
        return 0
    return 1


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0

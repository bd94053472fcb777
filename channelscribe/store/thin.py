"""Thinning: of old readings of a card one a minute stays, and one for every zone that the guard was in.

Called by `Archive.thin`, beside readers and writers. As in a compaction the new file is on the disk before the old
one is deleted, so a kill in between leaves rows that were thinned already, and loses none.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

import duckdb
import pyarrow as pa

from channelscribe.core.errors import ChannelscribeError
from channelscribe.store.parts import Part, TableFolder, read_part

log = logging.getLogger(__name__)
_TARGET_BYTES = 32 << 20  # of compressed parts; bounds the memory of one step
_KEPT = """
    SELECT place FROM keys
    QUALIFY "at" >= $1 OR row_number() OVER (
        PARTITION BY run_id, uuid, time_bucket(to_seconds($2), "at"), zone ORDER BY "at", stamp DESC) = 1
    ORDER BY place
"""


@dataclass(frozen=True, slots=True)
class Thinned:
    """Rows that went (or would go), and bytes that this frees; with `dry_run` an estimate by the share of rows."""

    rows: int = 0
    freed_bytes: int = 0


def thin(folder: TableFolder, before: datetime, every_s: float, *, dry_run: bool) -> Thinned:
    """Leaves one reading per run, card, zone and `every_s` of those from before `before`."""
    rows = freed = 0
    for group in _groups(folder.parts()):
        one = _thin(folder, group, before, every_s, dry_run)
        rows, freed = rows + one.rows, freed + one.freed_bytes
    return Thinned(rows, freed)


def _groups(parts: list[Part]) -> Iterator[list[Part]]:
    group: list[Part] = []
    total_bytes = 0
    for part in parts:
        size = part.path.stat().st_size if part.path.exists() else 0
        if group and total_bytes + size > _TARGET_BYTES:
            yield group
            group, total_bytes = [], 0
        group.append(part)
        total_bytes += size
    if group:
        yield group


def _thin(folder: TableFolder, group: list[Part], before: datetime, every_s: float, dry_run: bool) -> Thinned:
    read = [(part, rows) for part in group if (rows := _rows(folder, part)) is not None]
    if not read:
        return Thinned()
    everything = pa.concat_tables([rows for _, rows in read])
    kept = _kept(everything, before, every_s)
    gone = len(everything) - len(kept)
    old_bytes = sum(part.path.stat().st_size for part, _ in read if part.path.exists())
    if not gone:
        return Thinned()
    if dry_run:
        return Thinned(gone, old_bytes * gone // len(everything))
    rel = folder.write(everything.take(kept), None, "tidy")
    for part, _ in read:
        _delete(folder, part)
    return Thinned(gone, max(0, old_bytes - (folder.root.size(rel) or 0)))


def _kept(rows: pa.Table, before: datetime, every_s: float) -> pa.ChunkedArray:
    keys = rows.select(["run_id", "uuid", "at", "zone", "stamp"])
    with duckdb.connect(":memory:") as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("keys", keys.append_column("place", pa.array(range(len(rows)), pa.int64())))
        kept = connection.sql(_KEPT, params=[before, every_s]).to_arrow_table()
    return kept.column("place")


def _rows(folder: TableFolder, part: Part) -> pa.Table | None:
    try:
        return folder.table.complete(read_part(part.path))
    except FileNotFoundError:
        return None
    except (pa.ArrowException, OSError, ValueError, KeyError):
        folder.drop_broken([part])
        return None


def _delete(folder: TableFolder, part: Part) -> None:
    try:
        folder.root.delete(part.rel)
    except ChannelscribeError as error:  # Windows keeps a file that a reader has open; the next tidy gets it
        log.info("Left %s for the next tidy: %s", part.rel, error)

"""The table `gpu_metrics/`: a reading (card, run and guard at one moment) as a row and back.

Between core/gpu.py and the part files. A card may say anything: what is no number that a table can hold is null.
"""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from channelscribe.core.gpu import Cause, Decision, GpuProcess, GpuSample, Load, Reading, Zone
from channelscribe.core.text import clean_text
from channelscribe.store.table import BOOL, INT, REAL, TEXT, TIME, make_table

log = logging.getLogger(__name__)


def _list(kind: pa.DataType) -> pa.DataType:
    return pa.list_(pa.field("element", kind))  # the name that Parquet gives it


_PROCESSES = _list(pa.struct([("pid", INT), ("used_bytes", INT), ("ours", BOOL), ("name", TEXT)]))
_KINDS: dict[str, pa.DataType | tuple[pa.DataType]] = {
    "str": TEXT,
    "bool": BOOL,
    "int": INT,
    "float": REAL,
    "datetime": TIME,
    "float | None": (REAL,),
    "int | None": (INT,),
    "tuple[int, ...]": _list(INT),
    "tuple[str, ...]": _list(TEXT),
    "tuple[GpuProcess, ...] | None": (_PROCESSES,),
    "Zone": TEXT,
    "Cause": TEXT,
}
# What a decision compares, under names that say so in a wide table ("limit" is a word of SQL).
_RENAMED = {"value": "cause_value", "limit": "cause_limit", "unit": "cause_unit"}
_INT64 = 1 << 63


def _names(kind: type) -> list[str]:
    return [f.name for f in dataclasses.fields(kind)]


def _columns(kind: type) -> dict[str, pa.DataType | tuple[pa.DataType]]:
    return {_RENAMED.get(f.name, f.name): _KINDS[str(f.type)] for f in dataclasses.fields(kind)}


_SAMPLE, _LOAD, _DECISION = _names(GpuSample), _names(Load), _names(Decision)
_COLUMNS = {"run_id": TEXT, **_columns(GpuSample), **_columns(Load), **_columns(Decision)}
_EMPTY: dict[pa.DataType, Any] = {TEXT: "", BOOL: False, INT: 0, REAL: 0.0, _list(INT): [], _list(TEXT): []}
_KEY = "run_id uuid at"
# Samples and loads may learn to tell more: every column but the key may be missing in older files.
_ADDED = {n: None if isinstance(kind, tuple) else _EMPTY[kind] for n, kind in _COLUMNS.items() if n not in _KEY.split()}
GPU_METRICS = make_table("gpu_metrics", _KEY, _ADDED, **_COLUMNS)


def reading_row(reading: Reading, stamp: str) -> dict[str, Any]:
    """The row of a reading; a text that should be a number, NaN, infinity and what exceeds 64 bits become null."""
    flat = [getattr(reading.sample, name) for name in _SAMPLE]
    flat += [getattr(reading.load, name) for name in _LOAD]
    flat += [getattr(reading.decision, name) for name in _DECISION]
    row: dict[str, Any] = {"run_id": clean_text(reading.run_id), "stamp": stamp}
    for (name, kind), value in zip(list(_COLUMNS.items())[1:], flat, strict=True):
        row[name] = _fit(value, kind)
    return row


def reading_rows(readings: Sequence[Reading], stamps: Sequence[str]) -> list[dict[str, Any]]:
    """Rows of all readings that can be one; those without a moment of their own are counted in one warning."""
    rows = [reading_row(r, stamp) for r, stamp in zip(readings, stamps, strict=True) if _dated(r)]
    if len(rows) < len(readings):
        log.warning("%d readings of the card have no time and were left out.", len(readings) - len(rows))
    return rows


def readings(found: Iterable[dict[str, Any]]) -> list[Reading]:
    """The readings of rows; a zone or cause of another version is read as `run` and `none`."""
    return [_reading(row) for row in found]


def _dated(reading: Reading) -> bool:
    return isinstance(reading.sample.at, datetime)


def _fit(value: Any, kind: pa.DataType | tuple[pa.DataType]) -> Any:
    wanted = kind[0] if isinstance(kind, tuple) else kind
    fitted = _plain(value, wanted)
    return fitted if fitted is not None or isinstance(kind, tuple) else _EMPTY[wanted]


def _plain(value: Any, kind: pa.DataType) -> Any:
    if value is None:
        return None
    if kind == TEXT:
        return clean_text(str(value))
    if kind == TIME:
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value
    if kind == BOOL:
        return bool(value)
    if pa.types.is_list(kind):
        return [_process(each) if isinstance(each, GpuProcess) else _plain(each, kind.value_type) for each in value]
    return _number(value, kind)


def _number(value: Any, kind: pa.DataType) -> int | float | None:
    try:
        if not math.isfinite(value):
            return None
        number = int(value) if kind == INT else float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if kind == REAL or -_INT64 <= number < _INT64 else None


def _process(process: GpuProcess) -> dict[str, Any]:
    return {
        "pid": _number(process.pid, INT),
        "used_bytes": None if process.used_bytes is None else _number(process.used_bytes, INT),
        "ours": None if process.ours is None else bool(process.ours),
        "name": clean_text(str(process.name)),
    }


def _reading(row: dict[str, Any]) -> Reading:
    sample = {name: row[name] for name in _SAMPLE}
    held = row["processes"]
    sample |= {
        "at": row["at"].astimezone(UTC),
        "xids": tuple(row["xids"]),
        "errors": tuple(row["errors"]),
        "processes": None if held is None else tuple(GpuProcess(**each) for each in held),
    }
    decision = {name: row[_RENAMED.get(name, name)] for name in _DECISION}
    decision |= {"zone": _known(Zone, row["zone"], Zone.RUN), "cause": _known(Cause, row["cause"], Cause.NONE)}
    load = Load(**{name: row[name] for name in _LOAD})
    return Reading(row["run_id"], GpuSample(**sample), load, Decision(**decision))


def _known(kind: Any, value: str, otherwise: Any) -> Any:
    return kind(value) if value in set(kind) else otherwise

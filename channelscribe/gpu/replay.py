"""Recorded traces: read from Parquet, written to it, and played again as a reader.

A trace is what `gpu_metrics/` holds: one row per sample, columns named like the fields of GpuSample and Load. Read
leniently, so that rows of older and newer versions, and of other tools with the same names, can be judged.
"""

from __future__ import annotations

import bisect
import dataclasses
import itertools
import types
import typing
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from channelscribe.core.clock import Clock, SystemClock
from channelscribe.core.errors import UsageError
from channelscribe.core.gpu import Card, GpuProcess, GpuSample, Load, Reading
from channelscribe.gpu.sanity import number

_NEEDED = ("at", "temp_c")
_LARGEST_ROWS = 5_000_000


@dataclass(frozen=True, slots=True)
class Point:
    """One moment of a trace; `zone` is what the guard of that run had decided, empty where unknown."""

    sample: GpuSample
    load: Load
    zone: str = ""


def read_trace(path: str | Path, run_id: str = "") -> list[Point]:
    """The points of one run on one card, in order of time: of the run named, else of the newest.

    `path`: a Parquet file, or a folder of them (as `gpu_metrics/` of a data root). Raises UsageError that says what is
    wrong with a missing, truncated, foreign or empty file.
    """
    rows = [row for file in _files(Path(path)) for row in _rows(file)]
    rows = [row for row in rows if isinstance(row.get("at"), datetime)]
    if not rows:
        raise UsageError(f"The trace {path} holds no sample.", code="empty_trace")
    newest = max(rows, key=lambda row: _utc(row["at"]))
    wanted = run_id or newest.get("run_id")
    mine = [row for row in rows if row.get("run_id") == wanted]
    if not mine:
        raise UsageError(f"The trace {path} holds no run {run_id}.", code="no_run")
    uuid = max(mine, key=lambda row: _utc(row["at"])).get("uuid")
    moments = {_utc(row["at"]): row for row in mine if row.get("uuid") == uuid}
    return [_point(moments[at]) for at in sorted(moments)]


def write_trace(path: str | Path, readings: Iterable[Reading]) -> None:
    """One Parquet file with one row per reading, as `read_trace` reads it."""
    rows = [
        {"run_id": r.run_id}
        | dataclasses.asdict(r.sample)
        | dataclasses.asdict(r.load)
        | {"zone": str(r.decision.zone), "cause": str(r.decision.cause), "reason": r.decision.reason}
        for r in readings
    ]
    table = pa.Table.from_pylist([{k: list(v) if isinstance(v, tuple) else v for k, v in row.items()} for row in rows])
    pq.write_table(table, path, compression="zstd")


class ReplayReader:
    """Plays a trace in the time of its clock, from the beginning again when it has ended. Never raises."""

    def __init__(self, points: Sequence[Point], clock: Clock) -> None:
        self._points, self._clock, self._begun_s = points, clock, clock.monotonic()
        self._offsets = [p.sample.monotonic_s - points[0].sample.monotonic_s for p in points]
        self._length_s = self._offsets[-1] + _usual_gap(self._offsets)

    @property
    def card(self) -> Card:
        first = self._points[0].sample
        return Card(first.uuid, first.name, None, "replay", first.mem_total_bytes)

    def sample(self) -> GpuSample:
        now_s = self._clock.monotonic()
        played_s = max(now_s - self._begun_s, 0.0) % self._length_s
        index = bisect.bisect_right(self._offsets, played_s) - 1
        return replace(self._points[max(index, 0)].sample, at=self._clock.now(), monotonic_s=now_s)

    def close(self) -> None:
        return None


def open_replay(path: str | Path, clock: Clock | None = None) -> ReplayReader:
    """The reader of a recorded trace. Raises UsageError as `read_trace` does."""
    return ReplayReader(read_trace(path), clock or SystemClock())


def _files(path: Path) -> list[Path]:
    if not path.exists():
        raise UsageError(f"There is no trace {path}.", code="no_trace")
    files = sorted(path.rglob("*.parquet")) if path.is_dir() else [path]
    if not files:
        raise UsageError(f"The folder {path} holds no Parquet file.", code="no_trace")
    return files


def _rows(file: Path) -> list[dict[str, Any]]:
    try:
        parquet = pq.ParquetFile(file)
        missing = [name for name in _NEEDED if name not in parquet.schema_arrow.names]
        if missing:
            raise UsageError(
                f"{file} is no trace of a card: the column {' and '.join(missing)} is missing.", code="foreign_trace"
            )
        if parquet.metadata.num_rows > _LARGEST_ROWS:
            raise UsageError(f"{file} has more than {_LARGEST_ROWS:,} rows; cut it first.", code="large_trace")
        known = [n for n in parquet.schema_arrow.names if n in _FIELDS or n in ("run_id", "zone")]
        rows: list[dict[str, Any]] = parquet.read(columns=known).to_pylist()
    except (OSError, pa.ArrowException) as error:
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UsageError(f"{file} cannot be read as Parquet: {said}", code="bad_trace") from error
    return rows


def _utc(at: datetime) -> datetime:
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


def _point(row: dict[str, Any]) -> Point:
    at = _utc(row["at"])
    sample = GpuSample(**{**_taken(row, _SAMPLE), "at": at, "monotonic_s": at.timestamp()})
    return Point(sample, Load(**_taken(row, _LOAD)), str(row.get("zone") or ""))


def _kinds(kind: type) -> dict[str, tuple[Any, ...]]:
    """The types that each field of a dataclass admits."""
    hints = typing.get_type_hints(kind)
    return {
        f.name: typing.get_args(hints[f.name]) if isinstance(hints[f.name], types.UnionType) else (hints[f.name],)
        for f in dataclasses.fields(kind)
    }


_SAMPLE, _LOAD = _kinds(GpuSample), _kinds(Load)
_FIELDS = {**_SAMPLE, **_LOAD}


def _taken(row: dict[str, Any], fields: dict[str, tuple[Any, ...]]) -> dict[str, Any]:
    """The fields that the row has, each as its type; what does not fit counts as not said."""
    taken = {"uuid": "", "name": ""} if "uuid" in fields else {}
    for name, kinds in fields.items():
        value = _fit(row.get(name), kinds)
        if value is not None:
            taken[name] = value
    return taken


def _fit(value: Any, kinds: tuple[Any, ...]) -> Any:
    if value is None:
        return None
    if str in kinds:
        return str(value)
    if bool in kinds:
        return bool(value)
    if isinstance(value, list):
        return _listed(value, kinds)
    found = number(value)
    return int(found) if found is not None and int in kinds else found


def _listed(values: list[Any], kinds: tuple[Any, ...]) -> Any:
    of = {typing.get_args(kind)[0] for kind in kinds if typing.get_origin(kind) is tuple}
    if GpuProcess in of:
        return tuple(_process(v) for v in values if isinstance(v, dict))
    if int in of:
        return tuple(int(v) for v in values if number(v) is not None)
    return tuple(str(v) for v in values) if str in of else None


def _process(said: dict[str, Any]) -> GpuProcess:
    pid, used = number(said.get("pid")), number(said.get("used_bytes"))
    return GpuProcess(
        int(pid or 0), None if used is None else int(used), bool(said.get("ours")), str(said.get("name") or "")
    )


def _usual_gap(offsets: Sequence[float]) -> float:
    gaps = sorted(b - a for a, b in itertools.pairwise(offsets))
    return gaps[len(gaps) // 2] if gaps and gaps[len(gaps) // 2] > 0 else 1.0

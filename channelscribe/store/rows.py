"""Records to rows and back: the only place that knows how a frozen record looks in a table.

Between core/model.py and the part files (parts.py). What a table cannot hold is cleaned (NUL, lone surrogates) or
refused with one sentence; a row that is no record any more is skipped with one.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any, TypeVar

import pyarrow as pa

from channelscribe.core.curve import Moment
from channelscribe.core.errors import UsageError
from channelscribe.core.gpu import Cause, Zone
from channelscribe.core.model import (
    Availability,
    Outcome,
    OutcomeState,
    Provenance,
    Run,
    Segment,
    Stage,
    Transcript,
    Video,
    VideoKind,
    Word,
)
from channelscribe.core.text import clean_text
from channelscribe.store.schema import SILENCE_INDEX, Table

log = logging.getLogger(__name__)
Record = TypeVar("Record")
_WHOLE_FILE = (
    *("video_id", "fingerprint", "media_sha256", "language"),
    *("duration_s", "speech_s", "window_count", "wall_s"),
)
_BROKEN = object()  # stands for a value that cannot be read back
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DECODERS: dict[type, dict[str, Callable[[Any], Any]]] = {
    Video: {"kind": VideoKind, "availability": Availability},
    Outcome: {"stage": Stage, "state": OutcomeState},
    Moment: {"zone": Zone, "cause": Cause},
    Run: {"parameters": json.loads, "versions": json.loads, "guard": lambda text: text and json.loads(text)},
}


def arrow_rows(table: Table, rows: Iterable[dict[str, Any]]) -> pa.Table:
    """The rows with the table's exact types; UsageError (code `bad_record`) for what does not fit them."""
    try:
        made = pa.Table.from_pylist(list(rows), schema=table.schema)
        for column in table.schema:
            if not column.nullable and made.column(column.name).null_count:
                raise TypeError(f"{column.name} is missing")
    except (pa.ArrowException, TypeError, ValueError, OverflowError, AttributeError) as error:
        reason = f"A record does not fit the table {table.name}: {str(error)[:300]}."
        raise UsageError(reason, code="bad_record") from error
    return made


def record_row(record: Any, stamp: str) -> dict[str, Any]:
    """The row of any flat record."""
    row = {f.name: _plain(getattr(record, f.name)) for f in dataclasses.fields(record)}
    return {**row, "stamp": stamp}


def records(kind: type[Record], found: pa.Table) -> list[Record]:
    """The records of a query's result, which has a column for each field of the record."""
    decoders = _DECODERS.get(kind, {})
    fields = dataclasses.fields(kind)  # type: ignore[arg-type]
    columns = [_values(found.column(f.name), decoders.get(f.name)) for f in fields]
    made = zip(*columns, strict=True)
    if not any(_BROKEN in column for column in columns):
        return [kind(*row) for row in made]
    return [kind(*row) for row in made if _sound(kind, row)]


def transcript_rows(transcript: Transcript, run_id: str, stamp: str) -> list[dict[str, Any]]:
    """One row per segment; for silence one row with index -1 and no text."""
    _check_segments(transcript)
    common = _transcript_columns(transcript, run_id, stamp)
    silence = Segment(SILENCE_INDEX, 0.0, 0.0, "", 0.0, 0.0, 0.0)
    return [{**common, **_segment_columns(s)} for s in transcript.segments or (silence,)]


def newest_whole(found: pa.Table) -> Transcript | None:
    """The newest transcript that has all its rows, out of rows sorted by stamp (newest first) and index."""
    for _, version in itertools.groupby(found.to_pylist(), key=lambda row: str(row["stamp"])):
        own = list(version)
        counts = {row["segment_count"] for row in own}
        if counts == {sum(row["index"] >= 0 for row in own)}:
            return _transcript(own)
    return None


def _transcript(own: Sequence[Mapping[str, Any]]) -> Transcript:
    first = own[0]
    made_by = {name: first[name] for name in ("engine", "model", "model_revision", "device", "dtype", "batch_size")}
    created = first["created_at"]
    return Transcript(
        segments=tuple(_segment(row) for row in own if row["index"] != SILENCE_INDEX),
        provenance=Provenance(
            parameters=json.loads(first["parameters"]), versions=json.loads(first["versions"]), **made_by
        ),
        created_at=created.astimezone(UTC) if created else None,
        **{name: first[name] for name in _WHOLE_FILE},
    )


def _transcript_columns(transcript: Transcript, run_id: str, stamp: str) -> dict[str, Any]:
    provenance = transcript.provenance
    return {
        **{name: _plain(getattr(transcript, name)) for name in (*_WHOLE_FILE, "created_at")},
        **{f.name: _plain(getattr(provenance, f.name)) for f in dataclasses.fields(provenance)},
        "segment_count": len(transcript.segments),
        "run_id": _plain(run_id),
        "stamp": stamp,
    }


def _segment_columns(segment: Segment) -> dict[str, Any]:
    row = {f.name: _plain(getattr(segment, f.name)) for f in dataclasses.fields(segment) if f.name != "words"}
    words = [{f.name: _plain(getattr(w, f.name)) for f in dataclasses.fields(w)} for w in segment.words]
    return {**row, "words": words, "word_count": len(str(segment.text).split())}


def _segment(row: Mapping[str, Any]) -> Segment:
    own = {f.name: row[f.name] for f in dataclasses.fields(Segment) if f.name != "words"}
    return Segment(**own, words=tuple(Word(**word) for word in row["words"]))


def _check_segments(transcript: Transcript) -> None:
    # Rows that pass here read back as one whole transcript; others would be made again and again.
    indexes = [s.index for s in transcript.segments]
    times = [t for s in transcript.segments for t in (s.start_s, s.end_s)]
    try:
        sound = len(set(indexes)) == len(indexes) and all(i >= 0 for i in indexes) and all(map(math.isfinite, times))
    except TypeError:
        sound = False
    if not sound or not transcript.fingerprint:
        reason = f"The transcript of {transcript.video_id} has no fingerprint, or segments without number or time."
        raise UsageError(reason, code="bad_record")


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, datetime):
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value
    return _json(value) if isinstance(value, Mapping) else value


def _json(value: Mapping[Any, Any]) -> str:
    return clean_text(json.dumps(_jsonable(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False))


def _jsonable(value: Any) -> Any:
    # Parameters come from a form and may hold paths, dates or secrets: those are kept as the text they show.
    if isinstance(value, Mapping):
        return {str(key): _jsonable(each) for key, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_jsonable(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Enum):
        return _jsonable(value.value)
    return value if isinstance(value, str | int | float | None) else str(value)


def _values(column: pa.ChunkedArray, decode: Callable[[Any], Any] | None) -> list[Any]:
    if pa.types.is_timestamp(column.type):
        column, decode = column.cast(pa.timestamp("us", tz="UTC")).cast(pa.int64()), _moment
    values: list[Any] = column.to_pylist()
    if decode is None:
        return values
    if isinstance(decode, type):  # an enumeration: few values, and each can be shared
        known = {value: _attempt(decode, value) for value in set(values)}
        return [known[value] for value in values]
    return [_attempt(decode, value) for value in values]


def _moment(microseconds: int | None) -> datetime | None:
    return None if microseconds is None else _EPOCH + timedelta(microseconds=microseconds)


def _attempt(decode: Callable[[Any], Any], value: Any) -> Any:
    try:
        return decode(value)
    except (ValueError, TypeError, OverflowError):
        return _BROKEN


def _sound(kind: type, row: tuple[Any, ...]) -> bool:
    if _BROKEN not in row:
        return True
    log.warning("A row of %s cannot be read (%r); it is skipped.", kind.__name__, str(row[0])[:80])
    return False

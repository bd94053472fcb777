"""The tables: their columns, their keys, and the SQL that makes one true row out of many written ones.

Between the records of core/model.py and the Parquet files of the data root. A row is never changed; a newer row with
the same key supersedes it, told by `stamp`, which only grows.
"""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

SCHEMA_VERSION = 1
TABLE_KEY = b"channelscribe.table"
VERSION_KEY = b"channelscribe.schema"
SILENCE_INDEX = -1

_TEXT = pa.string()
_REAL = pa.float64()
_INT = pa.int64()
_TIME = pa.timestamp("us", tz="UTC")
_WORDS = pa.list_(
    pa.field("element", pa.struct([("word", _TEXT), ("start_s", _REAL), ("end_s", _REAL), ("probability", _REAL)]))
)


@dataclass(frozen=True)
class Table:
    """One folder of Parquet files. `key` identifies what a row is about."""

    name: str
    key: tuple[str, ...]
    schema: pa.Schema


def _table(name: str, key: str, /, **columns: pa.DataType | tuple[pa.DataType]) -> Table:
    fields = [
        # A type alone must be there in every row; a type in a tuple may be unknown.
        pa.field(column, kind[0] if isinstance(kind, tuple) else kind, nullable=isinstance(kind, tuple))
        for column, kind in {**columns, "stamp": _TEXT}.items()
    ]
    metadata = {TABLE_KEY: name.encode(), VERSION_KEY: str(SCHEMA_VERSION).encode()}
    return Table(name, tuple(key.split()), pa.schema(fields, metadata=metadata))


VIDEOS = _table(
    "videos",
    "video_id",
    video_id=_TEXT,
    title=_TEXT,
    channel_id=_TEXT,
    channel_title=_TEXT,
    published_at=(_TIME,),
    duration_s=(_REAL,),
    kind=_TEXT,
    language=(_TEXT,),
    availability=_TEXT,
    description=_TEXT,
    thumbnail_url=_TEXT,
    scheduled_at=(_TIME,),
    discovered_at=(_TIME,),
    discovered_by=_TEXT,
)
MEDIA = _table(
    "media",
    "video_id",
    video_id=_TEXT,
    path=_TEXT,
    bytes=_INT,
    sha256=_TEXT,
    container=_TEXT,
    codec=_TEXT,
    sample_rate_hz=_INT,
    duration_s=_REAL,
    source_format=_TEXT,
    language=(_TEXT,),
    downloaded_at=(_TIME,),
    downloaded_by=_TEXT,
)
TRANSCRIPTS = _table(
    "transcripts",
    "fingerprint video_id index",
    video_id=_TEXT,
    fingerprint=_TEXT,
    index=_INT,
    start_s=_REAL,
    end_s=_REAL,
    text=_TEXT,
    word_count=_INT,
    speaker=(_TEXT,),
    words=_WORDS,
    avg_logprob=_REAL,
    no_speech_prob=_REAL,
    compression_ratio=_REAL,
    media_sha256=_TEXT,
    language=_TEXT,
    duration_s=_REAL,
    speech_s=_REAL,
    segment_count=_INT,
    window_count=_INT,
    engine=_TEXT,
    model=_TEXT,
    model_revision=_TEXT,
    parameters=_TEXT,
    device=_TEXT,
    dtype=_TEXT,
    batch_size=_INT,
    versions=_TEXT,
    run_id=_TEXT,
    created_at=(_TIME,),
    wall_s=_REAL,
)
UPLOADS = _table(
    "uploads",
    "project_id key",
    video_id=_TEXT,
    project_id=_TEXT,
    key=_TEXT,
    content_sha256=_TEXT,
    document_key=_TEXT,
    status=_TEXT,
    chunks=(_INT,),
    fingerprint=_TEXT,
    sent_at=(_TIME,),
    verified_at=(_TIME,),
)
OUTCOMES = _table(
    "outcomes",
    "run_id video_id stage attempt at",
    run_id=_TEXT,
    video_id=_TEXT,
    title=_TEXT,
    stage=_TEXT,
    state=_TEXT,
    attempt=_INT,
    failure_class=_TEXT,
    code=_TEXT,
    reason=_TEXT,
    seconds=_REAL,
    audio_s=_REAL,
    engine=_TEXT,
    cost_usd=(_REAL,),
    retry_after=(_TIME,),
    at=_TIME,
)
RUNS = _table(
    "runs",
    "run_id",
    run_id=_TEXT,
    name=_TEXT,
    source=_TEXT,
    state=_TEXT,
    parameters=_TEXT,
    versions=_TEXT,
    started_at=_TIME,
    ended_at=(_TIME,),
    videos=_INT,
    skipped=_INT,
    done=_INT,
    failed=_INT,
    words=_INT,
    audio_s=_REAL,
    wall_s=_REAL,
    quota_units=_INT,
    gpu_busy_share=(_REAL,),
    energy_j=(_REAL,),
    cost_usd=(_REAL,),
)
TABLES: dict[str, Table] = {t.name: t for t in (VIDEOS, MEDIA, TRANSCRIPTS, UPLOADS, OUTCOMES, RUNS)}


def latest(table: Table, where: str = "") -> str:
    """SQL for the newest row of every key, with its stamp."""
    key = ", ".join(f'"{column}"' for column in table.key)
    return (
        f"SELECT * FROM raw_{table.name} {where} QUALIFY row_number() OVER (PARTITION BY {key} ORDER BY stamp DESC) = 1"
    )


# A transcript counts when every segment that its rows announce is there; the newest whole one of a fingerprint wins.
# Videos with the very same sound share the fingerprint, and each has rows of its own.
_WHOLE = """
    SELECT fingerprint, video_id, max(stamp) AS stamp FROM (
        SELECT fingerprint, video_id, stamp FROM raw_transcripts GROUP BY fingerprint, video_id, stamp
        HAVING count(DISTINCT "index") FILTER ("index" >= 0) = max(segment_count)
           AND min(segment_count) = max(segment_count)
    ) GROUP BY fingerprint, video_id
"""
_WHOLE_ROWS = f"""
    SELECT r.* FROM raw_transcripts r JOIN ({_WHOLE}) USING (fingerprint, video_id, stamp)
    QUALIFY row_number() OVER (PARTITION BY fingerprint, video_id, "index") = 1
"""
_PER_SEGMENT = (
    *("fingerprint", "video_id", "index", "start_s", "end_s", "text", "word_count", "speaker", "words"),
    *("avg_logprob", "no_speech_prob", "compression_ratio"),
)
_PER_TRANSCRIPT = [name for name in TRANSCRIPTS.schema.names if name not in _PER_SEGMENT]
WHOLE_TRANSCRIPTS = f"SELECT fingerprint, video_id FROM ({_WHOLE})"

# View name -> (tables it reads, SQL). What `Archive.query` offers.
VIEWS: dict[str, tuple[str, str]] = {
    t.name: (t.name, f"SELECT * EXCLUDE (stamp) FROM ({latest(t)})") for t in (VIDEOS, MEDIA, UPLOADS, OUTCOMES, RUNS)
} | {
    "segments": ("transcripts", f'SELECT * EXCLUDE (stamp) FROM ({_WHOLE_ROWS}) WHERE "index" >= 0'),
    "transcripts": (
        "transcripts",
        f"""
        SELECT fingerprint, video_id, {", ".join(f"any_value({c}) AS {c}" for c in _PER_TRANSCRIPT)},
               CAST(sum(word_count) AS BIGINT) AS word_count,
               coalesce(string_agg(trim(text), ' ' ORDER BY "index") FILTER (trim(text) <> ''), '') AS text
        FROM ({_WHOLE_ROWS}) GROUP BY fingerprint, video_id
        """,
    ),
}

"""The tables: their columns, their keys, and the SQL that makes one true row out of many written ones.

Between the records of core/model.py and the Parquet files of the data root. A row is never changed; a newer row with
the same key supersedes it, told by `stamp`, which only grows.
"""

from __future__ import annotations

import pyarrow as pa

from channelscribe.store.readings import GPU_METRICS
from channelscribe.store.table import INT, REAL, SCHEMA_VERSION, TABLE_KEY, TEXT, TIME, VERSION_KEY, Table, make_table

__all__ = ["GPU_METRICS", "SCHEMA_VERSION", "TABLE_KEY", "VERSION_KEY", "Table"]
SILENCE_INDEX = -1
_WORDS = pa.list_(
    pa.field("element", pa.struct([("word", TEXT), ("start_s", REAL), ("end_s", REAL), ("probability", REAL)]))
)

VIDEOS = make_table(
    "videos",
    "video_id",
    video_id=TEXT,
    title=TEXT,
    channel_id=TEXT,
    channel_title=TEXT,
    published_at=(TIME,),
    duration_s=(REAL,),
    kind=TEXT,
    language=(TEXT,),
    availability=TEXT,
    description=TEXT,
    thumbnail_url=TEXT,
    scheduled_at=(TIME,),
    discovered_at=(TIME,),
    discovered_by=TEXT,
)
MEDIA = make_table(
    "media",
    "video_id",
    video_id=TEXT,
    path=TEXT,
    bytes=INT,
    sha256=TEXT,
    container=TEXT,
    codec=TEXT,
    sample_rate_hz=INT,
    duration_s=REAL,
    source_format=TEXT,
    language=(TEXT,),
    downloaded_at=(TIME,),
    downloaded_by=TEXT,
)
TRANSCRIPTS = make_table(
    "transcripts",
    "fingerprint video_id index",
    video_id=TEXT,
    fingerprint=TEXT,
    index=INT,
    start_s=REAL,
    end_s=REAL,
    text=TEXT,
    word_count=INT,
    speaker=(TEXT,),
    words=_WORDS,
    avg_logprob=REAL,
    no_speech_prob=REAL,
    compression_ratio=REAL,
    media_sha256=TEXT,
    language=TEXT,
    duration_s=REAL,
    speech_s=REAL,
    segment_count=INT,
    window_count=INT,
    engine=TEXT,
    model=TEXT,
    model_revision=TEXT,
    parameters=TEXT,
    device=TEXT,
    dtype=TEXT,
    batch_size=INT,
    versions=TEXT,
    run_id=TEXT,
    created_at=(TIME,),
    wall_s=REAL,
)
UPLOADS = make_table(
    "uploads",
    "project_id key",
    video_id=TEXT,
    project_id=TEXT,
    key=TEXT,
    content_sha256=TEXT,
    document_key=TEXT,
    status=TEXT,
    chunks=(INT,),
    fingerprint=TEXT,
    sent_at=(TIME,),
    verified_at=(TIME,),
)
OUTCOMES = make_table(
    "outcomes",
    "run_id video_id stage attempt at",
    {"paused_s": 0.0, "pause_cause": ""},
    run_id=TEXT,
    video_id=TEXT,
    title=TEXT,
    stage=TEXT,
    state=TEXT,
    attempt=INT,
    failure_class=TEXT,
    code=TEXT,
    reason=TEXT,
    seconds=REAL,
    audio_s=REAL,
    engine=TEXT,
    cost_usd=(REAL,),
    retry_after=(TIME,),
    at=TIME,
    paused_s=REAL,
    pause_cause=TEXT,
)
_RUN_GPU = ("peak_memory_bytes", "throttled_s", "paused_s", "slowed_s", "pauses", "peak_temp_c", "audio_s_per_joule")
RUNS = make_table(
    "runs",
    "run_id",
    {**dict.fromkeys(_RUN_GPU), "guard": None},
    run_id=TEXT,
    name=TEXT,
    source=TEXT,
    state=TEXT,
    parameters=TEXT,
    versions=TEXT,
    started_at=TIME,
    ended_at=(TIME,),
    videos=INT,
    skipped=INT,
    done=INT,
    failed=INT,
    words=INT,
    audio_s=REAL,
    wall_s=REAL,
    quota_units=INT,
    gpu_busy_share=(REAL,),
    energy_j=(REAL,),
    cost_usd=(REAL,),
    peak_memory_bytes=(INT,),
    throttled_s=(REAL,),
    paused_s=(REAL,),
    slowed_s=(REAL,),
    pauses=(INT,),
    peak_temp_c=(REAL,),
    audio_s_per_joule=(REAL,),
    guard=(TEXT,),
)
TABLES: dict[str, Table] = {t.name: t for t in (VIDEOS, MEDIA, TRANSCRIPTS, UPLOADS, OUTCOMES, RUNS, GPU_METRICS)}


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
    t.name: (t.name, f"SELECT * EXCLUDE (stamp) FROM ({latest(t)})") for t in TABLES.values() if t is not TRANSCRIPTS
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

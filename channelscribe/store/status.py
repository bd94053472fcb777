"""Where every video stands, from the tables alone: what `channelscribe status` shows.

Reads the archive; knows nothing of runs in progress.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from channelscribe.store import rows
from channelscribe.store.archive import Archive

DISCOVERED, DOWNLOADED, TRANSCRIBED, UPLOADED = "discovered", "downloaded", "transcribed", "uploaded"
DONE, FAILED, PENDING = "done", "failed", "pending"


@dataclass(frozen=True, slots=True)
class VideoStatus:
    """One video. `stage` is the last one reached; failure fields are of the last failure while it still stands.

    `state` is `failed` when the last attempt failed and nothing was finished after it; `done` when the document is
    in the knowledge base, verified as far as that host can say, or when the transcript is there and nothing was ever
    uploaded from this archive; `pending` otherwise. `attempts` counts the attempts at the stage of the last attempt.
    """

    video_id: str
    title: str
    channel_title: str
    published_at: datetime | None
    duration_s: float | None
    stage: str
    state: str
    failure_class: str
    code: str
    reason: str
    attempts: int
    retry_after: datetime | None
    last_at: datetime | None
    language: str | None
    words: int


@dataclass(frozen=True, slots=True)
class Totals:
    """The archive in numbers. `audio_s` and `words` are of whole transcripts, `documents` are verified uploads."""

    videos: int
    done: int
    failed: int
    pending: int
    audio_s: float
    words: int
    documents: int


def video_status(archive: Archive, *, failed_only: bool = False) -> list[VideoStatus]:
    """Every video that was ever listed or tried, newest first; with `failed_only` those that failed."""
    archive.flush()
    found = archive.ask(_STATUS + (" WHERE state = 'failed'" if failed_only else "") + _ORDER)
    return rows.records(VideoStatus, found)


def totals(archive: Archive) -> Totals:
    """Sums over `video_status`."""
    archive.flush()
    found = archive.ask(
        f"""
        SELECT count(*) AS videos, count(*) FILTER (state = 'done') AS done,
               count(*) FILTER (state = 'failed') AS failed, count(*) FILTER (state = 'pending') AS pending,
               CAST(coalesce(sum(audio_s), 0) AS DOUBLE) AS audio_s, CAST(coalesce(sum(words), 0) AS BIGINT) AS words,
               (SELECT count(*) FROM uploads WHERE verified_at IS NOT NULL) AS documents
        FROM ({_STATUS})
        """
    )
    return rows.records(Totals, found)[0]


_ATTEMPTS = """
    SELECT *, row_number() OVER (PARTITION BY video_id ORDER BY "at" DESC, attempt DESC) AS place,
           count(*) OVER (PARTITION BY video_id, stage) AS attempts
    FROM outcomes WHERE state NOT IN ('skipped', 'released') AND stage <> 'discover' AND video_id <> ''
"""
_HEARD = """
    SELECT video_id, arg_max(language, stamp) AS language, arg_max(word_count, stamp) AS words,
           arg_max(duration_s, stamp) AS audio_s
    FROM transcripts GROUP BY video_id
"""
_SENT = """
    SELECT video_id, max(coalesce(verified_at, sent_at, TIMESTAMPTZ 'epoch')) AS sent_at FROM uploads
    WHERE verified_at IS NOT NULL OR status NOT IN ('queued', 'syncing', 'failed', 'timeout', 'deleting')
    GROUP BY video_id
"""
_FACTS = f"""
    WITH attempts AS ({_ATTEMPTS}), last AS (SELECT * FROM attempts WHERE place = 1),
         heard AS ({_HEARD}), sent AS ({_SENT}),
         everyone AS (SELECT video_id FROM videos UNION SELECT video_id FROM last),
         sends AS (SELECT (SELECT count(*) FROM uploads) + (SELECT count(*) FROM attempts WHERE stage = 'upload') AS n)
    SELECT e.video_id, coalesce(v.title, last.title) AS title, coalesce(v.channel_title, '') AS channel_title,
           v.published_at, coalesce(m.duration_s, v.duration_s) AS duration_s,
           CASE WHEN sent.sent_at IS NOT NULL THEN 'uploaded' WHEN heard.video_id IS NOT NULL THEN 'transcribed'
                WHEN m.video_id IS NOT NULL THEN 'downloaded' ELSE 'discovered' END AS stage,
           last.state = 'failed' AND NOT coalesce(sent.sent_at > last."at", false) AS broken,
           sends.n = 0 AS never_sends, last.failure_class, last.code, last.reason, last.retry_after,
           CAST(coalesce(last.attempts, 0) AS BIGINT) AS attempts, last."at" AS last_at,
           coalesce(heard.language, m.language, v.language) AS language,
           CAST(coalesce(heard.words, 0) AS BIGINT) AS words, heard.audio_s
    FROM everyone e CROSS JOIN sends LEFT JOIN videos v USING (video_id) LEFT JOIN media m USING (video_id)
         LEFT JOIN heard USING (video_id) LEFT JOIN sent USING (video_id) LEFT JOIN last USING (video_id)
"""
_STATUS = f"""
    SELECT * FROM (
        SELECT * REPLACE (
                   CASE WHEN broken THEN failure_class ELSE '' END AS failure_class,
                   CASE WHEN broken THEN code ELSE '' END AS code,
                   CASE WHEN broken THEN reason ELSE '' END AS reason,
                   CASE WHEN broken THEN retry_after END AS retry_after
               ),
               CASE WHEN broken THEN 'failed' WHEN stage = 'uploaded' OR (stage = 'transcribed' AND never_sends)
                    THEN 'done' ELSE 'pending' END AS state
        FROM ({_FACTS})
    )
"""
_ORDER = " ORDER BY published_at DESC NULLS LAST, video_id"

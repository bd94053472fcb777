"""The tables of the data root: what was discovered, downloaded, transcribed and uploaded, and how each attempt ended.

Every step of the flow writes its result here, and what is done is what stands here. Any number of threads and processes
may write at once; of several rows about one thing the latest counts.
"""

from __future__ import annotations

import dataclasses
import logging
import weakref
from collections.abc import Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any

import filelock
import pyarrow as pa

from channelscribe.core.clock import Clock, SystemClock
from channelscribe.core.curve import COLUMNS, Moment
from channelscribe.core.errors import ChannelscribeError, Transient
from channelscribe.core.gpu import Reading
from channelscribe.core.model import Media, Outcome, Run, Transcript, Upload, Video
from channelscribe.core.settings import ClaimSettings
from channelscribe.core.text import clean_text
from channelscribe.store import rows
from channelscribe.store.buffer import Buffer
from channelscribe.store.claims import Claims
from channelscribe.store.metrics import MOST_WAITING, ReadingWriter
from channelscribe.store.parts import Stamps, TableFolder
from channelscribe.store.reader import Reader
from channelscribe.store.readings import readings
from channelscribe.store.root import DataRoot
from channelscribe.store.schema import GPU_METRICS, OUTCOMES, TABLES, WHOLE_TRANSCRIPTS, latest
from channelscribe.store.thin import Thinned, thin
from channelscribe.store.tidy import tidy
from channelscribe.store.windows import WindowFiles

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)
_NEWEST_FIRST = "ORDER BY published_at DESC NULLS LAST, video_id"
_EVER = datetime(1970, 1, 1, tzinfo=UTC)
_ABANDONED_S = 24 * 3600.0


class Archive:
    """Puts are on the disk when they return, except outcomes and readings of a card.

    Those are written every `flush_s` and `readings_s`, and on `close`.
    """

    def __init__(
        self, root: DataRoot, clock: Clock | None = None, *, flush_s: float = 2.0, readings_s: float = 5.0
    ) -> None:
        self.root = root
        self._clock: Clock = clock or SystemClock()
        self.windows = WindowFiles(root, self._clock)
        self.claims = Claims(root, self._clock, claim_s=ClaimSettings().claim_s)
        self._stamps = Stamps(self._clock)
        self._folders = {name: TableFolder(root, table, self._stamps) for name, table in TABLES.items()}
        self._reader = Reader(self._folders, self._clock)
        for folder in self._folders.values():
            folder.names()  # learns the newest stamp, so that this writer comes after it
        outcomes, metrics = self._folders["outcomes"], ReadingWriter(self._folders["gpu_metrics"], self._stamps)
        self._outcomes = Buffer[pa.Table](lambda made: outcomes.write(pa.concat_tables(made)), flush_s, "outcomes")
        self._readings = Buffer[Reading](metrics.write, readings_s, "readings of the card", MOST_WAITING)
        self._at_exit = (weakref.finalize(self, self._outcomes.close), weakref.finalize(self, self._readings.close))

    def put_videos(self, videos: Sequence[Video]) -> None:
        latest = {video.video_id: video for video in videos}
        if latest:
            only = next(iter(latest)) if len(latest) == 1 else None
            self._put("videos", list(latest.values()), only)

    def put_media(self, media: Media) -> None:
        self._put("media", [media], media.video_id)

    def put_transcript(self, transcript: Transcript, run_id: str) -> None:
        made = rows.transcript_rows(transcript, run_id, self._stamps.next())
        folder = self._folders["transcripts"]
        folder.write(rows.arrow_rows(folder.table, made), transcript.fingerprint)

    def put_upload(self, upload: Upload) -> None:
        self._put("uploads", [upload], upload.key)

    def put_run(self, run: Run) -> None:
        self._put("runs", [run], run.run_id)

    def put_outcome(self, outcome: Outcome) -> None:
        """Buffered; a missing `at` is filled with now."""
        dated = outcome if outcome.at else dataclasses.replace(outcome, at=self._clock.now())
        row = rows.record_row(dated, self._stamps.next())
        self._outcomes.add(rows.arrow_rows(self._folders["outcomes"].table, [row]))

    def put_readings(self, readings: Sequence[Reading]) -> None:
        """Buffered; never raises for what a card says. While the disk refuses, the newest 50,000 wait."""
        self._readings.add(*readings)

    def flush(self) -> None:
        """Writes the outcomes and readings that wait."""
        self._outcomes.flush()
        self._readings.flush()

    def close(self) -> None:
        """Writes what waits and lets go of everything; reading and writing open it again by themselves."""
        try:
            try:
                self._outcomes.close()
            finally:
                self._readings.close()
        except ChannelscribeError:
            for last_chance in self._at_exit:
                last_chance.detach()  # told once, here; not again as a traceback when the process ends
            raise
        finally:
            self._reader.close()
            self.claims.close()

    def __enter__(self) -> Archive:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close()
        except ChannelscribeError as refused:
            if error is None:
                raise
            log.warning("what waited could not be written: %s", refused)  # the error on its way is told

    def videos(self) -> dict[str, Video]:
        """Every video, newest first."""
        return {video.video_id: video for video in rows.records(Video, self._reader.view("videos", _NEWEST_FIRST))}

    def video(self, video_id: str) -> Video | None:
        return self._one(Video, "videos", video_id)

    def media(self) -> dict[str, Media]:
        return {media.video_id: media for media in rows.records(Media, self._reader.view("media"))}

    def media_of(self, video_id: str) -> Media | None:
        return self._one(Media, "media", video_id)

    def has_transcript(self, fingerprint: str, video_id: str | None = None) -> bool:
        """True when a transcript of this fingerprint reads back whole."""
        return self.transcript(fingerprint, video_id) is not None

    def transcript(self, fingerprint: str, video_id: str | None = None) -> Transcript | None:
        """The transcript, or None when there is none or not the whole of it; without `video_id` that of any video."""
        key = clean_text(fingerprint)
        sql = """
            SELECT * FROM raw_transcripts WHERE fingerprint = $1 AND coalesce(video_id = $2, true)
            QUALIFY row_number() OVER (PARTITION BY stamp, "index" ORDER BY stamp) = 1 ORDER BY stamp DESC, "index"
        """
        own = None if video_id is None else clean_text(video_id)
        return rows.newest_whole(self._reader.ask(sql, [key, own], key))

    def transcribed(self) -> set[tuple[str, str]]:
        """Fingerprint and video id of every whole transcript."""
        found = self._reader.ask(WHOLE_TRANSCRIPTS)
        return set(zip(found["fingerprint"].to_pylist(), found["video_id"].to_pylist(), strict=True))

    def transcript_fingerprints(self) -> dict[str, str]:
        """Fingerprint -> video id of every whole transcript; one video where several have the very same sound."""
        return dict(sorted(self.transcribed()))

    def uploads(self) -> dict[tuple[str, str], Upload]:
        found = rows.records(Upload, self._reader.view("uploads"))
        return {(upload.project_id, upload.key): upload for upload in found}

    def upload_of(self, project_id: str, key: str) -> Upload | None:
        where, params = "WHERE project_id = $1 AND key = $2", [clean_text(project_id), clean_text(key)]
        return next(iter(rows.records(Upload, self._reader.view("uploads", where, params, key))), None)

    def outcomes(self, run_id: str | None = None) -> list[Outcome]:
        """Outcomes in the order in which they happened, of one run or of all."""
        where, params = ("WHERE run_id = $1", [clean_text(run_id)]) if run_id is not None else ("", [])
        self.flush()
        return rows.records(Outcome, self._reader.ask(f'{latest(OUTCOMES, where)} ORDER BY "at", stamp', params))

    def runs(self) -> list[Run]:
        return rows.records(Run, self._reader.view("runs", "ORDER BY started_at"))

    def readings(self, run_id: str, since: datetime = _EVER) -> list[Reading]:
        """Everything that is known of the cards of a run, by time."""
        return readings(self._metrics(run_id, "*", since).to_pylist())

    def moments(self, run_id: str) -> list[Moment]:
        """The same as a curve: what totals and pictures need, which is read many times faster."""
        return rows.records(Moment, self._metrics(run_id, ", ".join(f'"{name}"' for name in COLUMNS)))

    def _metrics(self, run_id: str, columns: str, since: datetime = _EVER) -> pa.Table:
        key = clean_text(run_id)
        self._readings.flush()
        newest = latest(GPU_METRICS, 'WHERE run_id = $1 AND "at" >= $2')
        return self._reader.ask(f'SELECT {columns} FROM ({newest}) ORDER BY "at", uuid', [key, since], key)

    def query(self, sql: str, params: Sequence[Any] = ()) -> pd.DataFrame:
        """Any SQL over `videos`, `media`, `segments`, `transcripts`, `uploads`, `outcomes`, `runs`, `gpu_metrics`."""
        frame: pd.DataFrame = self.ask(sql, params).to_pandas()
        return frame

    def ask(self, sql: str, params: Sequence[Any] = ()) -> pa.Table:
        """The same as `query`, as an Arrow table."""
        return self._reader.ask(sql, params)

    def tidy(self) -> dict[str, int]:
        """Compacts every table; says for each how many files went away. Empty when another process is at it."""
        self.flush()
        try:
            with self.root.lock("tidy", timeout_s=0):
                before = self._clock.now().timestamp() - _ABANDONED_S
                for folder in (*TABLES, "archive"):
                    self.root.sweep(folder, before)
                return {name: tidy(folder) for name, folder in self._folders.items()}
        except Transient as error:
            if isinstance(error.__cause__, filelock.Timeout):
                return {}
            raise

    def thin(self, before: datetime, every_s: float = 60.0, *, dry_run: bool = False) -> Thinned:
        """Thins readings of cards from before `before`. Nothing happens while another process compacts."""
        self.flush()
        try:
            with self.root.lock("tidy", timeout_s=0):
                return thin(self._folders["gpu_metrics"], before, every_s, dry_run=dry_run)
        except Transient as error:
            if isinstance(error.__cause__, filelock.Timeout):
                return Thinned()
            raise

    def part_names(self, table: str) -> list[str]:
        """Relative paths of the files of a table, sound ones and others."""
        self.flush()
        return self._folders[table].names()

    def damaged_parts(self) -> list[str]:
        """Relative paths of files of tables that are not whole, after reading every one of them to its end."""
        self.flush()
        damaged: list[str] = []
        for folder in self._folders.values():
            listed = set(folder.names())
            parts = folder.parts()
            folder.drop_broken(parts)
            sound = {part.rel for part in folder.parts()}
            damaged += sorted((listed - sound) & set(folder.names()))
        return damaged

    def _put(self, table: str, records: Sequence[Any], key: str | None) -> None:
        stamp = self._stamps.next()
        made = rows.arrow_rows(self._folders[table].table, [rows.record_row(record, stamp) for record in records])
        self._folders[table].write(made, key)

    def _one(self, kind: type[rows.Record], table: str, video_id: str) -> rows.Record | None:
        key = clean_text(video_id)
        found = self._reader.view(table, "WHERE video_id = $1", [key], key)
        return next(iter(rows.records(kind, found)), None)

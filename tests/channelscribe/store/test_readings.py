"""Readings of a card: kept exactly, hostile values become unknown, old files read, and a kill loses one flush."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from channelscribe.core.curve import moment
from channelscribe.core.errors import EnvironmentFailure
from channelscribe.core.gpu import Decision, GpuSample, Load, Reading
from channelscribe.core.model import Run
from channelscribe.store.archive import Archive
from channelscribe.store.metrics import ReadingWriter
from channelscribe.store.root import DataRoot
from channelscribe.store.schema import GPU_METRICS, RUNS
from tests.channelscribe.cards import BEGIN, a_reading, recorded
from tests.channelscribe.store import children

WRITER = """
    import sys
    from channelscribe.store.archive import Archive
    from channelscribe.store.root import DataRoot
    from tests.channelscribe.cards import a_reading
    place, worker, count, flush_s = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
    with Archive(DataRoot.open(place), readings_s=flush_s) as archive:
        for n in range(count):
            archive.put_readings([a_reading(n, run_id=worker)])
            print(n, flush=True)
            if count > 1000:
                __import__("time").sleep(0.01)
"""


def test_what_was_read_reads_back(archive: Archive) -> None:
    readings = [*recorded("demo", 40), a_reading(100)]
    archive.put_readings(readings[:20])
    archive.put_readings(readings[20:])
    assert archive.readings("run-1") == readings
    assert archive.moments("run-1") == [moment(r) for r in readings]
    assert archive.readings("run-1", BEGIN + timedelta(seconds=39)) == readings[38:]
    assert archive.readings("another") == []
    archive.tidy()
    assert archive.readings("run-1") == readings
    assert archive.query("SELECT max(temp_c) AS peak FROM gpu_metrics")["peak"][0] == max(
        r.sample.temp_c for r in readings if r.sample.temp_c is not None
    )


def test_a_field_that_a_card_does_not_report_stays_unknown(archive: Archive) -> None:
    bare = Reading("run-1", GpuSample("GPU-b", "Bare", BEGIN, 1.0), Load(), Decision(a_reading().decision.zone))
    archive.put_readings([bare])
    assert archive.readings("run-1") == [bare]
    row = archive.ask("SELECT * FROM gpu_metrics").to_pylist()[0]
    optional = {f.name for f in fields(GpuSample) if "None" in str(f.type)}
    assert {name for name in optional if row[name] is not None} == set()


HOSTILE: dict[str, Any] = {
    "nan": math.nan,
    "infinite": -math.inf,
    "beyond 64 bits": 10**30,
    "text": "N/A",
    "a list": [1, 2],
    "huge": 1e308,
    "negative": -5,
}


@pytest.mark.parametrize("value", HOSTILE.values(), ids=HOSTILE)
def test_no_value_of_a_card_stops_the_rows_beside_it(local_archive: Archive, value: Any) -> None:
    wild = a_reading(1, temp_c=value, throttle_mask=value, mem_used_bytes=value, name="\x00\ud800" + str(value))
    local_archive.put_readings([a_reading(0), wild, a_reading(2)])
    found = local_archive.readings("run-1")
    assert [found[0], found[2]] == [a_reading(0), a_reading(2)]
    kept = found[1].sample
    for column in (kept.temp_c, kept.throttle_mask, kept.mem_used_bytes):
        assert column is None or column == float(value)
    assert kept.temp_c is None or math.isfinite(kept.temp_c)


def test_a_reading_without_a_moment_is_told_and_the_others_are_kept(
    local_archive: Archive, caplog: pytest.LogCaptureFixture
) -> None:
    local_archive.put_readings([a_reading(0), a_reading(1, at="yesterday"), a_reading(2)])
    assert len(local_archive.readings("run-1")) == 2
    assert "1 readings of the card have no time" in caplog.text


def test_two_readings_of_one_moment_are_one(local_archive: Archive) -> None:
    for temp_c in (60.0, 61.0):
        local_archive.put_readings([a_reading(0, temp_c=temp_c)])
        local_archive.flush()
    assert [r.sample.temp_c for r in local_archive.readings("run-1")] == [61.0]


def test_a_long_run_is_few_files(local_archive: Archive) -> None:
    folder = local_archive._folders["gpu_metrics"]
    writer = ReadingWriter(folder, local_archive._stamps, roll_up_parts=6)
    flushes = 3 * 6 + 5
    for n in range(flushes):
        writer.write([a_reading(n), a_reading(n, uuid="GPU-b")])
    assert len(local_archive.root.list("gpu_metrics")) == 3 + 5
    assert [r.sample.uuid for r in local_archive.readings("run-1")] == ["GPU-a", "GPU-b"] * flushes
    local_archive.tidy()
    assert len(local_archive.root.list("gpu_metrics")) == 1
    assert len(local_archive.readings("run-1")) == 2 * flushes
    for n in range(flushes, flushes + 7):
        writer.write([a_reading(n)])
    assert len(local_archive.readings("run-1")) == 2 * flushes + 7, "what a compaction took away is not missed"


def test_a_disk_that_refuses_keeps_the_newest_and_says_what_it_gave_up(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Refusing(DataRoot):
        full = True

        def write_bytes(self, rel: str, data: bytes) -> None:
            if self.full:
                raise EnvironmentFailure("The disk is full; free some.", code="disk_full")
            super().write_bytes(rel, data)

    root = Refusing(DataRoot.open(tmp_path)._backend)
    archive = Archive(root, readings_s=0.02)
    archive._readings._most = 100
    for n in range(250):
        archive.put_readings([a_reading(n)])
    with pytest.raises(EnvironmentFailure):
        archive.flush()
    assert "given up" in caplog.text
    root.full = False
    seconds = [r.sample.monotonic_s - 1000 for r in archive.readings("run-1")]
    assert seconds[-1] == 249
    assert seconds == list(range(int(seconds[0]), 250)), "what is given up is the oldest"
    archive.close()


def test_a_killed_run_loses_at_most_one_flush(tmp_path: Path) -> None:
    flush_s = 0.2
    writer = children.start(WRITER, tmp_path, "w", 100_000, flush_s)
    assert writer.stdout is not None
    try:
        for _ in range(100):
            writer.stdout.readline()
    finally:
        writer.kill()
        rest, _ = writer.communicate()
    put = 100 + len(rest.split())
    kept = [r.sample.monotonic_s - 1000 for r in Archive(DataRoot.open(tmp_path)).readings("w")]
    assert kept == list(range(len(kept))), "what is lost is the end, never the middle"
    assert len(kept) >= 60, f"{put} were put, one each 10 ms or more, flushed every {flush_s} s"


def test_processes_and_threads_that_write_at_once_lose_nothing(tmp_path: Path) -> None:
    count = 80
    writers = [children.start(WRITER, tmp_path, worker, count, 0.01) for worker in "ab"]
    with Archive(DataRoot.open(tmp_path), readings_s=0.01) as archive:
        threads = [
            threading.Thread(target=lambda w=w: [archive.put_readings([a_reading(n, w)]) for n in range(count)])
            for w in "cd"
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        archive.tidy()
        for writer in writers:
            _, err = writer.communicate(timeout=60)
            assert writer.returncode == 0, err
        archive.tidy()
        for run_id in "abcd":
            assert [r.sample.monotonic_s - 1000 for r in archive.readings(run_id)] == list(range(count))


def rewrite(archive: Archive, table: str, change: Callable[[pa.Table], pa.Table]) -> None:
    """What an older version wrote: the same part with other columns."""
    (rel,) = archive.root.list(table)
    path = archive.root.local(rel)
    pq.write_table(change(pq.read_table(path)), path)


LATER = ("peak_memory_bytes", "throttled_s", "paused_s", "slowed_s", "pauses", "peak_temp_c", "audio_s_per_joule")


def a_run(run_id: str, **changes: Any) -> Run:
    return replace(Run(run_id, "n", "s", "Completed", {}, {}, datetime(2026, 1, 1, tzinfo=UTC)), **changes)


def test_runs_from_before_the_gpu_columns_still_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first, new = a_run("old", words=7), a_run("new", paused_s=3.5, pauses=1, guard={"temp_c": 75.0})
    with Archive(DataRoot.open(tmp_path)) as archive:
        archive.put_run(first)
        rewrite(archive, "runs", lambda rows: rows.drop_columns([*LATER, "guard"]))
        archive.put_run(new)
    with Archive(DataRoot.open(tmp_path)) as archive:
        assert {run.run_id: run for run in archive.runs()} == {"old": first, "new": new}
        assert archive.query("SELECT sum(paused_s) AS s FROM runs")["s"][0] == 3.5
        assert archive.tidy()["runs"] == 1
        assert {run.run_id: run for run in archive.runs()} == {"old": first, "new": new}
    assert not caplog.records


def test_old_readings_alone_have_the_columns_of_today(tmp_path: Path) -> None:
    with Archive(DataRoot.open(tmp_path)) as archive:
        archive.put_readings([a_reading(0)])
        archive.flush()
        rewrite(archive, "gpu_metrics", lambda rows: rows.drop_columns(["longest_step_s", "ecc_corrected", "xids"]))
    with Archive(DataRoot.open(tmp_path)) as archive:
        (found,) = archive.readings("run-1")
    assert (found.load.longest_step_s, found.sample.ecc_corrected, found.sample.xids) == (0.0, None, ())
    assert found.sample.processes == a_reading(0).sample.processes


def test_a_file_that_lacks_what_was_always_there_is_no_old_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Archive(DataRoot.open(tmp_path)) as archive:
        archive.put_run(a_run("x"))
        rewrite(archive, "runs", lambda rows: rows.drop_columns(["words"]))
    with Archive(DataRoot.open(tmp_path)) as archive, caplog.at_level(logging.WARNING):
        assert archive.runs() == []
    assert "its columns are not those of runs" in caplog.text


def test_every_field_has_a_column() -> None:
    parts = {f.name for kind in (GpuSample, Load, Decision) for f in fields(kind)}
    renamed = {"value": "cause_value", "limit": "cause_limit", "unit": "cause_unit"}
    assert {renamed.get(name, name) for name in parts} | {"run_id", "stamp"} == set(GPU_METRICS.schema.names)
    assert set(RUNS.added) == {*LATER, "guard"}

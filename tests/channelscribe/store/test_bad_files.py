"""A file that is not what it should be is named once and left out; what is sound is read all the same."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from channelscribe.store.archive import Archive
from channelscribe.store.schema import TABLES, VIDEOS
from tests.channelscribe.records import a_transcript, a_video


def only_part(archive: Archive, table: str) -> str:
    (rel,) = archive.root.list(table)
    return rel


def rewritten(archive: Archive, change: Callable[[pa.Table], pa.Table]) -> None:
    rel = only_part(archive, "transcripts")
    path = archive.root.local(rel)
    pq.write_table(change(pq.read_table(path)).cast(TABLES["transcripts"].schema), path)


def half(data: bytes) -> bytes:
    return data[: len(data) // 2]


def flipped(data: bytes) -> bytes:
    middle = bytearray(data)
    for place in range(40, min(400, len(middle) // 2)):
        middle[place] ^= 0xFF
    return bytes(middle)


def another_schema(_: bytes) -> bytes:
    return foreign(pa.table({"video_id": [1], "title": ["x"]}))


def foreign(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    return bytes(sink.getvalue())


def newer_version(data: bytes) -> bytes:
    table = pq.read_table(pa.BufferReader(data))
    return foreign(table.replace_schema_metadata({**table.schema.metadata, b"channelscribe.schema": b"2"}))


BAD: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "text": lambda _: b"this is no parquet at all, but it is long enough" * 10,
    "half": half,
    "headless": lambda data: data[len(data) // 2 :],
    "flipped": flipped,
    "another schema": another_schema,
    "newer": newer_version,
    "another table": lambda _: foreign(TABLES["media"].schema.empty_table()),
}


@pytest.mark.parametrize("spoil", BAD.values(), ids=BAD.keys())
def test_a_bad_file_is_named_once_and_left_out(
    archive: Archive, spoil: Callable[[bytes], bytes], caplog: pytest.LogCaptureFixture
) -> None:
    archive.put_videos([a_video("bad")])
    good = archive.root.read_bytes(only_part(archive, "videos"))
    archive.root.delete(only_part(archive, "videos"))
    archive.root.write_bytes("videos/stranger's [one].parquet", spoil(good))
    archive.put_videos([a_video("good")])
    with Archive(archive.root) as fresh, caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert set(fresh.videos()) == {"good"}
            assert fresh.video("good") is not None
        fresh.tidy()
        warnings = [r for r in caplog.records if r.levelno == logging.WARNING]
        assert len(warnings) == 1
        assert "videos/stranger's [one].parquet" in warnings[0].getMessage()
    assert archive.root.exists("videos/stranger's [one].parquet"), "what is not ours is never deleted"


def test_a_sound_file_under_another_name_is_read(archive: Archive) -> None:
    archive.put_videos([a_video("one")])
    rel = only_part(archive, "videos")
    archive.root.write_bytes("videos/renamed.parquet", archive.root.read_bytes(rel))
    archive.root.delete(rel)
    assert set(archive.videos()) == {"one"}
    assert archive.video("one") == a_video("one")


def test_what_readers_must_not_see_they_do_not_see(archive: Archive, caplog: pytest.LogCaptureFixture) -> None:
    for name in (".tmp-1-x", ".hidden.parquet", "_half.parquet", "notes.txt"):
        archive.root.write_bytes(f"videos/{name}", b"half")
    assert archive.videos() == {}
    assert not caplog.records


def test_a_forged_stamp_from_the_far_future_does_not_stop_time(archive: Archive) -> None:
    archive.put_videos([a_video("one", title="old")])
    data = archive.root.read_bytes(only_part(archive, "videos"))
    archive.root.write_bytes(f"videos/part-{'9' * 20}-00000000-many.parquet", data)
    with Archive(archive.root) as other:
        other.put_videos([a_video("one", title="new")])
        assert other.videos()["one"].title == "new"


def damaged_pages(path: Path, seed: int) -> None:
    data = bytearray(path.read_bytes())
    rng = random.Random(seed)
    for _ in range(30):
        data[rng.randrange(4, len(data) // 3)] ^= 1 << rng.randrange(8)
    path.write_bytes(data)


@pytest.mark.parametrize("seed", range(8))
def test_a_transcript_damaged_on_the_disk_does_not_count_as_done(local_archive: Archive, seed: int) -> None:
    local_archive.put_transcript(a_transcript("f", segments=300), "run")
    local_archive.put_transcript(a_transcript("g"), "run")
    path = next(p for p in map(local_archive.root.local, local_archive.root.list("transcripts")) if "part" in p.name)
    damaged_pages(path, seed)
    with Archive(local_archive.root) as fresh:
        assert set(fresh.transcript_fingerprints()) == {"g"}
        assert not fresh.has_transcript("f")
        fresh.put_transcript(a_transcript("f", segments=300), "run-2")
        assert fresh.transcript("f") == a_transcript("f", segments=300)


CUTS: dict[str, Callable[[pa.Table], pa.Table]] = {
    "last segment": lambda t: t.slice(0, len(t) - 1),
    "first segment": lambda t: t.slice(1),
    "one twice": lambda t: pa.concat_tables([t.slice(0, len(t) - 1), t.slice(0, 1)]),
    "announces less": lambda t: t.set_column(
        t.schema.get_field_index("segment_count"), "segment_count", pa.array([9, *[3] * (len(t) - 1)])
    ),
    "no rows": lambda t: t.slice(0, 0),
}


@pytest.mark.parametrize("cut", CUTS.values(), ids=CUTS.keys())
def test_a_transcript_without_all_its_rows_is_not_there(
    local_archive: Archive, cut: Callable[[pa.Table], pa.Table]
) -> None:
    local_archive.put_transcript(a_transcript("f", segments=4), "run")
    rewritten(local_archive, cut)
    with Archive(local_archive.root) as fresh:
        assert not fresh.has_transcript("f")
        assert fresh.transcript("f") is None
        assert fresh.transcript_fingerprints() == {}
        assert fresh.query("SELECT * FROM segments").empty
        assert fresh.query("SELECT * FROM transcripts").empty


def test_an_older_whole_transcript_stands_in_for_a_broken_newer_one(local_archive: Archive) -> None:
    local_archive.put_transcript(a_transcript("f", segments=4), "run-2")
    rewritten(local_archive, lambda t: t.slice(1))
    older = local_archive.root.local(only_part(local_archive, "transcripts"))
    table = pq.read_table(older)
    stamp = pa.array(["0" * 20 + "-aaaaaaaa"] * 2)
    whole = pa.concat_tables([table.slice(0, 2)]).set_column(table.schema.get_field_index("stamp"), "stamp", stamp)
    whole = whole.set_column(whole.schema.get_field_index("segment_count"), "segment_count", pa.array([2, 2]))
    local_archive.root.write_bytes("transcripts/older.parquet", foreign(whole.cast(TABLES["transcripts"].schema)))
    found = local_archive.transcript("f")
    assert found is not None
    assert len(found.segments) == 2
    assert local_archive.transcript_fingerprints() == {"f": found.video_id}
    local_archive.tidy()
    assert local_archive.transcript("f") == found


def test_a_row_that_is_no_record_is_skipped_and_said(local_archive: Archive, caplog: pytest.LogCaptureFixture) -> None:
    local_archive.put_videos([a_video("good"), a_video("odd")])
    path = local_archive.root.local(only_part(local_archive, "videos"))
    table = pq.read_table(path)
    kinds = pa.array(["upload" if v == "good" else "hologram" for v in table["video_id"].to_pylist()])
    pq.write_table(table.set_column(table.schema.get_field_index("kind"), "kind", kinds).cast(VIDEOS.schema), path)
    with Archive(local_archive.root) as fresh:
        assert set(fresh.videos()) == {"good"}
    assert any("odd" in r.getMessage() for r in caplog.records)

"""Compaction makes few files of many, loses nothing at any moment, and disturbs nobody."""

from __future__ import annotations

import threading

import pytest

from channelscribe.core.errors import EnvironmentFailure
from channelscribe.core.model import OutcomeState
from channelscribe.store.archive import Archive
from channelscribe.store.root import DataRoot
from tests.channelscribe.records import a_media, a_transcript, a_video, an_outcome, an_upload


def fill(archive: Archive, count: int = 6) -> None:
    for n in range(count):
        archive.put_videos([a_video(f"v{n}"), a_video("shared", title=str(n))])
        archive.put_media(a_media(f"v{n}"))
        archive.put_transcript(a_transcript(f"f{n}", f"v{n}", segments=n % 3), "run")
        archive.put_upload(an_upload(f"f{n}", f"k{n}"))
        archive.put_outcome(an_outcome(OutcomeState.DONE, video_id=f"v{n}"))
        archive.flush()


def content(archive: Archive) -> tuple[object, ...]:
    transcripts = {key: archive.transcript(key) for key in sorted(archive.transcript_fingerprints())}
    return archive.videos(), archive.media(), transcripts, archive.uploads(), archive.outcomes(), archive.runs()


def test_compaction_changes_files_and_nothing_else(archive: Archive) -> None:
    fill(archive)
    before = content(archive)
    gone = archive.tidy()
    filled = {"videos": 5, "media": 5, "transcripts": 5, "uploads": 5, "outcomes": 5}
    assert gone == {**filled, "runs": 0, "gpu_metrics": 0}
    for table in ("videos", "media", "transcripts", "uploads", "outcomes"):
        assert len(archive.root.list(table)) == 1
    assert content(archive) == before
    assert content(Archive(archive.root)) == before
    assert set(archive.tidy().values()) == {0}
    fill(archive, 3)
    assert set(archive.videos()) == {*(f"v{n}" for n in range(6)), "shared"}
    assert archive.videos()["shared"].title == "2"


def test_superseded_rows_go_away(archive: Archive) -> None:
    for n in range(5):
        archive.put_videos([a_video("v", title=str(n))])
    archive.tidy()
    assert archive.ask("SELECT count(*) AS n FROM raw_videos")["n"].to_pylist() == [1]


def test_a_kill_between_writing_and_deleting_costs_only_space(archive: Archive) -> None:
    fill(archive)
    before = content(archive)
    originals = {
        rel: archive.root.read_bytes(rel) for table in ("videos", "transcripts") for rel in archive.root.list(table)
    }
    archive.tidy()
    for rel, data in originals.items():
        archive.root.write_bytes(rel, data)
    assert content(Archive(archive.root)) == before
    archive.tidy()
    assert len(archive.root.list("transcripts")) == 1
    assert content(archive) == before


class Unwritable(DataRoot):
    """A root on which nothing new can be written."""

    def write_bytes(self, rel: str, data: bytes) -> None:
        raise EnvironmentFailure("The disk is full; free some.", code="disk_full")


def test_a_compaction_that_cannot_write_deletes_nothing(archive: Archive) -> None:
    fill(archive)
    before = content(archive)
    with pytest.raises(EnvironmentFailure):
        Archive(Unwritable(archive.root._backend)).tidy()
    assert content(archive) == before


def test_only_one_compaction_runs(archive: Archive) -> None:
    fill(archive, 3)
    with archive.root.lock("tidy"):
        assert archive.tidy() == {}
    assert archive.tidy()["videos"] == 2


def test_readers_beside_a_compaction_see_every_row(archive: Archive) -> None:
    fill(archive, 8)
    stop = threading.Event()
    failures: list[BaseException] = []
    reads = 0

    def read() -> None:
        nonlocal reads
        reader = Archive(archive.root)
        try:
            while not stop.is_set():
                assert len(reader.transcript_fingerprints()) >= 8
                assert len(reader.media()) == 8
                assert reader.media_of("v7") == a_media("v7")
                reads += 1
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    for n in range(5):
        archive.put_transcript(a_transcript(f"more{n}"), "run")
        archive.put_media(a_media("v7"))
        archive.tidy()
    stop.set()
    for thread in threads:
        thread.join()
    assert failures == []
    assert reads > 0


def test_what_is_put_while_a_compaction_runs_stays(archive: Archive) -> None:
    fill(archive, 5)
    running = threading.Thread(target=lambda: [archive.tidy() for _ in range(10)])
    running.start()
    other = Archive(archive.root)
    for n in range(30):
        other.put_videos([a_video(f"late{n}")])
    running.join()
    assert {f"late{n}" for n in range(30)} <= set(archive.videos())

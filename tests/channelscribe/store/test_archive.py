"""Of several rows about one thing the latest counts, on a folder and in an object store."""

from __future__ import annotations

import dataclasses
import logging
import threading
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from channelscribe.core.errors import UsageError
from channelscribe.core.model import Availability, OutcomeState, Run, Segment, Stage, Video, VideoKind
from channelscribe.store.archive import Archive
from channelscribe.store.root import DataRoot
from tests.channelscribe.records import NOON, a_media, a_transcript, a_video, an_outcome, an_upload


class Clock:
    """A clock that stands where it is put."""

    def __init__(self, moment: datetime = NOON) -> None:
        self.moment = moment

    def now(self) -> datetime:
        return self.moment

    def monotonic(self) -> float:
        return self.moment.timestamp()

    def sleep(self, seconds: float) -> None:
        self.moment += timedelta(seconds=seconds)


def a_run(run_id: str = "run-1", **changes: object) -> Run:
    run = Run(run_id, "sync", "@songs", "Completed", {"latest": 3}, {"torch": "2"}, NOON)
    return dataclasses.replace(run, **changes)  # type: ignore[arg-type]


def test_an_empty_archive_answers(archive: Archive) -> None:
    assert archive.videos() == {}
    assert archive.media() == {}
    assert archive.uploads() == {}
    assert archive.outcomes() == []
    assert archive.runs() == []
    assert archive.transcript_fingerprints() == {}
    assert archive.video("x") is None
    assert archive.media_of("x") is None
    assert archive.transcript("x") is None
    assert not archive.has_transcript("x")
    assert set(archive.tidy().values()) == {0}
    for view in ("videos", "media", "segments", "transcripts", "uploads", "outcomes", "runs"):
        assert archive.query(f"SELECT * FROM {view}").empty


def test_every_record_comes_back_as_it_was(archive: Archive) -> None:
    video = a_video(published_at=NOON, kind=VideoKind.SHORT, availability=Availability.PUBLIC, discovered_at=NOON)
    run = a_run(ended_at=NOON, words=5, gpu_busy_share=0.5)
    outcome = an_outcome(OutcomeState.FAILED, "transient", retry_after=NOON)
    archive.put_videos([video])
    archive.put_media(a_media())
    archive.put_transcript(a_transcript("f1"), "run-1")
    archive.put_upload(an_upload("f1", "key.txt"))
    archive.put_outcome(outcome)
    archive.put_run(run)
    with Archive(archive.root) as other:
        archive.flush()
        assert other.videos() == {video.video_id: video}
        assert other.video(video.video_id) == video
        assert other.media() == {video.video_id: a_media()}
        assert other.media_of(video.video_id) == a_media()
        assert other.transcript("f1") == a_transcript("f1")
        assert other.has_transcript("f1")
        assert other.transcript_fingerprints() == {"f1": video.video_id}
        assert other.uploads() == {("p", "key.txt"): an_upload("f1", "key.txt")}
        assert other.outcomes() == [outcome]
        assert other.runs() == [run]


def test_the_latest_row_wins(archive: Archive) -> None:
    for n in range(3):
        archive.put_videos([a_video(title=f"title {n}"), a_video("x" * 11)])
        archive.put_media(a_media(sha256=f"{n}" * 64))
        archive.put_upload(dataclasses.replace(an_upload("f", "k"), chunks=n))
        archive.put_run(a_run(words=n))
    assert archive.videos()[a_video().video_id].title == "title 2"
    assert archive.video(a_video().video_id) == a_video(title="title 2")
    assert len(archive.videos()) == 2
    assert archive.media_of(a_video().video_id) == a_media(sha256="2" * 64)
    assert archive.uploads()[("p", "k")].chunks == 2
    assert [r.words for r in archive.runs()] == [2]


def test_within_one_call_the_last_of_a_key_wins(archive: Archive) -> None:
    archive.put_videos([a_video(title="first"), a_video(title="last")])
    archive.put_videos([])
    assert archive.videos() == {a_video().video_id: a_video(title="last")}


def test_a_clock_that_stands_or_goes_back_changes_nothing(root: DataRoot) -> None:
    clock = Clock()
    for n, moment in enumerate((NOON, NOON, NOON - timedelta(days=400))):
        clock.moment = moment
        with Archive(root, clock) as archive:
            archive.put_videos([a_video(title=f"{n}a")])
            archive.put_videos([a_video(title=f"{n}b")])
        assert Archive(root).videos()[a_video().video_id].title == f"{n}b"


def test_one_document_in_two_projects_is_two(archive: Archive) -> None:
    archive.put_upload(an_upload("f", "k", "p1"))
    archive.put_upload(an_upload("f", "k", "p2"))
    assert set(archive.uploads()) == {("p1", "k"), ("p2", "k")}


def test_an_outcome_put_twice_is_one_and_a_retry_another(archive: Archive) -> None:
    first = an_outcome(OutcomeState.FAILED, "transient")
    again = dataclasses.replace(first, at=NOON + timedelta(minutes=1), state=OutcomeState.DONE)
    for outcome in (again, first, first):
        archive.put_outcome(outcome)
    archive.flush()
    archive.put_outcome(first)
    assert archive.outcomes("run-1") == [first, again]
    assert archive.outcomes("another run") == []


def test_an_outcome_without_a_moment_happened_now(root: DataRoot) -> None:
    with Archive(root, Clock()) as archive:
        archive.put_outcome(dataclasses.replace(an_outcome(OutcomeState.DONE), at=None))
        assert [o.at for o in archive.outcomes()] == [NOON]


def test_outcomes_reach_the_disk_by_themselves(root: DataRoot) -> None:
    archive = Archive(root, flush_s=0.05)
    reader = Archive(root)
    for n in range(2):
        archive.put_outcome(an_outcome(OutcomeState.DONE, run_id=f"run-{n}"))
        waited = threading.Event()
        for _ in range(400):
            if reader.outcomes(f"run-{n}"):
                break
            waited.wait(0.05)
        assert len(reader.outcomes(f"run-{n}")) == 1


def test_a_closed_archive_opens_again_by_itself(archive: Archive) -> None:
    archive.put_outcome(an_outcome(OutcomeState.DONE))
    archive.close()
    archive.close()
    archive.put_outcome(an_outcome(OutcomeState.DONE, run_id="run-2"))
    archive.put_videos([a_video()])
    assert len(archive.outcomes()) == 2
    assert len(archive.videos()) == 1


def test_silence_is_a_whole_transcript(archive: Archive) -> None:
    silent = dataclasses.replace(a_transcript("f"), segments=(), speech_s=0.0)
    archive.put_transcript(silent, "run")
    assert archive.has_transcript("f")
    assert archive.transcript("f") == silent
    assert archive.transcript_fingerprints() == {"f": silent.video_id}
    assert archive.query("SELECT * FROM segments").empty
    assert archive.query("SELECT segment_count, text, word_count FROM transcripts").values.tolist() == [[0, "", 0]]


def test_a_transcript_made_again_replaces_the_older_one(archive: Archive) -> None:
    archive.put_transcript(a_transcript("f", segments=5), "run-1")
    archive.put_transcript(a_transcript("f", segments=2), "run-2")
    assert archive.transcript("f") == a_transcript("f", segments=2)
    assert archive.query('SELECT "index" FROM segments ORDER BY 1')["index"].tolist() == [0, 1]
    assert archive.query("SELECT run_id, segment_count FROM transcripts").values.tolist() == [["run-2", 2]]


def test_views_join_and_count(archive: Archive) -> None:
    archive.put_videos([a_video()])
    archive.put_transcript(a_transcript("f"), "run-1")
    found = archive.query(
        "SELECT v.title, count(*) AS n, sum(len(s.text)) AS letters FROM segments s JOIN videos v USING (video_id) "
        "WHERE s.run_id = ? GROUP BY v.title",
        ("run-1",),
    )
    assert found.values.tolist() == [[a_video().title, 3, sum(len(s.text) for s in a_transcript("f").segments)]]
    whole = archive.query("SELECT * FROM transcripts").iloc[0]
    assert whole["text"] == a_transcript("f").text
    assert whole["word_count"] == len(a_transcript("f").text.split())
    assert whole["run_id"] == "run-1"


@pytest.mark.parametrize("sql", ["SELEC 1", "SELECT * FROM nothing_like_it", "SELECT nope FROM videos", ""])
def test_a_bad_question_is_the_askers(archive: Archive, sql: str) -> None:
    archive.put_videos([a_video()])
    if sql:
        with pytest.raises(UsageError) as caught:
            archive.query(sql)
        assert "\n" not in caught.value.reason
    assert len(archive.videos()) == 1


BAD_TRANSCRIPTS = {
    "no fingerprint": {"fingerprint": ""},
    "same number twice": {"segments": (a_transcript("f").segments[0],) * 2},
    "number below zero": {"segments": (dataclasses.replace(a_transcript("f").segments[0], index=-1),)},
    "no time": {"segments": (Segment(0, float("nan"), 1.0, "x", 0.0, 0.0, 0.0),)},
    "text is no text": {"segments": (Segment(0, 0.0, 1.0, 7, 0.0, 0.0, 0.0),)},  # type: ignore[arg-type]
    "no language": {"language": None},
}


@pytest.mark.parametrize("changes", BAD_TRANSCRIPTS.values(), ids=BAD_TRANSCRIPTS.keys())
def test_a_transcript_that_could_not_be_read_back_is_refused(archive: Archive, changes: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        archive.put_transcript(dataclasses.replace(a_transcript("f"), **changes), "run")  # type: ignore[arg-type]
    assert archive.transcript_fingerprints() == {}
    archive.put_transcript(a_transcript("f"), "run")
    assert archive.has_transcript("f")


@pytest.mark.parametrize(
    "changes",
    [{"title": 7}, {"title": None}, {"duration_s": "long"}, {"published_at": "yesterday"}, {"video_id": None}],
)
def test_a_record_of_wrong_types_is_refused_and_the_next_is_taken(archive: Archive, changes: dict[str, object]) -> None:
    bad = dataclasses.replace(a_video(), **changes)  # type: ignore[arg-type]
    with pytest.raises(UsageError) as caught:
        archive.put_videos([bad])
    assert caught.value.code == "bad_record"
    archive.put_videos([a_video()])
    assert archive.videos() == {a_video().video_id: a_video()}


def test_a_bad_outcome_does_not_harm_those_that_wait(archive: Archive) -> None:
    archive.put_outcome(an_outcome(OutcomeState.DONE))
    with pytest.raises(UsageError):
        archive.put_outcome(dataclasses.replace(an_outcome(OutcomeState.DONE), seconds="long"))  # type: ignore[arg-type]
    with pytest.raises(UsageError):
        archive.put_media(dataclasses.replace(a_media(), bytes=1 << 70))
    assert len(archive.outcomes()) == 1


def test_moments_of_any_zone_come_back_as_utc(archive: Archive) -> None:
    there = datetime(2026, 6, 1, 14, 30, tzinfo=timezone(timedelta(hours=5, minutes=30)))
    archive.put_videos([a_video(published_at=there, scheduled_at=there.replace(tzinfo=None))])
    read = archive.videos()[a_video().video_id]
    assert read.published_at == there
    assert read.published_at is not None
    assert read.published_at.tzinfo is UTC
    assert read.scheduled_at == datetime(2026, 6, 1, 14, 30, tzinfo=UTC)


HOSTILE = [
    "nul\x00inside",
    "lone \ud800 and \udfff",
    "👩🏽‍🚀 مرحبا שלום \u202eevil",
    "'; DROP TABLE videos; --",
    "x" * (1 << 20),
]


@pytest.mark.parametrize("text", HOSTILE, ids=["nul", "surrogate", "scripts", "sql", "megabyte"])
def test_hostile_text_is_kept_or_cleaned(archive: Archive, text: str) -> None:
    archive.put_videos([Video(text[:60], text, description=text)])
    archive.put_transcript(dataclasses.replace(a_transcript("f"), video_id=text[:60]), text[:60])
    archive.put_outcome(dataclasses.replace(an_outcome(OutcomeState.FAILED), reason=text, video_id=text[:60]))
    archive.put_run(a_run(source=text, ended_at=None))
    video = archive.video(text[:60])
    assert video is not None
    if "\x00" not in text and "\ud800" not in text:
        assert video.title == text
    assert video.title.encode("utf-8")
    assert archive.outcomes()[0].reason == archive.videos()[video.video_id].description == archive.runs()[0].source
    assert list(archive.transcript_fingerprints().values()) == [video.video_id]
    archive.tidy()
    assert archive.video(text[:60]) == video


def test_parameters_of_any_kind_are_kept_as_what_they_show(archive: Archive) -> None:
    odd: dict[Any, Any] = {
        "when": NOON,
        "stage": Stage.UPLOAD,
        "nan": float("nan"),
        "many": {3},
        7: ("a", None, True),
        "big": 1 << 80,
    }
    archive.put_run(dataclasses.replace(a_run(), parameters=odd))
    assert archive.runs()[0].parameters == {
        "when": str(NOON),
        "stage": "upload",
        "nan": None,
        "many": [3],
        "7": ["a", None, True],
        "big": 1 << 80,
    }


def test_threads_write_and_read_at_once(archive: Archive, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    failures: list[BaseException] = []

    def work(worker: int) -> None:
        try:
            for n in range(15):
                key = f"{worker}-{n}"
                archive.put_videos([a_video(key)])
                archive.put_transcript(a_transcript(key, key), "run")
                archive.put_outcome(an_outcome(OutcomeState.DONE, video_id=key))
                assert archive.has_transcript(key)
                assert archive.video(key) is not None
                if n % 5 == worker:
                    archive.tidy()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(archive.videos()) == len(archive.outcomes()) == len(archive.transcript_fingerprints()) == 60
    assert not caplog.records

"""`channelscribe status` tells from the tables alone where every video stands and why."""

from __future__ import annotations

import dataclasses
from datetime import timedelta

import pytest

from channelscribe.core.model import OutcomeState, Stage
from channelscribe.store.archive import Archive
from channelscribe.store.status import Totals, VideoStatus, totals, video_status
from tests.channelscribe.records import NOON, a_media, a_transcript, a_video, an_outcome, an_upload

FAILED, DONE, SKIPPED = OutcomeState.FAILED, OutcomeState.DONE, OutcomeState.SKIPPED
ID = a_video().video_id


def one(archive: Archive) -> VideoStatus:
    (status,) = video_status(archive)
    return status


def test_an_empty_archive_has_no_videos(archive: Archive) -> None:
    assert video_status(archive) == []
    assert totals(archive) == Totals(0, 0, 0, 0, 0.0, 0, 0)


def test_a_video_walks_through_its_stages(archive: Archive) -> None:
    archive.put_videos([a_video(published_at=NOON)])
    first = one(archive)
    assert (first.stage, first.state, first.attempts, first.words) == ("discovered", "pending", 0, 0)
    assert (first.title, first.channel_title, first.published_at) == (a_video().title, "Old Songs", NOON)
    archive.put_outcome(an_outcome(DONE))
    archive.put_media(a_media())
    assert (one(archive).stage, one(archive).state, one(archive).language) == ("downloaded", "pending", "en")
    archive.put_outcome(an_outcome(SKIPPED, stage=Stage.UPLOAD, minutes=1))
    archive.put_transcript(a_transcript("f"), "run-1")
    archive.put_upload(dataclasses.replace(an_upload("f", "k"), verified_at=None, status="queued"))
    assert (one(archive).stage, one(archive).state) == ("transcribed", "pending")
    archive.put_upload(an_upload("f", "k"))
    last = one(archive)
    assert (last.stage, last.state, last.words) == ("uploaded", "done", 15)
    assert totals(archive) == Totals(1, 1, 0, 0, 60.0, 15, 1)


def test_without_any_upload_a_transcript_is_the_end(archive: Archive) -> None:
    archive.put_videos([a_video(), a_video("other")])
    archive.put_media(a_media())
    archive.put_transcript(a_transcript("f"), "run-1")
    assert {s.video_id: s.state for s in video_status(archive)} == {ID: "done", "other": "pending"}
    archive.put_outcome(an_outcome(FAILED, "transient", stage=Stage.UPLOAD, video_id="other"))
    assert {s.video_id: s.state for s in video_status(archive)} == {ID: "pending", "other": "failed"}


def test_a_failure_tells_why_how_often_and_when_again(archive: Archive) -> None:
    archive.put_videos([a_video()])
    later = NOON + timedelta(hours=5)
    archive.put_outcome(an_outcome(FAILED, "transient", minutes=0))
    archive.put_outcome(an_outcome(FAILED, "not_ready", minutes=1, retry_after=later))
    archive.put_outcome(an_outcome(SKIPPED, minutes=2))
    status = one(archive)
    assert (status.state, status.stage, status.attempts) == ("failed", "discovered", 2)
    assert (status.failure_class, status.code, status.reason) == ("not_ready", "not_ready", "It is not_ready.")
    assert (status.retry_after, status.last_at) == (later, NOON + timedelta(minutes=1))
    assert video_status(archive, failed_only=True) == [status]
    assert totals(archive) == Totals(1, 0, 1, 0, 0.0, 0, 0)


def test_a_failure_that_was_overcome_is_no_failure(archive: Archive) -> None:
    archive.put_videos([a_video()])
    archive.put_outcome(an_outcome(FAILED, "transient", minutes=0))
    archive.put_outcome(an_outcome(DONE, minutes=1))
    status = one(archive)
    assert (status.state, status.failure_class, status.reason, status.retry_after) == ("pending", "", "", None)
    assert video_status(archive, failed_only=True) == []


@pytest.mark.parametrize(("minutes", "state"), [(-5.0, "done"), (5.0, "failed")])
def test_a_verified_document_heals_only_failures_before_it(archive: Archive, minutes: float, state: str) -> None:
    archive.put_videos([a_video()])
    archive.put_media(a_media())
    archive.put_transcript(a_transcript("f"), "run-1")
    archive.put_upload(an_upload("f", "k"))
    archive.put_outcome(an_outcome(FAILED, "poisoned", stage=Stage.TRANSCRIBE, minutes=minutes))
    assert (one(archive).stage, one(archive).state) == ("uploaded", state)


def test_a_video_that_was_tried_but_never_listed_is_shown(archive: Archive) -> None:
    archive.put_outcome(an_outcome(FAILED, "permanent", video_id="unlisted"))
    archive.put_outcome(an_outcome(FAILED, "throttled", stage=Stage.DISCOVER, video_id=""))
    status = one(archive)
    assert (status.video_id, status.title, status.state) == ("unlisted", "The raven", "failed")


def test_one_video_with_several_transcripts_counts_once(archive: Archive) -> None:
    archive.put_videos([a_video()])
    archive.put_media(a_media())
    archive.put_transcript(a_transcript("f1", segments=9), "run-1")
    archive.put_transcript(dataclasses.replace(a_transcript("f2", segments=2), language="de"), "run-2")
    assert (one(archive).words, one(archive).language) == (10, "de")
    assert totals(archive).words == 10
    assert totals(archive).audio_s == 60.0


def test_newest_first(archive: Archive) -> None:
    archive.put_videos(
        [a_video(f"v{n}", published_at=NOON + timedelta(days=n)) for n in range(3)] + [a_video("dateless")]
    )
    assert [s.video_id for s in video_status(archive)] == ["v2", "v1", "v0", "dateless"]
    assert list(archive.videos()) == ["v2", "v1", "v0", "dateless"]

"""What a run leaves alone, what it does, and what it does again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from channelscribe.asr.registry import expected_fingerprint
from channelscribe.core.model import OutcomeState, Stage
from channelscribe.core.profile import TranscriptionProfile
from channelscribe.ledger import Plan, plan
from channelscribe.odin.publish import document_key
from channelscribe.store.archive import Archive
from channelscribe.store.root import DataRoot
from tests.channelscribe.records import NOON, a_media, a_transcript, a_video, an_outcome, an_upload

MODEL = Path(__file__).resolve().parents[1] / "speech_model" / "checkpoint"
PROFILE = TranscriptionProfile(model=str(MODEL), window_s=8.0)


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    with Archive(DataRoot.open(tmp_path)) as opened:
        yield opened


def planned(archive: Archive, *, project_id: str | None = "p", run_id: str = "run-2", **more: bool) -> Plan:
    archive.flush()
    return plan(archive, [a_video()], PROFILE, project_id=project_id, run_id=run_id, now=NOON, **more)


def finish(archive: Archive, profile: TranscriptionProfile = PROFILE) -> None:
    media = a_media()
    fingerprint = expected_fingerprint(profile, media.sha256)
    archive.put_media(media)
    archive.put_transcript(a_transcript(fingerprint), "run-1")
    archive.put_upload(an_upload(fingerprint, document_key(media.stem)))


def test_an_empty_archive_leaves_everything_to_do(archive: Archive) -> None:
    assert [v.video_id for v in planned(archive).todo] == [a_video().video_id]


def test_a_whole_chain_is_done(archive: Archive) -> None:
    finish(archive)
    assert planned(archive).done and not planned(archive).todo


def test_another_project_another_model_setting_and_changed_media_are_work_again(archive: Archive) -> None:
    finish(archive)
    assert planned(archive, project_id="other").todo
    changed = PROFILE.model_copy(update={"window_s": 6.0})
    assert plan(archive, [a_video()], changed, project_id="p", run_id="r", now=NOON).todo
    faster = PROFILE.model_copy(update={"batch_size": 64, "device": "cpu", "pool_mib": 32})
    assert plan(archive, [a_video()], faster, project_id="p", run_id="r", now=NOON).done
    archive.put_media(a_media(sha256="ee" * 32))
    assert planned(archive).todo


def test_without_a_knowledge_base_the_transcript_is_the_end(archive: Archive) -> None:
    finish(archive)
    assert planned(archive, project_id=None).done


@pytest.mark.parametrize("failure", ["permanent", "needs_access", "geo"])
def test_a_hopeless_video_is_parked_but_not_for_the_run_that_is_retried(archive: Archive, failure: str) -> None:
    archive.put_outcome(an_outcome(OutcomeState.FAILED, failure))
    parked = planned(archive).parked
    assert parked[0].outcome.failure_class == failure
    assert planned(archive, run_id="run-1").todo
    assert planned(archive, retry_parked=True).todo


@pytest.mark.parametrize("failure", ["transient", "refused", "throttled", "blocked", "environment", "bug"])
def test_a_passing_failure_is_tried_again(archive: Archive, failure: str) -> None:
    archive.put_outcome(an_outcome(OutcomeState.FAILED, failure, retry_after=NOON + timedelta(days=1)))
    assert planned(archive).todo


def test_a_premiere_waits_for_its_hour(archive: Archive) -> None:
    archive.put_outcome(an_outcome(OutcomeState.FAILED, "not_ready", retry_after=NOON + timedelta(minutes=1)))
    assert planned(archive).parked
    archive.put_outcome(an_outcome(OutcomeState.FAILED, "not_ready", retry_after=NOON, minutes=1))
    assert planned(archive).todo


def test_poisoned_media_is_fetched_afresh_once_then_quarantined(archive: Archive) -> None:
    archive.put_outcome(an_outcome(OutcomeState.FAILED, "poisoned", stage=Stage.TRANSCRIBE))
    once = planned(archive)
    assert [v.video_id for v in once.todo] == list(once.afresh)
    archive.put_outcome(an_outcome(OutcomeState.FAILED, "poisoned", stage=Stage.TRANSCRIBE, minutes=5))
    assert planned(archive).parked and not planned(archive).todo


def test_media_that_another_run_mends_while_we_plan_are_not_taken_for_the_bad_ones(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive.put_media(a_media())
    archive.put_outcome(an_outcome(OutcomeState.FAILED, "poisoned", stage=Stage.TRANSCRIBE))
    archive.flush()
    outcomes = archive.outcomes
    better = replace(a_media(sha256="ee" * 32), downloaded_at=NOON + timedelta(minutes=2))

    def mended_meanwhile() -> Any:
        archive.put_media(better)
        archive.flush()
        return outcomes()

    monkeypatch.setattr(archive, "outcomes", mended_meanwhile)
    assert planned(archive).afresh == {better.video_id: a_media().downloaded_at}
    stands = archive.media_of(better.video_id)
    assert stands is not None and stands.downloaded_at == better.downloaded_at != a_media().downloaded_at


def test_media_that_were_fetched_after_the_failure_are_not_the_bad_ones(archive: Archive) -> None:
    """Another run has fetched them and has not told yet what became of it: outcomes are written in batches."""
    failure = an_outcome(OutcomeState.FAILED, "poisoned", stage=Stage.TRANSCRIBE)
    assert failure.at is not None
    archive.put_outcome(failure)
    archive.put_media(replace(a_media(), downloaded_at=failure.at - timedelta(seconds=1)))
    assert list(planned(archive).afresh) == [a_media().video_id]
    archive.put_media(replace(a_media(sha256="ee" * 32), downloaded_at=failure.at + timedelta(seconds=1)))
    made = planned(archive)
    assert made.todo and not made.afresh


def test_a_success_after_a_failure_clears_it(archive: Archive) -> None:
    archive.put_outcome(an_outcome(OutcomeState.FAILED, "permanent"))
    archive.put_outcome(an_outcome(OutcomeState.DONE, minutes=1))
    assert planned(archive).todo

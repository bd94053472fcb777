"""Retry failed videos: what the archive says has failed is tried again, and nothing else is touched.

Behind the deployment `retry-failed`, its nightly schedule and `channelscribe retry`. Unlike the Retry button, which
goes on with one run, it works on the failures of all runs and channels of an archive.
"""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed

from channelscribe.core.clock import SystemClock
from channelscribe.core.settings import complete_network_environment
from channelscribe.failed import choose
from channelscribe.ledger import Plan
from channelscribe.store.archive import Archive
from flows.account import Account
from flows.fields import (
    ArchivePlace,
    FailedVideos,
    Guarded,
    MediaFile,
    OnlyShown,
    Tolerant,
    ToOdin,
    Transcribing,
)
from flows.forms import FailedForm
from flows.ingesting import AS_CONFIGURED, GUARD_AS_CONFIGURED, POOL, Job, data_root, ingest, make_plan
from tasks.choosing import choose_failed, show_choice
from tasks.marking import mark_run
from tasks.patience import patiently
from tasks.scope import RunScope

WHAT_A_SYNC_WOULD = FailedForm()


@flow(
    name="retry-failed",
    flow_run_name="retry failed: {failed.title}",
    task_runner=POOL,
    retries=0,
    persist_result=False,
    validate_parameters=True,
)
def retry_failed(
    failed: FailedVideos = WHAT_A_SYNC_WOULD,
    dry_run: OnlyShown = False,
    upload: ToOdin = True,
    tolerate_failures: Tolerant = False,
    transcription: Transcribing = AS_CONFIGURED,
    media: MediaFile = "m4a",
    data: ArchivePlace = "",
    guard: Guarded = GUARD_AS_CONFIGURED,
) -> State[Any]:
    """Tries failed videos of the archive again, each from the step at which it failed.

    Args:
        failed: Which failed videos.
        dry_run: Only show which videos would be tried again; nothing is changed.
        upload: Send transcripts to ODIN.
        tolerate_failures: End as Completed even when some videos failed again.
        transcription: How to transcribe; the same as the sync that failed, or finished transcripts are made anew.
        media: File kept in the archive. m4a needs the least work.
        data: Folder or URL of the archive. Empty: as configured.
        guard: When work on the card slows and pauses. Without a card nothing is guarded.
    """
    wish = failed.wish()
    mark_run(stage=str(wish.stage or ""))
    if dry_run:
        return _only_shown(failed, data)

    def chosen(scope: RunScope, account: Account) -> Plan:
        choice = patiently(lambda: choose_failed(wish), scope.control, scope.clock)
        account.listed({"channel_title": "Failed videos, again", **choice})
        return make_plan(scope, account.video_ids, retry_parked=True)

    job = Job(f"failed videos: {failed.title}", transcription, media, upload, tolerate_failures, data, guard)
    return ingest(job, chosen)


def _only_shown(failed: FailedForm, data: str) -> State[Any]:
    complete_network_environment()
    root = data_root(data)
    with Archive(root) as archive:
        choice = choose(archive, failed.wish(), SystemClock().now())
    show_choice(choice)
    return Completed(message=f"Dry run: {choice.sentence}")

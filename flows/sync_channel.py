"""Sync a channel: everything published becomes a verified document, and every video is accounted for.

The one flow behind the scheduled deployment, the notebook and `channelscribe sync`.
"""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State

from channelscribe.ledger import Plan
from flows.account import Account
from flows.fields import (
    AlsoParked,
    ArchivePlace,
    Guarded,
    MediaFile,
    Selected,
    Source,
    Tolerant,
    ToOdin,
    Transcribing,
)
from flows.forms import SelectionForm
from flows.ingesting import AS_CONFIGURED, GUARD_AS_CONFIGURED, POOL, Job, ingest, make_plan
from tasks.discover import discover
from tasks.patience import patiently
from tasks.scope import RunScope

NO_SELECTION = SelectionForm()


@flow(
    name="sync-channel",
    flow_run_name="sync {source}",
    task_runner=POOL,
    retries=0,  # a pause counts as a run of the flow (research/prefect.md, section 3)
    persist_result=False,  # with a result the older UI refuses to retry a run that tolerated failures
    validate_parameters=True,
)
def sync_channel(
    source: Source,
    selection: Selected = NO_SELECTION,
    transcription: Transcribing = AS_CONFIGURED,
    media: MediaFile = "m4a",
    upload: ToOdin = True,
    tolerate_failures: Tolerant = False,
    retry_parked: AlsoParked = False,
    data: ArchivePlace = "",
    guard: Guarded = GUARD_AS_CONFIGURED,
) -> State[Any]:
    """Discovers, downloads, transcribes and uploads what the archive does not hold yet.

    Args:
        source: Channel (id, URL, @handle), playlist, or video ids and URLs separated by commas.
        selection: Which videos of the source.
        transcription: How to transcribe.
        media: File kept in the archive. m4a needs the least work.
        upload: Send transcripts to ODIN.
        tolerate_failures: End as Completed even when some videos failed.
        retry_parked: Try again what an earlier run gave up (private, members-only, quarantined).
        data: Folder or URL of the archive. Empty: as configured.
        guard: When work on the card slows and pauses. Without a card nothing is guarded.
    """
    chosen = selection.selection()

    def choose(scope: RunScope, account: Account) -> Plan:
        account.listed(patiently(lambda: discover(source, chosen), scope.control, scope.clock))
        return make_plan(scope, account.video_ids, retry_parked)

    return ingest(Job(source, transcription, media, upload, tolerate_failures, data, guard), choose)

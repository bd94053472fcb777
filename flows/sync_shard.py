"""Sync one shard: some videos of a channel that `sync_archive` has listed already, on whichever worker takes it.

The same work as `sync_channel`, without listing: asking YouTube again would cost requests and might find other videos.
"""

from __future__ import annotations

from typing import Annotated, Any

from prefect import flow
from prefect.client.schemas.objects import State
from pydantic import Field

from channelscribe.ledger import Plan
from flows.account import Account
from flows.fields import ArchivePlace, Guarded, MediaFile, Source, Tolerant, ToOdin, Transcribing, titled
from flows.ingesting import AS_CONFIGURED, GUARD_AS_CONFIGURED, POOL, Job, ingest, make_plan
from tasks.scope import RunScope

MOST_VIDEOS = 500
VideoIds = Annotated[list[str], Field(max_length=MOST_VIDEOS), titled("Videos")]


@flow(
    name="sync-shard",
    task_runner=POOL,
    retries=0,
    persist_result=False,
    validate_parameters=True,
)
def sync_shard(
    videos: VideoIds,
    source: Source = "",
    transcription: Transcribing = AS_CONFIGURED,
    media: MediaFile = "m4a",
    upload: ToOdin = True,
    tolerate_failures: Tolerant = False,
    data: ArchivePlace = "",
    guard: Guarded = GUARD_AS_CONFIGURED,
) -> State[Any]:
    """Downloads, transcribes and uploads these videos, as far as the archive does not hold them yet.

    Args:
        videos: Ids of videos that the archive knows, at most 500.
        source: What they were listed from, for people.
        transcription: How to transcribe.
        media: File kept in the archive. m4a needs the least work.
        upload: Send transcripts to ODIN.
        tolerate_failures: End as Completed even when some videos failed.
        data: Folder or URL of the archive. Empty: as configured.
        guard: When work on the card slows and pauses. Without a card nothing is guarded.
    """

    def given(scope: RunScope, account: Account) -> Plan:
        account.listed({"channel_title": source, "video_ids": videos})
        return make_plan(scope, account.video_ids, retry_parked=True)  # what is parked was left out before

    return ingest(Job(source or "a shard", transcription, media, upload, tolerate_failures, data, guard), given)

"""Sync a large channel on several machines: listed once, cut into shards, each a run on the pool of the cards.

Behind the deployment `whole-channel`. It holds no card and no engine, so it runs in a pool of its own; what the shards
did, it reads from the archive they share.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from prefect import flow, get_run_logger
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun, State
from prefect.exceptions import Pause
from prefect.runtime import flow_run
from prefect.states import Completed, Failed
from pydantic import Field

from blocks.odin import OdinCredentials
from blocks.transcription import TranscriptionSettings
from blocks.youtube import YouTubeKeys
from channelscribe.core.settings import complete_network_environment
from channelscribe.ledger import Plan, plan
from channelscribe.sharding import Beginning, Cut, cut, keep, kept, resume, untouched
from channelscribe.youtube.listing import Selection
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
    titled,
)
from flows.ingesting import AS_CONFIGURED, GUARD_AS_CONFIGURED, Job, data_root, make_plan
from flows.sync_channel import NO_SELECTION
from flows.sync_shard import MOST_VIDEOS
from tasks.discover import discover
from tasks.patience import patiently
from tasks.scope import RunScope, open_scope
from tasks.shards import Limits, Shard, ShardRuns, pool_of_shards

SHARDS = "sync-shard/shard"
MOST_POLL_S = 5.0
ShardSize = Annotated[int, Field(ge=1, le=MOST_VIDEOS), titled("Videos in a shard")]
AtOnce = Annotated[int, Field(ge=1, le=200), titled("Shards at once")]


@flow(
    name="sync-archive",
    flow_run_name="sync all of {source}",
    retries=0,
    persist_result=False,
    validate_parameters=True,
)
def sync_archive(
    source: Source,
    selection: Selected = NO_SELECTION,
    shard_size: ShardSize = 100,
    shards_at_once: AtOnce = 8,
    transcription: Transcribing = AS_CONFIGURED,
    media: MediaFile = "m4a",
    upload: ToOdin = True,
    tolerate_failures: Tolerant = False,
    retry_parked: AlsoParked = False,
    data: ArchivePlace = "",
    guard: Guarded = GUARD_AS_CONFIGURED,
) -> State[Any]:
    """Discovers once, gives what the archive does not hold to the workers of the cards, and reports over all.

    Args:
        source: Channel (id, URL, @handle), playlist, or video ids and URLs separated by commas.
        selection: Which videos of the source.
        shard_size: Videos in one shard, at most 500. A dead worker costs at most what one shard had in hand.
        shards_at_once: Shards given to the pool at a time; the workers of the pool decide how many run.
        transcription: How to transcribe.
        media: File kept in the archive. m4a needs the least work.
        upload: Send transcripts to ODIN.
        tolerate_failures: End as Completed even when some videos failed.
        retry_parked: Try again what an earlier run gave up (private, members-only, quarantined).
        data: Folder or URL of the archive, the same for all workers. Empty: as configured.
        guard: When work on the card slows and pauses.
    """
    chosen = selection.selection()

    def begin(scope: RunScope, account: Account) -> Cut:
        return _begin(scope, account, source, chosen, shard_size, retry_parked)

    return _over_shards(
        Job(source, transcription, media, upload, tolerate_failures, data, guard), begin, shards_at_once
    )


def _over_shards(job: Job, begin: Callable[[RunScope, Account], Cut], at_once: int) -> State[Any]:
    """The run from its opening to its state, as `ingest` is for a run that does the work itself."""
    parent = _this_run()
    pool_of_shards(parent, SHARDS)
    complete_network_environment()
    with open_scope(
        run_id=str(flow_run.id),
        root=data_root(job.data),
        youtube=YouTubeKeys.resolve().config(),
        profile=TranscriptionSettings.resolve().profile(**job.transcription.changes()),
        odin=OdinCredentials.resolve().client() if job.upload else None,
        run_name=flow_run.name,
    ) as scope:
        account = Account.begin(scope, job.source, flow_run.name, flow_run.parameters)
        runs = _runs(scope, parent, _asked(job), at_once)
        try:
            if scope.odin is not None:
                scope.odin.check()
            _work(scope, account, runs, begin(scope, account))
        except Pause:
            account.suspend()
            raise
        except BaseException as error:
            account.members |= runs.members
            account.close(error)
            raise
        report = account.close()
    done = report.complete or job.tolerate_failures
    return Completed(message=report.sentence) if done else Failed(message=report.sentence)


def _asked(job: Job) -> dict[str, Any]:
    """The parameters of every shard, but for its videos."""
    forms = {"transcription": job.transcription.model_dump(mode="json"), "guard": job.guard.model_dump(mode="json")}
    return {"source": job.source, "media": job.media, "upload": job.upload, "data": job.data, **forms}


def _runs(scope: RunScope, parent: FlowRun, asked: dict[str, Any], at_once: int) -> ShardRuns:
    claims = scope.archive.claims
    limits = Limits(at_once, silence_s=2 * claims.claim_s, poll_s=min(MOST_POLL_S, claims.claim_s / 10))
    return ShardRuns(parent, SHARDS, asked, limits, claims, lambda shard, run: _left(scope, shard, run), scope.clock)


def _work(scope: RunScope, account: Account, runs: ShardRuns, pieces: Cut) -> None:
    """All shards, until they are over. Raises Pause when a person suspends this run; its shards go on meanwhile."""
    account.planned(_as_begun(scope, account, pieces))
    todo = {video.video_id for video in account.work.todo}
    if (state := runs.work([[v for v in shard if v in todo] for shard in pieces.shards])) is not None:
        raise Pause("The run was suspended; its shards go on.", state=state)
    account.members |= runs.members
    account.listed({**account.listing, "notes": [*account.listing.get("notes", ()), *runs.notes]})


def _this_run() -> FlowRun:
    with get_client(sync_client=True) as client:
        return client.read_flow_run(flow_run.id)


def _begin(
    scope: RunScope, account: Account, source: str, chosen: Selection, shard_size: int, retry_parked: bool
) -> Cut:
    """Lists and cuts; on a Retry takes what the first try listed and how it cut that."""
    if (before := kept(scope.archive.root, scope.run_id)) is None:
        account.listed(patiently(lambda: discover(source, chosen), scope.control, scope.clock))
        pieces = cut(make_plan(scope, account.video_ids, retry_parked), shard_size)
        before = Beginning(account.listing, pieces)
        keep(scope.archive.root, scope.run_id, before)
    account.listed(before.listing)
    get_run_logger().info("%d videos in %d shards", sum(map(len, before.pieces.shards)), len(before.pieces.shards))
    return before.pieces


def _as_begun(scope: RunScope, account: Account, pieces: Cut) -> Plan:
    """Today's plan, with what the run parked when it began: on a Retry its own failures are tried again."""
    now = make_plan(scope, account.video_ids, retry_parked=False)
    return resume(pieces, now, scope.archive.outcomes())


def _left(scope: RunScope, shard: Shard, run: FlowRun) -> tuple[str, ...]:
    """What this run of the shard left, by the archive."""
    known = scope.archive.videos()
    now = plan(
        scope.archive,
        [known[video_id] for video_id in shard.left],
        scope.profile,
        project_id=scope.odin.config.project_id if scope.odin else None,
        run_id=scope.run_id,
        now=scope.clock.now(),
        retry_parked=True,
    )
    return untouched(shard.left, {v.video_id for v in now.done}, scope.archive.outcomes(str(run.id)))

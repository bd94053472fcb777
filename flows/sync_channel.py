"""Sync a channel: everything published becomes a verified document, and every video is accounted for.

The one flow behind the scheduled deployment, the notebook and `channelscribe sync`.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any, Literal

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.exceptions import Pause
from prefect.futures import PrefectFuture
from prefect.runtime import flow_run
from prefect.states import Cancelled, Completed, Failed
from prefect.task_runners import ThreadPoolTaskRunner

from blocks.guard import GuardProfile
from blocks.odin import OdinCredentials
from blocks.storage import ArchiveRoot
from blocks.transcription import TranscriptionSettings
from blocks.youtube import YouTubeKeys
from channelscribe.core.errors import EnvironmentFailure
from channelscribe.core.model import Video
from channelscribe.core.settings import complete_network_environment
from channelscribe.ledger import Plan, plan
from channelscribe.store.root import DataRoot
from channelscribe.youtube.download import AudioFormat
from flows.account import Account
from flows.forms import GuardForm, SelectionForm, TranscriptionForm
from tasks.discover import discover
from tasks.ingest import ingest_video
from tasks.report import Progress
from tasks.scope import RunScope, open_scope

MOST_THREADS = 64  # the pool's size; how many videos are in flight is the profile's decision
LABEL_LENGTH = 80
PROGRESS_S = 2.0
POOL: Any = ThreadPoolTaskRunner(max_workers=MOST_THREADS)
NO_SELECTION = SelectionForm()
AS_CONFIGURED = TranscriptionForm()
GUARD_AS_CONFIGURED = GuardForm()


@flow(
    name="sync-channel",
    flow_run_name="sync {source}",
    task_runner=POOL,
    retries=0,  # a pause counts as a run of the flow (research/prefect.md, section 3)
    persist_result=False,  # with a result the older UI refuses to retry a run that tolerated failures
    validate_parameters=True,
)
def sync_channel(
    source: str,
    selection: SelectionForm = NO_SELECTION,
    transcription: TranscriptionForm = AS_CONFIGURED,
    media: Literal["m4a", "mp3", "mp4"] = "m4a",
    upload: bool = True,
    tolerate_failures: bool = False,
    retry_parked: bool = False,
    data: str = "",
    guard: GuardForm = GUARD_AS_CONFIGURED,
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
    complete_network_environment()
    chosen, guarded = selection.selection(), GuardProfile.resolve().choice(**guard.changes())
    with open_scope(
        run_id=str(flow_run.id),
        root=DataRoot.open(data) if data else ArchiveRoot.resolve().open(),
        youtube=YouTubeKeys.resolve().config(),
        profile=TranscriptionSettings.resolve().profile(**transcription.changes()),
        odin=OdinCredentials.resolve().client() if upload else None,
        audio_format=AudioFormat(media),
        gpu=guarded.gpu,
        policy=guarded.policy,
        run_name=flow_run.name,
    ) as scope:
        account = Account.begin(scope, source, flow_run.name, flow_run.parameters)
        try:
            if scope.odin is not None:
                scope.odin.check()
            account.listed(discover(source, chosen))
            work = make_plan(scope, account.video_ids, retry_parked)
            account.planned(work)
            ingest_all(scope, work.todo)
            leave_if_suspended(scope)
        except Pause:
            scope.control.stop()
            account.suspend()
            raise
        except BaseException as error:
            scope.control.stop()
            account.close(error)
            raise
        report = account.close()
    if isinstance(scope.control.failure, EnvironmentFailure):
        raise scope.control.failure
    message = report.sentence
    if scope.guarding is not None and scope.guarding.cancelled:
        return Cancelled(message=message)
    return Completed(message=message) if report.complete or tolerate_failures else Failed(message=message)


def leave_if_suspended(scope: RunScope) -> None:
    """Raises Prefect's Pause when somebody pressed Pause: the process ends, Resume begins a new one at the top."""
    if scope.guarding is not None and (state := scope.guarding.suspended) is not None:
        raise Pause("The run was suspended.", state=state)


def make_plan(scope: RunScope, video_ids: Sequence[str], retry_parked: bool) -> Plan:
    """What of the list is to do, by the archive alone; remembers whose media must be fetched afresh."""
    known = scope.archive.videos()
    work = plan(
        scope.archive,
        [known[video_id] for video_id in video_ids if video_id in known],
        scope.profile,
        project_id=scope.odin.config.project_id if scope.odin else None,
        run_id=scope.run_id,
        now=scope.clock.now(),
        retry_parked=retry_parked,
    )
    scope.afresh.update(work.afresh)
    get_run_logger().info("%d to do, %d already done, %d parked", len(work.todo), len(work.done), len(work.parked))
    return work


def ingest_all(scope: RunScope, todo: Sequence[Video]) -> None:
    """Submits one task per video, as seats become free, and waits for all. A failing video never fails this."""
    seats = threading.Semaphore(scope.profile.videos_in_flight)
    progress = Progress(len(todo))
    futures: list[PrefectFuture[str]] = []
    for video in todo:
        while not seats.acquire(timeout=PROGRESS_S):
            progress.show(futures)
        if scope.control.stopped():
            break
        future = ingest_video.submit(video.video_id, label(video))
        future.add_done_callback(lambda _: seats.release())
        futures.append(future)
    for future in futures:
        while not future.state.is_final():
            future.wait(timeout=PROGRESS_S)
            progress.show(futures)


def label(video: Video) -> str:
    """The name of a video's tasks in the UI."""
    title = " ".join(video.title.split()) or video.video_id
    return title if len(title) <= LABEL_LENGTH else title[: LABEL_LENGTH - 1] + "…"

"""A run over a list of videos: all parts opened, each video taken through its steps, the account closed at the end.

What `sync_channel` and `retry_failed` share; they differ only in how they come to their list.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from prefect import get_run_logger
from prefect.client.schemas.objects import State
from prefect.exceptions import Pause
from prefect.futures import PrefectConcurrentFuture
from prefect.runtime import flow_run
from prefect.states import Cancelled, Completed, Failed
from prefect.task_runners import ThreadPoolTaskRunner

from blocks.guard import GuardProfile
from blocks.odin import OdinCredentials
from blocks.storage import ArchiveRoot
from blocks.transcription import TranscriptionSettings
from blocks.youtube import YouTubeKeys
from channelscribe.attempts import Cancelled as Stopped
from channelscribe.core.errors import EnvironmentFailure
from channelscribe.core.model import Video
from channelscribe.core.settings import complete_network_environment
from channelscribe.ledger import Plan, plan
from channelscribe.store.root import DataRoot
from channelscribe.youtube.download import AudioFormat
from flows.account import Account
from flows.forms import GuardForm, TranscriptionForm
from tasks.ingest import ingest_video
from tasks.patience import Patience, first_over, turned_away
from tasks.report import Progress
from tasks.scope import RunScope, open_scope

MOST_THREADS = 64  # the pool's size; how many videos are in flight is the profile's decision
LABEL_LENGTH = 80
PROGRESS_S = 2.0
POOL: Any = ThreadPoolTaskRunner(max_workers=MOST_THREADS)
AS_CONFIGURED = TranscriptionForm()
GUARD_AS_CONFIGURED = GuardForm()
Choose = Callable[[RunScope, Account], Plan]


@dataclass(frozen=True)
class Job:
    """What a person asked of a run, whatever its list is; `source` is how the account names that list."""

    source: str
    transcription: TranscriptionForm
    media: str
    upload: bool
    tolerate_failures: bool
    data: str
    guard: GuardForm


def ingest(job: Job, choose: Choose) -> State[Any]:
    """Works on the videos that `choose` plans; returns the run's state, raises the classified failure that stops it.

    `choose` runs in the open scope, tells the account what it listed, and its failures end the run with an account.
    """
    complete_network_environment()
    guarded = GuardProfile.resolve().choice(**job.guard.changes())
    with (
        open_scope(
            run_id=str(flow_run.id),
            root=data_root(job.data),
            youtube=YouTubeKeys.resolve().config(),
            profile=TranscriptionSettings.resolve().profile(**job.transcription.changes()),
            odin=OdinCredentials.resolve().client() if job.upload else None,
            audio_format=AudioFormat(job.media),
            gpu=guarded.gpu,
            policy=guarded.policy,
            run_name=flow_run.name,
        ) as scope,
        scope.archive.claims.pulse.going(scope.run_id),
    ):
        account = Account.begin(scope, job.source, flow_run.name, flow_run.parameters)
        try:
            work_through(scope, account, choose)
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
    return Completed(message=message) if report.complete or job.tolerate_failures else Failed(message=message)


def data_root(data: str) -> DataRoot:
    """The data root that the form names; empty: as configured."""
    return DataRoot.open(data) if data else ArchiveRoot.resolve().open()


def work_through(scope: RunScope, account: Account, choose: Choose) -> None:
    """Lists, plans and ingests. Returns early, whatever was under way, when the guard or a person has ended the run."""
    try:
        if scope.odin is not None:
            scope.odin.check()
        work = choose(scope, account)
        account.planned(work)
        ingest_all(scope, work.todo)
    except Stopped:
        by_person = scope.guarding is not None and scope.guarding.herald.ended_by is not None
        if not by_person and not isinstance(scope.control.failure, EnvironmentFailure):
            raise


def leave_if_suspended(scope: RunScope) -> None:
    """Raises Prefect's Pause when somebody pressed Pause: the process ends, Resume begins a new one at the top."""
    if scope.guarding is not None and (state := scope.guarding.suspended) is not None:
        raise Pause("The run was suspended.", state=state)


def make_plan(scope: RunScope, video_ids: Sequence[str], retry_parked: bool) -> Plan:
    """What of the list is to do, by the archive alone; remembers whose media must be fetched afresh."""
    known = scope.archive.videos()
    work = plan(
        scope.archive,
        [known.get(video_id) or Video(video_id, video_id) for video_id in video_ids],
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
    """Submits one task per video, as seats become free, and waits for all. A failing video never fails this.

    A video whose task was turned away, as no server answered, gets a new task.
    """
    progress, patience = Progress(len(todo), scope.clock), Patience(scope.control, scope.clock)
    waiting, over = deque(todo), 0
    working: dict[PrefectConcurrentFuture[str], Video] = {}
    while working or (waiting and not scope.control.stopped()):
        while waiting and len(working) < scope.profile.videos_in_flight and not scope.control.stopped():
            video = waiting.popleft()
            future = ingest_video.submit(video.video_id, label(video))
            assert isinstance(future, PrefectConcurrentFuture), "the pool is one of threads"
            working[future] = video
        ended = {future: working.pop(future) for future in first_over(working, PROGRESS_S)}
        away = [video for future, video in ended.items() if turned_away(future)]
        waiting.extendleft(reversed(away))
        over += len(ended) - len(away)
        progress.show(over)
        if away:
            patience.lasts()
        elif ended:
            patience.renew()
    progress.show(over, last=True)


def label(video: Video) -> str:
    """The name of a video's tasks in the UI."""
    title = " ".join(video.title.split()) or video.video_id
    return title if len(title) <= LABEL_LENGTH else title[: LABEL_LENGTH - 1] + "…"

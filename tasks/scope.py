"""What all tasks of one flow run share: archive, engine, downloader, client, account and brake.

The flow opens it, a ContextVar publishes it, and Prefect's thread pool carries the context into every task. Nothing of
it is ever a task parameter, so it never reaches a cache key, a log or the server.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from prefect.exceptions import FailedRun

from channelscribe.asr.engine import Engine
from channelscribe.asr.registry import open_engine
from channelscribe.attempts import Attempts, Cancelled, Control
from channelscribe.core.clock import Clock, SystemClock
from channelscribe.core.errors import ChannelscribeError
from channelscribe.core.profile import TranscriptionProfile
from channelscribe.odin.client import OdinClient
from channelscribe.store.archive import Archive
from channelscribe.store.root import DataRoot
from channelscribe.youtube.config import YouTubeConfig
from channelscribe.youtube.download import AudioFormat, Downloader
from channelscribe.youtube.lane import Lane
from channelscribe.youtube.listing import Lister, make_lister

_SCOPE: ContextVar[RunScope] = ContextVar("run_scope")
_TASK_LOGGERS = ("prefect.task_runs", "prefect.flow_runs", "prefect.task_engine", "prefect.flow_engine")
UPLOADS_AT_ONCE = 2  # no rate limit of ODIN is published; two at a time is what research/odin.md 1.9 advises


@dataclass(frozen=True)
class RunScope:
    """The parts of one flow run."""

    run_id: str
    archive: Archive
    attempts: Attempts
    control: Control
    profile: TranscriptionProfile
    engine: Engine
    lister: Lister
    downloader: Downloader
    audio_format: AudioFormat
    odin: OdinClient | None
    clock: Clock
    afresh: set[str] = field(default_factory=set)
    uploads: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(UPLOADS_AT_ONCE))


def scope() -> RunScope:
    """The scope of the flow run that the calling thread works for."""
    return _SCOPE.get()


@contextmanager
def open_scope(
    *,
    run_id: str,
    root: DataRoot,
    youtube: YouTubeConfig,
    profile: TranscriptionProfile,
    odin: OdinClient | None,
    audio_format: AudioFormat = AudioFormat.M4A,
    clock: Clock | None = None,
) -> Iterator[RunScope]:
    """Opens everything a run needs and publishes it. The model itself loads at the first window, not here."""
    clock = clock or SystemClock()
    _shorten_logs()
    with ExitStack() as stack:
        archive = stack.enter_context(Archive(root, clock))
        control = Control()
        archive.windows.sweep()
        engine = stack.enter_context(open_engine(profile, keeper=archive.windows))
        opened = RunScope(
            run_id=run_id,
            archive=archive,
            attempts=Attempts(archive, run_id, control, clock),
            control=control,
            profile=profile,
            engine=engine,
            lister=make_lister(youtube, clock),
            downloader=Downloader(youtube, Lane(youtube, clock), clock),
            audio_format=audio_format,
            odin=odin,
            clock=clock,
        )
        token = _SCOPE.set(opened)
        stack.callback(_SCOPE.reset, token)
        stack.callback(control.stop)  # first of all on the way out: threads that still wait must not hold the run
        yield opened


class _ShortTold(logging.Filter):
    """A classified failure or a stop is told in its one sentence; its traceback would only bury it."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, (ChannelscribeError, Cancelled)):
            record.exc_info = None
        return not isinstance(error, FailedRun)  # the flow's own verdict, which its state has just told


_SHORT = _ShortTold()


def _shorten_logs() -> None:
    """For good, since the last steps and the engine still speak when the run is closed."""
    for name in _TASK_LOGGERS:
        logging.getLogger(name).addFilter(_SHORT)

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
from datetime import datetime

from prefect.exceptions import FailedRun

from channelscribe.asr.device import choose_device
from channelscribe.asr.engine import Engine
from channelscribe.asr.registry import open_engine
from channelscribe.attempts import Attempts, Cancelled, Control
from channelscribe.core.clock import Clock, SystemClock
from channelscribe.core.errors import ChannelscribeError
from channelscribe.core.gpu import Reader, Reading
from channelscribe.core.guard import GuardPolicy
from channelscribe.core.profile import TranscriptionProfile
from channelscribe.gpu.gate import GuardGate
from channelscribe.gpu.open import open_reader
from channelscribe.odin.client import OdinClient
from channelscribe.store.archive import Archive
from channelscribe.store.root import DataRoot
from channelscribe.youtube.config import YouTubeConfig
from channelscribe.youtube.download import AudioFormat, Downloader
from channelscribe.youtube.lane import Lane
from channelscribe.youtube.listing import Lister, make_lister
from tasks.gpu_picture import GpuPicture
from tasks.guarding import Guarding, guarding

log = logging.getLogger(__name__)
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
    guarding: Guarding | None = None
    afresh: dict[str, datetime | None] = field(default_factory=dict)  # video id -> when its bad media were fetched
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
    gpu: str = "off",
    policy: GuardPolicy | None = None,
    run_name: str = "",
    clock: Clock | None = None,
) -> Iterator[RunScope]:
    """Opens everything a run needs and publishes it. The model itself loads at the first window, not here.

    `gpu` names the card that is guarded, as in `open_reader`; where there is none, nothing is guarded.
    """
    clock = clock or SystemClock()
    _shorten_logs()
    with ExitStack() as stack:
        archive = stack.enter_context(Archive(root, clock))
        control = Control()
        archive.windows.sweep()
        gate, guarded = GuardGate(clock), None
        policy = policy or GuardPolicy()
        profile, reader = find_card(gpu, profile, policy, clock)
        if reader is not None:
            guarded = stack.enter_context(_watched(reader, policy, gate, control, archive, run_id, run_name, clock))
        engine = stack.enter_context(open_engine(profile, gate=gate if guarded else None, keeper=archive.windows))
        opened = RunScope(
            run_id=run_id,
            archive=archive,
            attempts=Attempts(archive, run_id, control, clock, held_s=gate.closed_s),
            control=control,
            profile=profile,
            engine=engine,
            lister=make_lister(youtube, clock),
            downloader=Downloader(youtube, Lane(youtube, clock), clock),
            audio_format=audio_format,
            odin=odin,
            clock=clock,
            guarding=guarded,
        )
        token = _SCOPE.set(opened)
        stack.callback(_SCOPE.reset, token)
        stack.callback(control.stop)  # first of all on the way out: threads that still wait must not hold the run
        yield opened


def find_card(
    gpu: str, profile: TranscriptionProfile, policy: GuardPolicy, clock: Clock
) -> tuple[TranscriptionProfile, Reader | None]:
    """The reader of the card, and the profile held to the device whose card that is and to the memory that is guarded.

    The engine chooses among several cards by their free memory, and the guard must watch the one that it chose.
    """
    reader = open_reader(gpu, device=profile.device, clock=clock)
    if reader is not None and policy.enabled:
        profile = profile.within_budget(policy.vram_budget_gib)
    if reader is None or gpu.strip().lower() not in ("", "auto") or profile.device not in ("auto", "cuda"):
        return profile, reader
    reader.close()
    profile = profile.model_copy(update={"device": choose_device(profile).device})
    return profile, open_reader(gpu, device=profile.device, clock=clock)


@contextmanager
def _watched(
    reader: Reader,
    policy: GuardPolicy,
    gate: GuardGate,
    control: Control,
    archive: Archive,
    run_id: str,
    run_name: str,
    clock: Clock,
) -> Iterator[Guarding]:
    """The card guarded, its readings kept and drawn."""
    picture = GpuPicture(archive, run_id, guard=policy.model_dump(mode="json"), title=reader.card.name, clock=clock)

    def keep(reading: Reading) -> None:
        archive.put_readings([reading])
        picture.tick()

    with guarding(
        reader, policy, gate, control, run_id=run_id, run_name=run_name, on_reading=keep, clock=clock
    ) as guarded:
        picture.under(guarded.guard.policy.model_dump(mode="json"))
        try:
            yield guarded
        finally:
            try:
                archive.flush()
            except ChannelscribeError as error:  # it must not take the place of what ended the run
                log.warning("The last readings of the card could not be written: %s", error)
            picture.close()


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

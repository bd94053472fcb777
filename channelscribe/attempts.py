"""Attempts: every try of every step is timed, classified and written to `outcomes/`; nothing is dropped in silence.

It also carries the one decision that concerns more than a video: a failure of the environment stops the run.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from channelscribe.core.clock import Clock, SystemClock
from channelscribe.core.errors import ChannelscribeError, Decision, FailureClass
from channelscribe.core.model import Outcome, OutcomeState, Stage, Video
from channelscribe.core.redact import redact
from channelscribe.store.archive import Archive

log = logging.getLogger(__name__)
_ON_THE_CARD = {Stage.TRANSCRIBE}
_FOR_THE_OPERATOR = {Decision.STOP_RUN, Decision.ASK_OPERATOR}


class Cancelled(Exception):
    """The run is being stopped; this attempt ended early and is not a failure of the video."""


def _never_held() -> Mapping[str, float]:
    return {}


def _nobody_hears(_video: Video, _stage: Stage, _outcome: Outcome | None) -> None:
    """Nobody watches this run."""


class Control:
    """The brake of a run, shared by all its threads, and the failure that concerns all its videos."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self.failure: ChannelscribeError | None = None

    def stop(self) -> None:
        self._stopped.set()

    def heed(self, failure: ChannelscribeError) -> None:
        """Keeps the first failure that a person must mend; a broken environment outranks it and stops the run.

        A blocked lane does not: what is downloaded already is still transcribed and uploaded.
        """
        if failure.decision not in _FOR_THE_OPERATOR:
            return
        with self._lock:
            lane = self.failure is not None and self.failure.decision is not Decision.STOP_RUN
            if self.failure is None or (lane and failure.decision is Decision.STOP_RUN):
                self.failure = failure
        if failure.decision is Decision.STOP_RUN:
            self.stop()

    def stopped(self) -> bool:
        return self._stopped.is_set()

    def check(self) -> None:
        """Raises Cancelled when the run has been stopped."""
        if self.stopped():
            raise Cancelled(self.failure.reason if self.failure else "the run was cancelled")


@dataclass
class Note:
    """What a step learns about itself while it runs."""

    state: OutcomeState = OutcomeState.DONE
    audio_s: float = 0.0
    engine: str = ""
    held_before: Mapping[str, float] = field(default_factory=dict)


@dataclass
class Attempts:
    """The account of one run. `held_s` says for how long the guard has held the card so far, by cause.

    `heard` is told when a step begins (None) and how it ended; it must be quick and must not raise.
    """

    archive: Archive
    run_id: str
    control: Control
    clock: Clock = field(default_factory=SystemClock)
    held_s: Callable[[], Mapping[str, float]] = _never_held
    heard: Callable[[Video, Stage, Outcome | None], None] = _nobody_hears
    _tries: Counter[tuple[str, Stage]] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def attempt(self, video: Video, stage: Stage) -> Iterator[Note]:
        """Times one try and records how it ended; re-raises a classified failure, wraps anything else as a bug."""
        self.control.check()
        note, began_s = Note(held_before=dict(self.held_s())), self.clock.monotonic()
        outcome = Outcome(
            self.run_id, video.video_id, video.title, stage, OutcomeState.FAILED, self._count(video, stage)
        )
        self.heard(video, stage, None)
        try:
            yield note
        except ChannelscribeError as error:
            if self.control.stopped() and error.decision not in _FOR_THE_OPERATOR:
                raise Cancelled("the run was stopped while this step was running") from error
            self._record(video, failed(outcome, error), note, began_s)
            self.control.heed(error)
            raise
        except Exception as error:
            if self.control.stopped():
                raise Cancelled("the run was stopped while this step was running") from error
            log.exception("%s of %s failed in a way that is not classified", stage, video.video_id)
            self._record(video, failed(outcome, _bug(stage, error)), note, began_s)
            raise
        self._record(video, replace(outcome, state=note.state), note, began_s)

    def _count(self, video: Video, stage: Stage) -> int:
        with self._lock:
            self._tries[video.video_id, stage] += 1
            return self._tries[video.video_id, stage]

    def _record(self, video: Video, outcome: Outcome, note: Note, began_s: float) -> None:
        seconds = self.clock.monotonic() - began_s
        paused_s, cause = self._paused(outcome.stage, note)
        whole = replace(
            outcome,
            seconds=seconds,
            at=self.clock.now(),
            audio_s=note.audio_s,
            engine=note.engine,
            paused_s=min(paused_s, seconds),
            pause_cause=cause,
        )
        self.archive.put_outcome(whole)
        self.heard(video, whole.stage, whole)

    def _paused(self, stage: Stage, note: Note) -> tuple[float, str]:
        """For how long the card was held during the attempt, and the cause that did so longest."""
        if stage not in _ON_THE_CARD:
            return 0.0, ""
        held = {cause: s - note.held_before.get(cause, 0.0) for cause, s in self.held_s().items()}
        held = {cause: s for cause, s in held.items() if s > 0}
        return sum(held.values()), str(max(held, key=lambda cause: held[cause], default=""))


def failed(outcome: Outcome, error: ChannelscribeError) -> Outcome:
    """`outcome` with the class, code, sentence and next possible moment of `error`."""
    return replace(
        outcome,
        state=OutcomeState.FAILED,
        failure_class=str(error.failure_class),
        code=error.code,
        reason=error.reason,
        retry_after=error.retry_after,
    )


def _bug(stage: Stage, error: Exception) -> ChannelscribeError:
    text = redact(f"{type(error).__name__}: {error}")[:300]
    bug = ChannelscribeError(
        f"The {stage} step failed in a way that channelscribe does not know ({text}); please report it with the log.",
        code="bug",
    )
    assert bug.failure_class is FailureClass.BUG
    return bug

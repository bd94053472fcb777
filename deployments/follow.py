"""Progress of a run while it works, read from the archive: in a terminal as a line that moves, elsewhere as few lines.

Reads only what the flow writes anyway, so the run may be in this process, in a worker or on another machine.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from channelscribe.core.errors import ChannelscribeError
from channelscribe.core.model import Outcome, OutcomeState, Stage
from channelscribe.store.archive import Archive
from deployments.session import Session

log = logging.getLogger(__name__)
_LOOK_EVERY_S = 2.0
_LINE_EVERY_S = 15.0
_CLOCK_SKEW = timedelta(seconds=5)
_FINISHED = (OutcomeState.DONE, OutcomeState.SKIPPED)


@dataclass(frozen=True)
class Counts:
    """Where a run stands."""

    listed: int = 0
    done: int = 0
    failed: int = 0
    audio_s: float = 0.0

    @property
    def sentence(self) -> str:
        of = f" of {self.listed}" if self.listed else ""
        failed = f", {self.failed} failed" if self.failed else ""
        return f"{self.done}{of} videos done{failed}, {self.audio_s / 60:.1f} min transcribed"


def count(outcomes: list[Outcome], listed: int, last_stage: Stage) -> Counts:
    """`last_stage` is the step after which a video is done: upload, or transcribe where nothing is uploaded."""
    finished = {o.video_id for o in outcomes if o.stage is last_stage and o.state in _FINISHED}
    failed = {o.video_id for o in outcomes if o.state is OutcomeState.FAILED and o.video_id} - finished
    heard = {o.video_id: o.audio_s for o in outcomes if o.stage is Stage.TRANSCRIBE and o.state is OutcomeState.DONE}
    return Counts(listed, len(finished), len(failed), sum(heard.values()))


class Follower:
    """Polls the archive from a thread of its own, so that the main thread may run the flow."""

    def __init__(self, session: Session, archive: Archive, *, upload: bool, since: datetime | None = None) -> None:
        self._session, self._archive = session, archive
        self._last_stage = Stage.UPLOAD if upload else Stage.TRANSCRIBE
        self._since = (since or datetime.now(UTC)) - _CLOCK_SKEW
        self._stop = threading.Event()
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            TimeElapsedColumn(),
            console=session.messages,
        )
        self._line: TaskID = self._bar.add_task("starting", total=None)
        self._said = ""

    def counts(self) -> Counts:
        """Outcomes of this run: everything recorded since it began."""
        recent = [o for o in self._archive.outcomes() if o.at is not None and o.at >= self._since]
        listed = sum(
            v.discovered_at is not None and v.discovered_at >= self._since for v in self._archive.videos().values()
        )
        return count(recent, listed, self._last_stage)

    def run(self) -> None:
        terminal, waited_s = self._session.messages.is_terminal, 0.0
        while not self._stop.wait(_LOOK_EVERY_S):
            waited_s += _LOOK_EVERY_S
            try:
                counts = self.counts()
            except (ChannelscribeError, OSError) as error:  # a look that fails is no reason to stop the run
                log.debug("no progress to show: %s", error)
                continue
            self._bar.update(
                self._line,
                description=counts.sentence,
                total=counts.listed or None,
                completed=counts.done + counts.failed,
            )
            if not terminal and waited_s >= _LINE_EVERY_S and counts.sentence != self._said:
                waited_s, self._said = 0.0, counts.sentence
                self._session.say(counts.sentence)

    def stop(self) -> None:
        self._stop.set()

    @property
    def bar(self) -> Progress:
        return self._bar


@contextmanager
def follow(session: Session, archive: Archive, *, upload: bool) -> Iterator[None]:
    """Shows progress while the body runs."""
    follower = Follower(session, archive, upload=upload)
    thread = threading.Thread(target=follower.run, name="progress", daemon=True)
    thread.start()
    try:
        if session.messages.is_terminal:
            with follower.bar:
                yield
        else:
            yield
    finally:
        follower.stop()
        thread.join(_LOOK_EVERY_S * 5)

"""The one lane in which all threads of a process talk to YouTube: it spaces, pauses and closes for all of them at once.

Downloads pass through it; Throttled pauses everybody, Blocked closes it until a person has decided.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

from channelscribe.core.clock import Clock, SystemClock
from channelscribe.core.errors import LaneFailure, Throttled, Transient
from channelscribe.youtube.config import YouTubeConfig
from channelscribe.youtube.pace import SharedPace

log = logging.getLogger(__name__)
_TICK_S = 0.25


def cancelled_error() -> Transient:
    return Transient(
        "The download was cancelled; what is already on disk is kept and the next run goes on from there.",
        code="cancelled",
    )


@dataclass(frozen=True, slots=True)
class LaneState:
    """A look at the lane, for logs and reports."""

    active: int
    paused_for_s: float
    paused_until: datetime | None
    pauses: int
    reason: str
    closed: str


class Lane:
    """Thread-safe. Make one per process and give it to everything that talks to YouTube.

    With `pace` the spacing and the pauses are those of all processes of this machine together.
    """

    def __init__(
        self, config: YouTubeConfig | None = None, clock: Clock | None = None, *, pace: SharedPace | None = None
    ) -> None:
        self._config = config or YouTubeConfig()
        self._pace = pace
        self._clock = clock or SystemClock()
        self._changed = threading.Condition()
        self._active = 0
        self._queue: deque[object] = deque()
        self._resume_at = 0.0
        self._next_start = 0.0
        self._pauses = 0
        self._calm_from = 0.0
        self._reason = ""
        self._closed: LaneFailure | None = None

    @contextmanager
    def enter(self, cancelled: Callable[[], bool] | None = None) -> Iterator[None]:
        """Waits in line for a free place and the end of a pause. Raises the lane's own error once it is closed."""
        ticket = object()
        with self._changed:
            self._queue.append(ticket)
        try:
            self._wait_in_line(ticket, cancelled)
        finally:
            with self._changed:
                self._queue.remove(ticket)
                self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._active -= 1
                self._changed.notify_all()

    def _wait_in_line(self, ticket: object, cancelled: Callable[[], bool] | None) -> None:
        while (wait_s := self._try_enter(ticket)) is not None:
            if cancelled is not None and cancelled():
                raise cancelled_error()
            if wait_s > 0:
                self._clock.sleep(min(wait_s, _TICK_S))
            else:
                with self._changed:
                    self._changed.wait(_TICK_S)

    def _try_enter(self, ticket: object) -> float | None:
        """None: entered. Otherwise the seconds to wait, 0 while all places are taken or somebody came before."""
        with self._changed:
            self._raise_if_closed()
            now = self._clock.monotonic()
            wait_s = max(self._resume_at, self._next_start) - now
            if wait_s > 0:
                return wait_s
            if self._active >= self._config.max_downloads or self._queue[0] is not ticket:
                return 0.0
            if self._pace is not None and (wait_s := self._pace.reserve(self._config.spacing_s)) > 0:
                return wait_s
            self._active += 1
            self._next_start = now + self._config.spacing_s
            return None

    def pause(self, seconds: float | None = None, reason: str = "") -> float:
        """Stops everybody for a while and gives the seconds; doubles each time, and too many close the lane.

        Requests in flight that are refused during a pause belong to that pause and are not counted again.
        """
        with self._changed:
            self._raise_if_closed()
            now = self._clock.monotonic()
            self._reason = reason or self._reason
            if now < self._resume_at:
                self._resume_at = max(self._resume_at, now + (seconds or 0.0))
                return self._resume_at - now
            if now >= self._calm_from:
                self._pauses = 0
            if self._pauses >= self._config.max_pauses:
                self._close(self._worn_out())
            length_s = self._pause_length(seconds)
            self._pauses += 1
            self._resume_at = now + length_s
            self._calm_from = self._resume_at + self._config.calm_s
            if self._pace is not None:
                self._pace.pause(length_s)
            log.warning("YouTube asks for a pause: everything waits %.0f s (%s)", length_s, self._reason)
            return length_s

    def _pause_length(self, asked_s: float | None) -> float:
        own_s = min(self._config.pause_s * 2.0**self._pauses, self._config.longest_pause_s)
        return max(own_s, asked_s or 0.0)

    def _worn_out(self) -> Throttled:
        pauses = self._config.max_pauses
        return Throttled(
            f"YouTube still limits this address after {pauses} pause{'s' if pauses != 1 else ''}; run again in some "
            "hours, with fewer downloads at once, or from another address.",
            code="lane_worn_out",
            retry_after=self._clock.now() + timedelta(seconds=self._config.longest_pause_s),
        )

    def close(self, error: LaneFailure) -> None:
        """Nobody enters any more: waiting threads and later ones raise this error. The first reason stays."""
        with self._changed:
            if self._closed is None:
                log.error("No more requests to YouTube in this run: %s", error.reason)
                self._closed = error
            self._changed.notify_all()

    def _close(self, error: LaneFailure) -> None:
        self.close(error)
        self._raise_if_closed()

    def _raise_if_closed(self) -> None:
        if (error := self._closed) is not None:
            raise type(error)(error.reason, code=error.code, retry_after=error.retry_after)

    def waiting(self) -> int:
        """How many threads stand in line."""
        with self._changed:
            return len(self._queue)

    def snapshot(self) -> LaneState:
        with self._changed:
            left_s = max(self._resume_at - self._clock.monotonic(), 0.0)
            until = self._clock.now() + timedelta(seconds=left_s) if left_s else None
            closed = self._closed.reason if self._closed else ""
            return LaneState(self._active, left_s, until, self._pauses, self._reason, closed)

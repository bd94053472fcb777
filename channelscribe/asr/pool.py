"""The pool between feeders and engine: decoded windows of all files, bounded in bytes, handed out fairly.

Callers' threads put; the engine's thread takes, waiting when it has nothing to do and looking in between when it has.
Files take turns, so that a short one never waits behind a long one.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable

from channelscribe.asr.job import Job, Ticket

VOTERS = 5
_POLL_S = 0.2
# An engine that is idle waits this long for another window while files are still being read.
_LINGER_S = 0.2


class Closed(Exception):
    """The engine is closing."""


class _Lane:
    """The waiting windows of one file; `complete` when its feeder has put the last, `voting` from its first turn on."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.tickets: deque[Ticket] = deque()
        self.complete = self.voting = False

    @property
    def ready(self) -> bool:
        """A file whose language is to be heard goes on once enough of its windows are here to vote."""
        if self.job.language is not None:
            return bool(self.tickets)
        return bool(self.tickets) and not self.voting and (self.complete or len(self.tickets) >= VOTERS)

    @property
    def may_exceed(self) -> bool:
        """Without its voters a file could never leave a full pool."""
        gathering = self.job.language is None and not self.voting
        return not self.tickets or (gathering and len(self.tickets) < VOTERS)

    def draw(self) -> list[Ticket]:
        """One window; of a file whose language is to be heard all that vote on it, since they are encoded only once."""
        turns = 1
        if self.job.language is None:
            self.voting, turns = True, VOTERS
        return [self.tickets.popleft() for _ in range(min(turns, len(self.tickets)))]


class Pool:
    def __init__(self, most_bytes: int, *, linger_s: float = _LINGER_S) -> None:
        self._most_bytes, self._linger_s = most_bytes, linger_s
        self._lanes: OrderedDict[Job, _Lane] = OrderedDict()
        self._bytes = 0
        self._arrivals = 0
        self._closed = False
        self._changed = threading.Condition()

    def open_lane(self, job: Job) -> None:
        with self._changed:
            if self._closed:
                raise Closed
            self._lanes[job] = _Lane(job)

    def put(self, ticket: Ticket, stopped: Callable[[], bool]) -> bool:
        """Waits for room. False when `stopped` says so first; raises Closed when the engine closes."""
        with self._changed:
            lane = self._lanes.get(ticket.job)
            while not self._closed and lane is not None and not self._has_room(lane, ticket):
                if stopped():
                    return False
                self._changed.wait(_POLL_S)
            if self._closed:
                raise Closed
            if lane is None or ticket.job not in self._lanes:
                return False
            lane.tickets.append(ticket)
            self._bytes += ticket.bytes
            self._arrivals += 1
            self._changed.notify_all()
            return True

    def complete(self, job: Job) -> None:
        with self._changed:
            if lane := self._lanes.get(job):
                lane.complete = True
                self._changed.notify_all()

    def drop(self, job: Job) -> None:
        with self._changed:
            if lane := self._lanes.pop(job, None):
                self._bytes -= sum(ticket.bytes for ticket in lane.tickets)
                self._changed.notify_all()

    def wait(self) -> None:
        """Until the first window can go. Raises Closed."""
        with self._changed:
            while not self._closed and not self._ready_count():
                self._changed.wait(_POLL_S)
            if self._closed:
                raise Closed

    def take(self, most: int) -> list[Ticket]:
        """The next windows, in turns; waits for the first, and a little for more while more is coming. Raises Closed.

        `most` may be exceeded by the windows that vote together."""
        with self._changed:
            while True:
                if self._closed:
                    raise Closed
                if self._ready_count() and (self._ready_count() >= most or not self._worth_waiting()):
                    return self._draw(most)
                if not self._ready_count():
                    self._changed.wait(_POLL_S)

    def poll(self, most: int) -> list[Ticket]:
        """The same without waiting: what is there, perhaps nothing. Raises Closed."""
        with self._changed:
            if self._closed:
                raise Closed
            return self._draw(most)

    def close(self) -> list[Job]:
        """Wakes everybody; the jobs that were still here."""
        with self._changed:
            self._closed = True
            jobs = list(self._lanes)
            self._lanes.clear()
            self._bytes = 0
            self._changed.notify_all()
            return jobs

    @property
    def waiting(self) -> int:
        """Windows that wait here."""
        with self._changed:
            return sum(len(lane.tickets) for lane in self._lanes.values())

    @property
    def files(self) -> int:
        with self._changed:
            return len(self._lanes)

    @property
    def waiting_bytes(self) -> int:
        with self._changed:
            return self._bytes

    def _has_room(self, lane: _Lane, ticket: Ticket) -> bool:
        return lane.may_exceed or self._bytes + ticket.bytes <= self._most_bytes

    def _ready_count(self) -> int:
        return sum(len(lane.tickets) for lane in self._lanes.values() if lane.ready)

    def _worth_waiting(self) -> bool:
        """Lingers once; True when another window came meanwhile, so that it is worth looking again."""
        if all(lane.complete for lane in self._lanes.values()) or self._bytes >= self._most_bytes:
            return False
        before, until = self._arrivals, time.monotonic() + self._linger_s
        while (left := until - time.monotonic()) > 0 and before == self._arrivals and not self._closed:
            self._changed.wait(left)
        return before != self._arrivals or self._closed

    def _draw(self, most: int) -> list[Ticket]:
        drawn: list[Ticket] = []
        while len(drawn) < most:
            turn = [job for job, lane in self._lanes.items() if lane.ready]
            if not turn:
                break
            for job in turn:
                drawn += self._lanes[job].draw()
                self._lanes.move_to_end(job)
                if len(drawn) >= most:
                    break
        if drawn:
            self._bytes -= sum(ticket.bytes for ticket in drawn)
            self._changed.notify_all()
        return drawn

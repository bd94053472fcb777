"""A task that begins while the Prefect server is away: Prefect turns it away before it runs, and it is begun anew here.

Before a tagged task runs, Prefect asks the server for the limits of its tags and fails the task when nobody answers; no
`retries` apply, as the task has not begun. The work needs no server, so a restart of it must not cost a video.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from concurrent.futures import FIRST_COMPLETED, wait
from contextlib import suppress
from typing import TypeVar

from prefect.concurrency.asyncio import ConcurrencySlotAcquisitionError
from prefect.futures import PrefectConcurrentFuture

from channelscribe.attempts import Cancelled, Control
from channelscribe.core.clock import Clock
from channelscribe.core.errors import EnvironmentFailure

log = logging.getLogger(__name__)
AGAIN_S = 5.0
PATIENCE_S = 1800.0
_T = TypeVar("_T")


class Patience:
    """How long one thread of a run waits for a server that does not answer: half an hour, then the run is stopped."""

    def __init__(self, control: Control, clock: Clock) -> None:
        self._control, self._clock = control, clock
        self._until_s: float | None = None

    def renew(self) -> None:
        """The server has answered."""
        self._until_s = None

    def lasts(self) -> bool:
        """Waits a little; True: ask again. False: the run is stopped, by somebody or because patience is at its end."""
        if self._control.stopped():
            return False
        now_s = self._clock.monotonic()
        if self._until_s is None:
            log.warning("The Prefect server does not answer; the next task begins when it does.")
            self._until_s = now_s + PATIENCE_S
        if now_s >= self._until_s:
            self._control.heed(_gone())
            return False
        self._clock.sleep(AGAIN_S)
        return True


def patiently(begin: Callable[[], _T], control: Control, clock: Clock) -> _T:
    """What `begin` gives, which calls a task; calls it again while no server answers. Raises Cancelled at the end."""
    patience = Patience(control, clock)
    while True:
        try:
            return begin()
        except ConcurrencySlotAcquisitionError as error:
            if not patience.lasts():
                raise Cancelled("the run was stopped while no server answered") from error


def first_over(
    futures: Collection[PrefectConcurrentFuture[str]], timeout_s: float
) -> list[PrefectConcurrentFuture[str]]:
    """The tasks that have ended, as soon as there is one; asks the pool and not the server, which may be away.

    Raises what ended a task from outside, such as Prefect's Pause when the run was suspended.
    """
    wait([future.wrapped_future for future in futures], timeout_s, FIRST_COMPLETED)
    over = [future for future in futures if future.wrapped_future.done()]
    for future in futures:
        with suppress(ConcurrencySlotAcquisitionError):
            future.wait(timeout=0)
    return over


def turned_away(future: PrefectConcurrentFuture[str]) -> bool:
    """True when the task, which is over, never ran, as no server answered when it was to begin."""
    return isinstance(future.wrapped_future.exception(), ConcurrencySlotAcquisitionError)


def _gone() -> EnvironmentFailure:
    return EnvironmentFailure(
        f"The Prefect server has not answered for {PATIENCE_S / 60:.0f} minutes; start it and retry the run.",
        code="server_away",
    )

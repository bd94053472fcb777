"""Events of our own for automations: that a run goes on, that a service has shut its door, that a budget is used up.

Emitted around the steps of a video and at a run's end, about the run, the lane or the budget; the guard's events are in
`guarding`. A server that does not answer costs a run nothing: Prefect's client sends events from a thread of its own.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from prefect import get_run_logger
from prefect.events import emit_event

from channelscribe.budget import Budget, passed
from channelscribe.core.errors import Blocked
from channelscribe.core.model import Run, Video
from channelscribe.core.settings import Settings

PROGRESS = "channelscribe.run.progress"
BLOCKED = "channelscribe.lane.blocked"
BUDGET = "channelscribe.budget.passed"
_EVERY_S = 30.0
_LANE_EVERY_S = 3600.0
_told: dict[tuple[str, str], float] = {}
_lock = threading.Lock()


@contextmanager
def telling(run_id: str, video_id: str, *, emit: Callable[..., Any] = emit_event) -> Iterator[None]:
    """Tells of progress when the block ends well, and of a blocked lane when that is how it fails; seldom enough."""
    try:
        yield
    except Blocked as error:
        resource = {"prefect.resource.id": "channelscribe.lane.youtube", "prefect.resource.name": "YouTube"}
        _tell(emit, run_id, BLOCKED, resource, _LANE_EVERY_S, message=error.reason, code=error.code)
        raise
    resource = {"prefect.resource.id": f"prefect.flow-run.{run_id}"}
    _tell(emit, run_id, PROGRESS, resource, _EVERY_S, message=Video(video_id, "").url)


def tell_budgets(runs: Iterable[Run], now: datetime, *, emit: Callable[..., Any] = emit_event) -> None:
    """At the end of a run: every budget of the environment that is used up, in the log and as an event."""
    own = Settings()
    for over in passed(runs, Budget(own.budget_kwh, own.budget_quota, own.price_per_kwh), now):
        get_run_logger().warning(over.sentence)
        resource = {"prefect.resource.id": f"channelscribe.budget.{over.what}", "prefect.resource.name": over.what}
        _send(emit, BUDGET, resource, message=over.sentence, used=over.used, allowed=over.allowed)


def _tell(
    emit: Callable[..., Any], run_id: str, event: str, resource: dict[str, str], every_s: float, **payload: str
) -> None:
    now_s = time.monotonic()
    with _lock:
        if now_s - _told.get((run_id, event), -every_s) < every_s:
            return
        _told[run_id, event] = now_s
    _send(emit, event, resource, **payload)


def _send(emit: Callable[..., Any], event: str, resource: dict[str, str], **payload: Any) -> None:
    try:
        emit(event=event, resource=resource, payload=payload)
    except Exception as error:  # noqa: BLE001 - whatever the event client says, the video goes on
        get_run_logger().debug("An event could not be sent: %s", error)

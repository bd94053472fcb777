"""The guard of a flow run and its herald: shows a pause as the run's state and hears Resume, Suspend and Cancel.

The guard's thread (channelscribe/gpu/guard.py) holds the card whether or not the server lives; the herald is another
thread, which brings the server to what the guard says, one wish at a time, and may fail at any call.
"""

from __future__ import annotations

import contextvars
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any
from uuid import UUID

from prefect import get_run_logger
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas import OrchestrationResult
from prefect.client.schemas.objects import State, StateType
from prefect.events import emit_event
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings
from prefect.states import Paused, Running

from channelscribe.attempts import Control
from channelscribe.core.clock import Clock, SystemClock
from channelscribe.core.gpu import Card, Cause, Decision, Reader, Reading, Zone
from channelscribe.core.guard import GuardPolicy
from channelscribe.core.settings import Settings
from channelscribe.gpu.capping import open_cap
from channelscribe.gpu.exporter import open_exporter
from channelscribe.gpu.gate import GuardGate
from channelscribe.gpu.guard import Change, Guard
from channelscribe.gpu.judgement import Judgement

COOLING = "Cooling down"  # any name but "Suspended", which would end the process (research/prefect.md, section 3)
SUSPENDED = "Suspended"
HELD_POLL_S = 1.0
POLL_S = 2.0
CALL_S = 5.0
END_S = 8.0
Log = logging.Logger | logging.LoggerAdapter[Any]
_HELD = (Zone.PAUSE, Zone.STOP)
_CANCELLED = (StateType.CANCELLING, StateType.CANCELLED)


@dataclass(frozen=True)
class Guarding:
    """The guard of this run, and what a person has decided about the run meanwhile."""

    guard: Guard
    herald: Herald

    @property
    def suspended(self) -> State[Any] | None:
        """The server's state when somebody has suspended the run."""
        ended = self.herald.ended_by
        return ended if ended is not None and ended.is_paused() else None

    @property
    def cancelled(self) -> bool:
        return self.herald.ended_by is not None and self.suspended is None


@contextmanager
def guarding(
    reader: Reader,
    policy: GuardPolicy,
    gate: GuardGate,
    control: Control,
    *,
    run_id: str,
    run_name: str = "",
    on_reading: Callable[[Reading], None],
    clock: Clock | None = None,
) -> Iterator[Guarding]:
    """Guards the card of `reader` until the run ends; takes over the reader."""
    clock, port = clock or SystemClock(), Settings().metrics_port
    herald = Herald(UUID(run_id), reader.card, control.stop)
    guard = Guard(
        reader,
        policy,
        gate,
        clock=clock,
        run_id=run_id,
        on_change=herald.hear,
        on_reading=on_reading,
        on_failure=control.heed,
        cap=open_cap(reader) if policy.power_cap else None,
        judgement=Judgement(reader.card.uuid, run_name or run_id, clock=clock),
    )
    guard.start()
    herald.start(guard)
    exporter = open_exporter(guard.snapshot, port=port)
    try:
        yield Guarding(guard, herald)
    finally:
        if exporter is not None:
            exporter.close()
        guard.stop()
        herald.stop()


class Herald:
    """`on_end` is called when a person suspends or cancels the run. Nothing here ever raises to the guard."""

    def __init__(
        self,
        run_id: UUID,
        card: Card,
        on_end: Callable[[], None],
        *,
        log: Log | None = None,
        emit: Callable[..., object] = emit_event,
    ) -> None:
        self._run_id, self._card, self._on_end = run_id, card, on_end
        self._changes: SimpleQueue[Change] = SimpleQueue()
        self._woken, self._stopped = threading.Event(), threading.Event()
        self._log, self._emit = log or get_run_logger(), emit
        self._shown = False
        self._complained = False
        self.ended_by: State[Any] | None = None
        context = contextvars.copy_context()  # events then name the run's deployment, flow and tags
        self._thread = threading.Thread(
            target=context.run, args=(self._work,), name="channelscribe-herald", daemon=True
        )

    def hear(self, change: Change) -> None:
        """From the guard's thread: returns at once."""
        self._changes.put(change)
        self._woken.set()

    def start(self, guard: Guard) -> None:
        self._guard = guard
        self._thread.start()

    def stop(self) -> None:
        """Waits a little for the last words; a server that hangs is left behind."""
        self._stopped.set()
        self._woken.set()
        self._thread.join(END_S)

    def _work(self) -> None:
        with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}):
            while not self._stopped.is_set():
                self._woken.wait(HELD_POLL_S if self._decision.zone in _HELD else POLL_S)
                self._woken.clear()
                self._guard.supervise()
                self._announce()
                if self.ended_by is None and not self._stopped.is_set():
                    self._talk()
            self._announce()

    @property
    def _decision(self) -> Decision:
        last = self._guard.snapshot()
        return last.decision if last is not None else Decision(Zone.RUN)

    def _announce(self) -> None:
        """Once for each change of zone: a line in the log and an event for automations."""
        with suppress(Empty):
            while True:
                change = self._changes.get_nowait()
                self._log.warning(sentence(change.card, change.decision))
                try:
                    self._emit(**event_of(change, self._run_id))
                except Exception as error:  # noqa: BLE001 - whatever the event client says, the guard goes on
                    self._complain(error)

    def _talk(self) -> None:
        try:
            with get_client(sync_client=True, httpx_settings={"timeout": CALL_S}) as client:
                self._converse(client)
            self._complained = False
        except Exception as error:  # noqa: BLE001 - a server that is down, slow or confused is asked again later
            self._complain(error)

    def _converse(self, client: SyncPrefectClient) -> None:
        """One step towards a server that shows what the guard does, and a guard that does what a person wants."""
        state = client.read_flow_run(self._run_id).state
        if state is None or self._ended(state):
            return
        wanted, cooling = self._decision.zone in _HELD, is_cooling(state)
        if wanted and cooling:
            self._shown = True
        elif wanted and state.is_running():
            resumed, self._shown = self._shown, False
            if not (resumed and self._resumed(client)):
                self._show(client)
        elif cooling:
            self._shown = False
            client.set_flow_run_state(self._run_id, Running(message=sentence(self._card, self._decision)))

    def _ended(self, state: State[Any]) -> bool:
        if state.type not in _CANCELLED and not is_suspended(state):
            return False
        self.ended_by = state
        self._log.warning(
            "The run was %s; it ends after the step in flight.",
            "cancelled" if state.type in _CANCELLED else "suspended",
        )
        self._on_end()
        return True

    def _show(self, client: SyncPrefectClient) -> None:
        message = sentence(self._card, self._decision)
        answer: OrchestrationResult[Any] = client.set_flow_run_state(
            self._run_id, Paused(name=COOLING, message=message)
        )
        self._shown = answer.state is not None and is_cooling(answer.state)

    def _resumed(self, client: SyncPrefectClient) -> bool:
        """A person pressed Resume while the card is hot: it may be for a while. False where nobody may."""
        if not self._guard.override(self._guard.policy.override_s):
            self._log.warning("Resume was pressed, but the card is not safe; the run ends.")
            return False
        client.set_flow_run_state(self._run_id, Running(message=sentence(self._card, self._decision)))
        return True

    def _complain(self, error: Exception) -> None:
        if not self._complained:
            self._complained = True
            self._log.warning(
                "The guard cannot reach the Prefect server (%s); the card is guarded all the same.",
                type(error).__name__,
            )


def is_cooling(state: State[Any]) -> bool:
    return state.type is StateType.PAUSED and state.name == COOLING


def is_suspended(state: State[Any]) -> bool:
    return state.type is StateType.PAUSED and (state.name == SUSPENDED or bool(state.state_details.pause_reschedule))


def sentence(card: Card, decision: Decision) -> str:
    """What the guard does and why, for the run's state, its log and its events."""
    if decision.zone is Zone.RUN and decision.cause is not Cause.PERSON:
        return f"{card.name} works at full speed again."
    said = f"{card.name}: {decision.reason}"
    waits = decision.expected_wait_s is not None and "expected" not in said
    return f"{said} Expected wait: {decision.expected_wait_s:.0f} s." if waits else said


def event_of(change: Change, run_id: UUID) -> dict[str, Any]:
    """The arguments of `emit_event`: `channelscribe.gpu.pause` and its like, about the card, related to the run."""
    decision = change.decision
    return {
        "event": f"channelscribe.gpu.{decision.zone}",
        "resource": {
            "prefect.resource.id": f"channelscribe.gpu.{change.card.uuid}",
            "prefect.resource.name": change.card.name,
        },
        "related": [{"prefect.resource.id": f"prefect.flow-run.{run_id}", "prefect.resource.role": "flow-run"}],
        "payload": {
            "before": str(change.before),
            "zone": str(decision.zone),
            "cause": str(decision.cause),
            "message": sentence(change.card, decision),
            "value": decision.value,
            "limit": decision.limit,
            "resume_below": decision.resume_below,
            "unit": decision.unit,
            "expected_wait_s": decision.expected_wait_s,
        },
    }

"""The shards of a run as runs of a deployment: started, watched, given up when silent, and started again.

Under `flows/sync_archive`. What a shard did stands in the archive; from the server come only the states of its runs.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from prefect import get_run_logger
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId, FlowRunFilterParentFlowRunId
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound
from prefect.states import Crashed

from channelscribe.core.clock import Clock, SystemClock
from channelscribe.core.errors import EnvironmentFailure, UsageError
from channelscribe.store.claims import Claims, Watch

MOST_RESTARTS = 3
_PAGE = 200
_WAITING_TOLD_S = 600.0
# A run that a worker has taken but not begun: an image may have to be pulled, a node to be started.
_PENDING_S = 1800.0
_STARTING_S = 300.0  # from the state Running to the first beat: imports, and the opening of the archive
Log = logging.Logger | logging.LoggerAdapter[Any]


@dataclass(frozen=True)
class Limits:
    """`at_once`: runs given to the pool at a time. `silence_s`: after that a run without a sign of life is dead."""

    at_once: int
    silence_s: float
    poll_s: float
    restarts: int = MOST_RESTARTS


@dataclass
class Shard:
    """One piece, and its runs so far. `left`: what its next run is asked for."""

    number: int
    left: tuple[str, ...]
    run: FlowRun | None = None
    runs: int = 0
    restarts: int = 0

    @property
    def over(self) -> bool:
        return self.run is None and not self.left


@dataclass
class ShardRuns:
    """Hands out shards until all are over. `left` says what a run that ended left untouched."""

    parent: FlowRun
    deployment: str
    parameters: dict[str, Any]
    limits: Limits
    claims: Claims
    left: Callable[[Shard, FlowRun], tuple[str, ...]]
    clock: Clock = field(default_factory=SystemClock)
    members: set[str] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._log: Log = get_run_logger()
        self._watch = Watch(self.claims._root, self.clock)
        self._told_s = self.clock.monotonic()

    def work(self, pieces: Sequence[Sequence[str]]) -> State[Any] | None:
        """Returns when all are over, or with the parent's state as soon as a person has suspended it."""
        shards = [Shard(number, tuple(videos)) for number, videos in enumerate(pieces)]
        with get_client(sync_client=True) as client:
            self._adopt(client, shards)
            while not all(shard.over for shard in shards):
                self._hand_out(shards)
                self.clock.sleep(self.limits.poll_s)
                if (state := self._look(client, shards)) is not None:
                    return state
        return None

    def _adopt(self, client: SyncPrefectClient, shards: list[Shard]) -> None:
        """Runs of an earlier try of this run: those that still work are watched on, the others are history."""
        for run in _pages(
            client, FlowRunFilter(parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[self.parent.id]))
        ):
            _, number, count = str(run.idempotency_key).rsplit(":", 2)
            self.members.add(str(run.id))
            if int(number) >= len(shards):
                continue
            shard = shards[int(number)]
            shard.runs = max(shard.runs, int(count) + 1)
            if run.state is not None and not run.state.is_final():
                shard.run = run

    def _hand_out(self, shards: Iterable[Shard]) -> None:
        free = self.limits.at_once - sum(shard.run is not None for shard in shards)
        waiting = [shard for shard in shards if shard.run is None and shard.left]
        for shard in waiting[: max(free, 0)]:
            shard.run = self._start(shard)
            shard.runs += 1
            self.members.add(str(shard.run.id))

    def _start(self, shard: Shard) -> FlowRun:
        """The key makes a start that was asked for twice one run."""
        started: Any = run_deployment(
            self.deployment,
            parameters={**self.parameters, "videos": list(shard.left)},
            idempotency_key=f"{self.parent.id}:{shard.number}:{shard.runs}",
            flow_run_name=f"{self.parent.name}, shard {shard.number + 1}" + (f" ({shard.runs + 1})" * (shard.runs > 0)),
            tags=["shard"],
            timeout=0,
            as_subflow=True,  # shown below its parent, and cancelled with it
        )
        run: FlowRun = started
        return run

    def _look(self, client: SyncPrefectClient, shards: list[Shard]) -> State[Any] | None:
        """One request for all runs in flight and our own."""
        flying = {shard.run.id: shard for shard in shards if shard.run is not None}
        for run in _pages(client, FlowRunFilter(id=FlowRunFilterId(any_=[*flying, self.parent.id]))):
            if run.id == self.parent.id:
                if run.state is not None and run.state.is_paused():
                    return run.state
                continue
            self._judge(client, flying[run.id], run)
        if flying and self.clock.monotonic() - self._told_s > _WAITING_TOLD_S:
            self._told_s = self.clock.monotonic()
            self._log.info("%d shards are with the pool, %d not yet", len(flying), sum(not s.over for s in shards))
        return None

    def _judge(self, client: SyncPrefectClient, shard: Shard, run: FlowRun) -> None:
        state = run.state
        if state is None or not (state.is_final() or self._dead(client, run, state)):
            return
        shard.run = None
        if state.is_completed() or state.is_cancelled():
            shard.left = ()
            return
        shard.left = self.left(shard, run)
        said = "was given up after a long silence" if not state.is_final() else f"ended as {state.name}"
        if shard.left and shard.restarts < self.limits.restarts:
            shard.restarts += 1
            self._log.warning("Shard %d %s; %d videos start again", shard.number + 1, said, len(shard.left))
        elif shard.left:
            self.notes.append(f"Shard {shard.number + 1} {said}, and was not started a further time.")
            shard.left = ()

    def _dead(self, client: SyncPrefectClient, run: FlowRun, state: State[Any]) -> bool:
        """True for a run whose process is gone without a word; the server is told, so that nobody waits for it."""
        if state.type is StateType.SCHEDULED or state.name == "Suspended":
            return False
        silent_s = self._watch.silent_s(str(run.id), also=state.name or "")
        if silent_s < self._patience_s(run, state):
            return False
        message = f"No sign of life for {silent_s:.0f} s; its shard was given to another worker."
        client.set_flow_run_state(run.id, Crashed(message=message), force=True)
        return True

    def _patience_s(self, run: FlowRun, state: State[Any]) -> float:
        if state.type is StateType.PENDING:
            return _PENDING_S
        return self.limits.silence_s if self._watch.beating(str(run.id)) else max(_STARTING_S, self.limits.silence_s)


def pool_of_shards(parent: FlowRun, deployment: str) -> str:
    """The pool that shards go to. Raises when they could wait for ever for the slot that their parent holds."""
    with get_client(sync_client=True) as client:
        try:
            pool = client.read_deployment_by_name(deployment).work_pool_name
        except ObjectNotFound as error:
            reason = (
                f"The Prefect server knows no deployment {deployment!r}; run `channelscribe up` or register it first."
            )
            raise EnvironmentFailure(reason, code="no_deployment") from error
    if pool is not None and pool == parent.work_pool_name:
        reason = (
            f"This run works in the pool {pool!r}, where its shards would wait for the slot that it holds; start it in "
            "another pool, as the deployment `whole-channel` does."
        )
        raise UsageError(reason, code="same_pool")
    return pool or ""


def _pages(client: SyncPrefectClient, wanted: FlowRunFilter) -> Iterator[FlowRun]:
    at = 0
    while page := client.read_flow_runs(flow_run_filter=wanted, limit=_PAGE, offset=at):
        yield from page
        if len(page) < _PAGE:
            return
        at += _PAGE

"""Prefect's process worker through Prefect's own command line, made patient: `python -m deployments.worker start ...`.

`stack` starts it. Two things are ours:

* Prefect 3.8's worker dies when Retry is pressed while the process of that run is still ending: with `--limit` it asks
  twice for the same run's slot and takes the refusal for a bug. Ours leaves such a run for its next look.
* A run that an earlier worker of this machine left behind is taken up again (`in_hand`).
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import anyio.abc
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_HOME
from prefect.workers.process import ProcessWorker

from deployments.in_hand import InHand, what_follows

if TYPE_CHECKING:
    from prefect.client.schemas.objects import FlowRun, WorkerFlowRunResponse
    from prefect.workers.process import ProcessJobConfiguration, ProcessWorkerResult


class _Told(anyio.abc.TaskStatus[int]):
    """Passes the number of the flow's process on, and to us."""

    def __init__(self, status: anyio.abc.TaskStatus[int], tell: Callable[[int], None]) -> None:
        self._status, self._tell = status, tell

    def started(self, value: int | None = None) -> None:
        if value is not None:
            self._tell(value)
            self._status.started(value)


with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # that it takes the place of the type "process" is the intention

    class PatientWorker(ProcessWorker):
        """Takes the place of Prefect's own worker of this type."""

        type = "process"

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self._in_hand = InHand(PREFECT_HOME.value() / "in-hand")

        async def _submit_scheduled_flow_runs(self, flow_run_response: list[WorkerFlowRunResponse]) -> list[FlowRun]:
            ending = set(self._limiter.statistics().borrowers) if self._limiter else set()
            free = [entry for entry in flow_run_response if entry.flow_run.id not in ending]
            return await super()._submit_scheduled_flow_runs(free)

        async def run(
            self,
            flow_run: FlowRun,
            configuration: ProcessJobConfiguration,
            task_status: anyio.abc.TaskStatus[int] | None = None,
        ) -> ProcessWorkerResult:
            self._in_hand.take(flow_run.id)
            told = _Told(task_status or anyio.TASK_STATUS_IGNORED, lambda pid: self._in_hand.take(flow_run.id, pid))
            try:
                result = await super().run(flow_run, configuration, told)
            except Exception:
                self._in_hand.let_go(flow_run.id)  # not when we are being ended ourselves, which is no Exception
                raise
            self._in_hand.let_go(flow_run.id)
            return result

        async def sync_with_backend(self) -> None:
            await super().sync_with_backend()
            for run_id in self._in_hand.left_behind():
                try:
                    run = await self.client.read_flow_run(run_id)
                except ObjectNotFound:
                    self._in_hand.let_go(run_id)
                    continue
                if (state := what_follows(run.state, run.run_count)) is not None:
                    self._logger.warning("Run %s was left behind: %s", run.name, state.message)
                    await self.client.set_flow_run_state(run_id, state, force=True)
                self._in_hand.let_go(run_id)


if __name__ == "__main__":
    from prefect.cli import app

    sys.argv.insert(1, "worker")
    app()

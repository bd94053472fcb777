"""Prefect's process worker through Prefect's own command line, made patient: `python -m deployments.worker start ...`.

`stack` starts it. Prefect 3.8's worker dies when Retry is pressed while the process of that run is still ending: with
`--limit` it asks twice for the same run's slot and takes the refusal for a bug. Ours leaves such a run for its next
look, seconds later.
"""

from __future__ import annotations

import sys
import warnings
from typing import TYPE_CHECKING

from prefect.workers.process import ProcessWorker

if TYPE_CHECKING:
    from prefect.client.schemas.objects import FlowRun, WorkerFlowRunResponse

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # that it takes the place of the type "process" is the intention

    class PatientWorker(ProcessWorker):
        """Takes the place of Prefect's own worker of this type."""

        type = "process"

        async def _submit_scheduled_flow_runs(self, flow_run_response: list[WorkerFlowRunResponse]) -> list[FlowRun]:
            ending = set(self._limiter.statistics().borrowers) if self._limiter else set()
            free = [entry for entry in flow_run_response if entry.flow_run.id not in ending]
            return await super()._submit_scheduled_flow_runs(free)


if __name__ == "__main__":
    from prefect.cli import app

    sys.argv.insert(1, "worker")
    app()

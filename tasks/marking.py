"""Tags of a run that are known only while it runs, beside those of its deployment.

For the flows that have no live page; `live` marks the others by channel and engine.
"""

from __future__ import annotations

from uuid import UUID

from prefect import get_run_logger
from prefect.client.orchestration import get_client
from prefect.runtime import flow_run

from tasks.live import tag


def mark_run(**tags: str) -> None:
    """Tags like "stage:upload", without empty ones. That a server refuses them is logged and harms nothing."""
    wanted = {f"{kind}:{tag(value)}" for kind, value in tags.items() if value.strip()}
    if not wanted or flow_run.id is None:
        return
    try:
        with get_client(sync_client=True) as client:
            run = client.read_flow_run(UUID(flow_run.id))
            if not wanted <= set(run.tags):
                client.update_flow_run(run.id, tags=sorted({*run.tags, *wanted}))
    except Exception as error:  # noqa: BLE001 - a tag must never harm a run
        get_run_logger().warning("The run's tags could not be set: %s: %s", type(error).__name__, error)

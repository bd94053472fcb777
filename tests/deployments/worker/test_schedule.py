"""The scheduled deployment: the same flow, by module path, run by the worker as soon as its schedule is switched on."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tests.deployments.worker.api import Row, wait_for
from tests.deployments.worker.channels import NIGHTLY
from tests.deployments.worker.installation import Installation
from tests.flows.tables import table

pytestmark = [pytest.mark.prefect, pytest.mark.slow]


def test_a_schedule_that_is_switched_on_runs_the_same_flow(site: Installation) -> None:
    daily, on_demand = site.api.deployment("daily"), site.api.deployment("on-demand")
    assert daily["entrypoint"] == on_demand["entrypoint"] == "flows.sync_channel.sync_channel"
    assert daily["flow_id"] == on_demand["flow_id"]
    assert [s["active"] for s in daily["schedules"]] == [False]
    one = f"/deployments/{daily['id']}/schedules/{daily['schedules'][0]['id']}"
    soon = {"interval": 20, "anchor_date": datetime.now(UTC).isoformat(), "timezone": "UTC"}
    site.api.ask("PATCH", one, {"active": True, "schedule": soon})
    try:
        wait_for(lambda: bool(started(site, daily)), "the scheduled run")
    finally:
        site.api.ask("PATCH", one, {"active": False})
    run = site.api.ended(started(site, daily)[0]["id"])
    assert (run["state_type"], run["auto_scheduled"]) == ("COMPLETED", True), run["state"]
    assert site.documents(NIGHTLY) == {v.id: 1 for v in site.films(NIGHTLY)}
    assert run["id"] in set(table(site.data, "runs")["run_id"])


def started(site: Installation, deployment: Row) -> list[Row]:
    """Runs of the deployment that a worker has taken."""
    wanted = {
        "flow_runs": {
            "deployment_id": {"any_": [deployment["id"]]},
            "start_time": {"is_null_": False},
        }
    }
    found: list[Row] = site.api.ask("POST", "/flow_runs/filter", {**wanted, "sort": "START_TIME_ASC"})
    return found

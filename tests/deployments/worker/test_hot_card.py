"""A hot card under a worker: cancelled, suspended, resumed, killed and retried while it waits, and nothing is lost."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest

from tests.deployments.worker.api import Row, wait_for
from tests.deployments.worker.channels import HEATED
from tests.deployments.worker.installation import Installation
from tests.deployments.worker.test_cancel import flow_process, retried
from tests.flows.guard.hotroom import COOL_C, COOLING, HOT_C, Plant, hot
from tests.flows.tables import table

pytestmark = [
    pytest.mark.prefect,
    pytest.mark.slow,
    pytest.mark.skipif(os.name == "nt", reason="signals are POSIX here"),
]


@pytest.fixture
def plant(site: Installation, tmp_path: Path) -> Iterator[Plant]:
    """A hot card in the block that the operator edits in the UI."""
    heated = hot(tmp_path / "plant.json")
    policy = {"sample_s": 0.2, "min_dwell_s": 0.5, "frozen_s": 3600}
    block = site.api.make_block("gpu-guard-profile", gpu=f"sim:{heated.path}", policy=policy)
    yield heated
    site.api.delete_block(block)


def until_cooling(site: Installation, run_id: str) -> Row:
    wait_for(lambda: site.api.run(run_id)["state_name"] == COOLING, "the pause")
    run = site.api.run(run_id)
    assert run["state_type"] == "PAUSED" and f"{HOT_C} °C" in run["state"]["message"], run["state"]
    return run


def gone(pid: int) -> None:
    wait_for(lambda: not psutil.pid_exists(pid), "the end of the flow's process")


def test_whatever_a_person_or_the_system_does_while_the_card_is_hot_nothing_is_lost(
    site: Installation, plant: Plant, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    films = {v.id for v in site.films(HEATED)}
    cancelled = site.api.start(source=f"@{HEATED}", data=str(data))
    until_cooling(site, cancelled)
    wait_for(lambda: set(table(data, "media")["video_id"]) == films, "the downloads, which go on meanwhile")
    pid = flow_process(site, cancelled)
    site.api.cancel(cancelled)
    assert site.api.ended(cancelled)["state_type"] == "CANCELLED"
    gone(pid)

    run_id = site.api.start(source=f"@{HEATED}", data=str(data))
    until_cooling(site, run_id)
    pid = flow_process(site, run_id)
    site.api.press_pause(run_id)
    gone(pid)
    assert site.api.run(run_id)["state_name"] == "Suspended"
    assert table(data, "runs").set_index("run_id").loc[run_id, "state"] == "Suspended"

    site.api.resume(run_id)
    until_cooling(site, run_id)
    pid = flow_process(site, run_id)
    os.kill(pid, signal.SIGKILL)
    assert site.api.ended(run_id)["state_type"] == "CRASHED"
    assert table(data, "transcripts").empty

    plant.turn(forced_temp_c=COOL_C, start_temp_c=COOL_C)
    again = retried(site, run_id)
    assert (again["state_type"], again["state"]["message"]) == ("COMPLETED", "2 videos: 2 done."), again["state"]
    assert site.documents(HEATED) == dict.fromkeys(films, 1)
    assert site.media_requests(HEATED) == dict.fromkeys(films, 1)
    assert texts(data) == unguarded(site, tmp_path / "unguarded")


def unguarded(site: Installation, data: Path) -> dict[tuple[str, int], str]:
    """The same channel with the guard switched off in the form of the run."""
    run = site.api.ended(site.api.start(source=f"@{HEATED}", data=str(data), upload=False, guard={"guard": "off"}))
    assert run["state_type"] == "COMPLETED", run["state"]
    return texts(data)


def texts(data: Path) -> dict[tuple[str, int], str]:
    rows = table(data, "transcripts")
    assert not rows.empty
    return {(r["video_id"], r["index"]): r["text"] for r in rows.to_dict("records")}

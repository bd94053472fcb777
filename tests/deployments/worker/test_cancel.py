"""Cancel in the dashboard and a terminated flow process: an early end, nothing lost, nothing doubled."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest

from tests.deployments.worker.api import Row, wait_for
from tests.deployments.worker.channels import CANCELLED, TERMINATED
from tests.deployments.worker.installation import Installation
from tests.flows.tables import table

pytestmark = [
    pytest.mark.prefect,
    pytest.mark.slow,
    pytest.mark.skipif(os.name == "nt", reason="signals are POSIX here"),
]

SLOW_BYTES_PER_S = 2_000
END_S = 60.0  # on a busy machine; 30 s or less on a quiet one


def start_with_a_slow_film(site: Installation, handle: str, data: Path) -> str:
    """A run whose first film comes so slowly that it is still under way when the other one is done."""
    slow, quick = site.films(handle)
    site.youtube.faults.media(slow.id, "slow", bytes_per_s=SLOW_BYTES_PER_S, times=-1)
    run_id = site.api.start(source=f"@{handle}", data=str(data))
    wait_for(lambda: quick.id in site.documents(handle), "the document of the quick film")
    wait_for(lambda: site.youtube.bytes_served(slow.id) > 0, "the first bytes of the slow film")
    return run_id


def flow_process(site: Installation, run_id: str) -> int:
    """The process in which the worker runs the flow."""
    pid = int(str(site.api.run(run_id)["infrastructure_pid"]).rsplit(":", 1)[-1])
    assert pid in {child.pid for child in psutil.Process(site.process.pid).children(recursive=True)}
    return pid


def assert_finished_once(site: Installation, handle: str) -> None:
    assert site.documents(handle) == {v.id: 1 for v in site.films(handle)}


def retried(site: Installation, run_id: str) -> Row:
    """Flow and worker both report a crash, seconds apart; the later report may undo a Retry, so one presses again."""
    for _ in range(3):
        site.api.press_retry(run_id, force=False)
        if (run := site.api.ended(run_id))["state_type"] != "CRASHED":
            break
    return run


def test_a_cancelled_run_ends_soon_and_the_next_one_completes_it(site: Installation, tmp_path: Path) -> None:
    run_id = start_with_a_slow_film(site, CANCELLED, tmp_path)
    quick = site.films(CANCELLED)[1].id
    pid, asked = flow_process(site, run_id), site.youtube.media_requests(quick)
    site.api.cancel(run_id)
    wait_for(lambda: site.api.run(run_id)["state_type"] == "CANCELLED", "the end of the cancelled run", END_S)
    wait_for(lambda: not psutil.pid_exists(pid), "the end of the flow's process", END_S)
    outcomes = table(tmp_path, "outcomes")
    assert set(outcomes[outcomes["state"] == "failed"]["video_id"]) == set(), "cancelling is no failure of a video"
    assert table(tmp_path, "runs").set_index("run_id").loc[run_id, "state"] != "Completed"

    site.youtube.faults.clear()
    again = site.api.ended(site.api.start(source=f"@{CANCELLED}", data=str(tmp_path)))
    assert (again["state_type"], again["state"]["message"]) == ("COMPLETED", "2 videos: 1 done, 1 already done.")
    assert_finished_once(site, CANCELLED)
    assert site.youtube.media_requests(quick) == asked


def test_a_terminated_flow_process_gives_a_run_that_retry_completes(site: Installation, tmp_path: Path) -> None:
    run_id = start_with_a_slow_film(site, TERMINATED, tmp_path)
    quick = site.films(TERMINATED)[1].id
    pid, asked = flow_process(site, run_id), site.youtube.media_requests(quick)
    os.kill(pid, signal.SIGTERM)
    wait_for(lambda: not psutil.pid_exists(pid), "the end of the flow's process", END_S)
    assert site.api.ended(run_id)["state_type"] == "CRASHED", site.api.message(run_id)

    site.youtube.faults.clear()
    again = retried(site, run_id)
    assert (again["state_type"], again["state"]["message"]) == ("COMPLETED", "2 videos: 2 done."), again["state"]
    assert_finished_once(site, TERMINATED)
    assert site.youtube.media_requests(quick) == asked

"""The Prefect server is killed in the middle of a run and comes back: every video is done, none twice, none failed."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from prefect.concurrency.asyncio import ConcurrencySlotAcquisitionError

from channelscribe.attempts import Cancelled, Control
from channelscribe.core.errors import EnvironmentFailure
from channelscribe.gpu.closed import VirtualClock
from tasks.patience import AGAIN_S, PATIENCE_S, Patience, patiently
from tests.flows.channels import films
from tests.flows.server import PrefectServer, serving
from tests.flows.station import CHECKOUT, Running, Station, open_station
from tests.flows.tables import table

pytestmark = [
    pytest.mark.prefect,
    pytest.mark.slow,
    pytest.mark.skipif(os.name == "nt", reason="signals are POSIX here"),
]
AWAY = "The Prefect server does not answer"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[PrefectServer]:
    """One of its own, as others share theirs."""
    with serving(tmp_path / "prefect") as own:
        yield own


def begun(station: Station) -> Running:
    """A run whose flow run has a tag, so that every task asks the server before it begins, and asks once only."""
    command = [sys.executable, "-m", "tests.flows.tagged", "sync", "--data", str(station.data), station.channel]
    settings = {"PREFECT_CLIENT_MAX_RETRIES": "0", "PYTHONPATH": str(CHECKOUT)}
    running = Running([*command, "--json"], station.environment(**settings), station.home / "commands")
    station.started.append(running)
    return running


@pytest.mark.long
def test_a_server_that_is_killed_twice_and_comes_back_costs_no_video(tmp_path: Path, server: PrefectServer) -> None:
    with open_station(tmp_path / "station", server, films(4, 6.0)) as station:
        faults = station.youtube.faults
        listing = faults.add(r"/playlistItems\?", "stall", seconds=2.0)
        for video in station.world.videos:
            faults.media(video, "slow", bytes_per_s=4_000, times=-1)
        running = begun(station)
        running.until(lambda: listing.hits == 1)
        kill(server)
        running.until(lambda: AWAY in running.said())
        assert not station.media_requests(), "the tasks of the first videos were turned away"
        server.start()
        running.until(lambda: len(station.media_requests()) >= 2)
        before = running.said().count(AWAY)
        kill(server)
        faults.clear()
        running.until(lambda: running.said().count(AWAY) >= before + 2)
        assert table(station.data, "transcripts").empty, "the steps that follow the downloads were turned away"
        server.start()
        ended = running.wait()

        assert ended.code == 0, ended.err
        assert ended.json["failed"] == 0 and ended.json["done"] == 4
        assert station.media_requests() == dict.fromkeys(station.world.videos, 1)
        assert set(station.odin.base.stored.values()) == {1} and len(station.odin.documents) == 4
        assert set(table(station.data, "outcomes")["state"]) == {"done"}
        assert server.run(ended.run_id)["state"]["type"] == "COMPLETED"
        assert not failed_tasks(server, ended.run_id)


def test_a_server_that_stays_away_ends_the_run_with_a_sentence() -> None:
    control, clock, asked = Control(), VirtualClock(), 0

    def begin() -> None:
        nonlocal asked
        asked += 1
        raise ConcurrencySlotAcquisitionError("nobody answers")

    with pytest.raises(Cancelled):
        patiently(begin, control, clock)
    assert clock.monotonic() == PATIENCE_S and asked == PATIENCE_S / AGAIN_S + 1
    assert isinstance(control.failure, EnvironmentFailure) and "retry the run" in control.failure.reason


def test_a_stopped_run_does_not_wait_for_the_server() -> None:
    control, clock = Control(), VirtualClock()
    control.stop()
    assert not Patience(control, clock).lasts()
    assert (clock.monotonic(), control.failure) == (0.0, None)


def kill(server: PrefectServer) -> None:
    """kill -9 for the whole group; its database stays."""
    process = server.processes.pop()
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(60)


def failed_tasks(server: PrefectServer, run_id: str) -> list[str]:
    wanted = {
        "task_runs": {"flow_run_id": {"any_": [run_id]}, "state": {"type": {"any_": ["FAILED", "CRASHED"]}}},
        "limit": 50,
    }
    return [f"{task['name']}: {task['state']['message']}" for task in server.ask("/task_runs/filter", wanted)]

"""A channel in shards over two workers, one of them killed: nothing lost, nothing twice, a Retry has nothing to do."""

from __future__ import annotations

import os
import signal
from collections import Counter
from pathlib import Path

import pytest

from tests.deployments.fleet.fleet import Fleet
from tests.deployments.fleet.postgres import ON_POSTGRES, programs, rows_of
from tests.flows.tables import table

pytestmark = [
    pytest.mark.prefect,
    pytest.mark.slow,
    pytest.mark.long,
    pytest.mark.skipif(os.name == "nt", reason="signals are POSIX here"),
]


def test_a_killed_workers_shard_is_taken_over(small: Fleet) -> None:
    before = Counter(small.media_requests())
    run_id = small.start(shard_size=4)
    small.until(lambda: len(small.documents()) > 0, "the first document")
    victim = next(worker for worker in small.workers if worker.working() and worker.name.startswith("card"))
    victim.signal(signal.SIGKILL)
    ended = small.until_ended(run_id)
    assert ended["state"]["message"] == "8 videos: 8 done."
    assert ended["state_type"] == "COMPLETED"

    assert small.documents() == dict.fromkeys(small.world.videos, 1)
    asked = Counter(small.media_requests()) - before
    in_hand = {video_id for video_id, count in asked.items() if count > 1}
    assert set(asked) == set(small.world.videos) and len(in_hand) <= 4, (
        "only what the dead one had in hand is done over"
    )
    data = Path(small.data)
    assert set(table(data, "transcripts")["video_id"]) == set(small.world.videos)
    runs = table(data, "runs").set_index("run_id")
    assert (runs.loc[run_id, "done"], runs.loc[run_id, "videos"]) == (8, 8)
    shards = small.shards(run_id)
    assert [s["state_type"] for s in shards].count("CRASHED") == 1 and len(shards) == 3

    small.api.press_retry(run_id)
    assert small.until_ended(run_id)["state"]["message"] == "8 videos: 8 done."
    assert len(small.shards(run_id)) == 3, "a Retry with nothing to do starts nothing"
    assert Counter(small.media_requests()) - before == asked


def test_two_people_who_start_the_same_channel_do_the_work_once(small: Fleet, tmp_path: Path) -> None:
    few = list(small.world.videos)[:2]
    asked = {"source": ",".join(few), "data": str(tmp_path / "data"), "upload": False}
    both = [small.start(**asked) for _ in range(2)]
    ended = [small.until_ended(run_id) for run_id in both]
    assert [e["state_type"] for e in ended] == ["COMPLETED"] * 2, [e["state"]["message"] for e in ended]
    done = table(tmp_path / "data", "outcomes")
    done = done[(done["state"] == "done") & (done["stage"] != "discover")]
    assert not done.duplicated(["video_id", "stage"]).any(), "a step was done twice"
    assert set(done["video_id"]) == set(few)


def test_a_parent_in_the_pool_of_its_shards_is_refused_rather_than_stuck(small: Fleet) -> None:
    """A worker with one slot would wait for a shard that waits for that slot."""
    found = small.api.ask("GET", "/deployments/name/sync-archive/whole-channel")
    wrong = {
        "name": "misplaced",
        "flow_id": found["flow_id"],
        "work_pool_name": "channelscribe-gpu",
        "entrypoint": found["entrypoint"],
        "job_variables": found["job_variables"],
    }
    made = small.api.ask("POST", "/deployments/", wrong)
    body = {"parameters": {"source": "@nobody"}}
    run_id = str(small.api.ask("POST", f"/deployments/{made['id']}/create_flow_run", body)["id"])
    ended = small.until_ended(run_id)
    assert ended["state_type"] == "FAILED"
    assert "another pool" in ended["state"]["message"]


@pytest.mark.skipif(programs() is None, reason="PostgreSQL is not installed")
def test_what_the_server_knows_stands_in_postgresql(small: Fleet) -> None:
    assert rows_of(small.server.settings[ON_POSTGRES])["deployment"] > 0
    assert not list(small.server.home.glob("*.db")), "the server has made a database of its own"

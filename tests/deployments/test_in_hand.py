"""Runs that a worker left behind: found by the next worker, begun again, and only those."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psutil  # type: ignore[import-untyped]
import pytest
from prefect.states import Cancelling, Completed, Crashed, Failed, Paused, Pending, Running, Scheduled, State

from channelscribe.core.process import process
from deployments.in_hand import MOST_BEGINNINGS, InHand, what_follows
from tests.deployments.conftest import CHECKOUT
from tests.deployments.worker.api import FINAL, wait_for
from tests.flows.environment import clean
from tests.flows.server import PrefectServer, serving

POOL = "in-hand"
SYNC_S = "2"


@dataclass(frozen=True)
class Machine:
    """Workers that share a home."""

    server: PrefectServer
    home: Path

    @contextmanager
    def worker(self, name: str) -> Iterator[psutil.Process]:
        own = {"PREFECT_HOME": str(self.home), "PREFECT_WORKER_HEARTBEAT_SECONDS": SYNC_S}
        command = [sys.executable, "-m", "deployments.worker", "start", "--pool", POOL, "--type", "process"]
        with (self.home / f"{name}.log").open("wb") as said:
            started = subprocess.Popen(
                [*command, "--name", name, "--limit", "1"],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                cwd=CHECKOUT,
                env=clean(**self.server.environment(), PREFECT_WORKER_QUERY_SECONDS="1") | own,
            )
        try:
            wait_for(lambda: name in self.online(), f"the worker {name}")
            yield psutil.Process(started.pid)
        finally:
            kill_tree(started.pid)
            started.wait(60)

    def online(self) -> set[str]:
        found = self.server.ask("/work_pools/filter", {})
        if POOL not in {pool["name"] for pool in found}:
            return set()
        workers = self.server.ask(f"/work_pools/{POOL}/workers/filter", {})
        return {worker["name"] for worker in workers if worker["status"] == "ONLINE"}

    def start(self, folder: Path) -> str:
        flow = self.server.ask("/flows/", {"name": "waiting"})["id"]
        here = {"prefect.deployments.steps.set_working_directory": {"directory": str(CHECKOUT)}}
        deployment = {"name": "waiting", "flow_id": flow, "work_pool_name": POOL, "pull_steps": [here]}
        made = self.server.ask("/deployments/", deployment | {"entrypoint": "tests/deployments/waiting.py:waiting"})
        body = {"parameters": {"folder": str(folder)}, "state": {"type": "SCHEDULED", "name": "Scheduled"}}
        return str(self.server.ask(f"/deployments/{made['id']}/create_flow_run", body)["id"])


def kill_tree(pid: int) -> None:
    """kill -9 for a process and all below it, as when the power goes."""
    try:
        gone = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    for one in gone:
        one.kill()
    psutil.wait_procs(gone, timeout=30)


@pytest.mark.prefect
@pytest.mark.skipif(os.name == "nt", reason="signals are POSIX here")
def test_a_run_that_is_left_behind_goes_on_with_another_worker_of_the_machine(tmp_path: Path) -> None:
    begun: Callable[[], int] = lambda: len(list(tmp_path.glob("begun-*")))  # noqa: E731
    home = tmp_path / "machine"
    home.mkdir()
    with serving(tmp_path / "prefect") as server:
        machine = Machine(server, home)
        with machine.worker("first") as first:
            run_id = machine.start(tmp_path)
            wait_for(lambda: begun() == 1, "the run's beginning")
            with machine.worker("second"):
                seen = server.ask(f"/work_pools/{POOL}/workers/filter", {})
                wait_for(
                    lambda: server.ask(f"/work_pools/{POOL}/workers/filter", {}) != seen, "a further look of a worker"
                )
                assert begun() == 1 and server.run(run_id)["run_count"] == 1, "a run in living hands is left alone"
                kill_tree(first.pid)
                wait_for(lambda: begun() == 2, "the run's second beginning")
                (tmp_path / "go").touch()
                wait_for(lambda: server.run(run_id)["state_type"] in FINAL, "its end")
                assert server.run(run_id)["state_type"] == "COMPLETED"
                assert server.run(run_id)["run_count"] == 2
                wait_for(lambda: not list((home / "in-hand").glob("*.json")), "the note to be dropped")


@pytest.fixture
def ended() -> int:
    """The number of a process that has ended."""
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait(60)
    return gone.pid


@pytest.fixture
def living(tmp_path: Path) -> InHand:
    """A worker of the folder, which has its lock as long as the test holds it."""
    return InHand(tmp_path)


def written(by: InHand, folder: Path, **other: Any) -> UUID:
    """A note of that worker with other contents in some fields."""
    run_id = uuid4()
    by.take(run_id, os.getpid())
    path = folder / f"{run_id}.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | other), encoding="utf-8")
    return run_id


def test_a_note_counts_when_worker_and_flow_are_gone(tmp_path: Path, living: InHand, ended: int) -> None:
    dead = uuid4().hex
    gone = {"pid": ended, "started_s": process().started_s}
    reused = {"pid": os.getpid(), "started_s": process().started_s - 3600}
    for flow in (gone, reused, None):
        written(living, tmp_path, flow=flow)
    written(living, tmp_path, worker=dead)
    written(living, tmp_path, worker=dead, flow=reused, machine="another machine")
    left = {written(living, tmp_path, worker=dead, flow=flow) for flow in (gone, reused, None)}
    assert set(InHand(tmp_path).left_behind()) == left
    assert set(living.left_behind()) == left, "a worker's own notes are not left behind for itself either"


def test_a_clock_that_is_set_makes_no_worker_dead(
    tmp_path: Path, living: InHand, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = process()
    written(living, tmp_path)
    monkeypatch.setattr(psutil.Process, "create_time", lambda _: before.started_s + 7200)
    assert not before.lives, "what start times say"
    assert not list(InHand(tmp_path).left_behind())


def test_one_worker_at_a_time_is_told_of_a_run(tmp_path: Path, living: InHand) -> None:
    run_id = written(living, tmp_path, worker=uuid4().hex, flow=None)
    for told in InHand(tmp_path).left_behind():
        assert told == run_id
        assert not list(InHand(tmp_path).left_behind()), "another worker sees to it"
    assert list(InHand(tmp_path).left_behind()) == [run_id], "whoever was told has not let it go"


def test_a_run_that_is_let_go_is_forgotten_and_may_be_let_go_twice(tmp_path: Path, living: InHand) -> None:
    run_id = written(living, tmp_path, worker=uuid4().hex, flow=None)
    notes = InHand(tmp_path)
    assert list(notes.left_behind()) == [run_id]
    notes.let_go(run_id)
    notes.let_go(run_id)
    assert not list(notes.left_behind()) and not list(tmp_path.glob("*.json"))


def test_files_of_workers_that_are_gone_are_swept(tmp_path: Path, living: InHand) -> None:
    written(living, tmp_path)
    needed = uuid4().hex
    written(living, tmp_path, worker=needed)
    idle = InHand(tmp_path)
    idle.let_go(written(idle, tmp_path))
    for name in (needed, uuid4().hex, uuid4().hex):
        (tmp_path / f"{name}.lock").touch()
    before = set(tmp_path.glob("*.lock"))
    assert len(before) == 5
    list(living.left_behind())
    assert set(tmp_path.glob("*.lock")) == before, "too young"
    for lock in before:
        os.utime(lock, (0, 0))
    list(living.left_behind())
    kept = {lock.stem for lock in tmp_path.glob("*.lock")}
    assert needed in kept and len(kept) == 3, "of a note, and of two workers that live"


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "[" * 100_000, '{"machine": 1}', '{"worker": 1}', "{}"])
def test_a_note_that_cannot_be_read_is_dropped_and_hides_no_other(tmp_path: Path, living: InHand, text: str) -> None:
    (tmp_path / "0.json").write_text(text, encoding="utf-8")
    run_id = written(living, tmp_path, worker=uuid4().hex, flow=None)
    assert list(InHand(tmp_path).left_behind()) == [run_id]
    assert not (tmp_path / "0.json").exists()


def test_a_folder_that_is_not_there_holds_nothing(tmp_path: Path) -> None:
    assert not list(InHand(tmp_path / "none").left_behind())


def test_a_process_that_ended_before_it_was_noted_is_noted_without_it(
    tmp_path: Path, living: InHand, ended: int
) -> None:
    living.take(uuid4(), ended)
    assert not list(InHand(tmp_path).left_behind()), "its worker, this process, lives"


@pytest.mark.parametrize("state", [Running(), Pending(), Paused(), Running(name="Cooling down")])
def test_what_was_under_way_begins_again_but_not_for_ever(state: State[Any]) -> None:
    again = what_follows(state, MOST_BEGINNINGS - 1)
    assert again is not None and again.is_scheduled() and again.name == "AwaitingRetry"
    given_up = what_follows(state, MOST_BEGINNINGS)
    assert given_up is not None and given_up.is_crashed() and "press Retry" in str(given_up.message)


@pytest.mark.parametrize("state", [None, Completed(), Failed(), Crashed(), Scheduled(), Paused(name="Suspended")])
def test_what_had_ended_or_waits_stays(state: State[Any] | None) -> None:
    assert what_follows(state, 1) is None


def test_what_was_being_cancelled_is_cancelled() -> None:
    state = what_follows(Cancelling(), 1)
    assert state is not None and state.is_cancelled()

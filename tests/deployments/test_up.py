"""`up` on a real server and worker: what it starts, what it says, and that nothing of it stays."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest

from tests.deployments.conftest import Cli, clean_environment
from tests.deployments.test_children import runs, until

pytestmark = [pytest.mark.prefect, pytest.mark.skipif(os.name == "nt", reason="signals are POSIX here")]


class Up:
    """`channelscribe up` in a process of its own."""

    def __init__(self, folder: Path) -> None:
        self.messages = folder / "messages.txt"
        command = [sys.executable, "-m", "deployments.cli", "up", "--data", str(folder / "data")]
        with self.messages.open("wb") as output:
            self.process = subprocess.Popen(
                command, cwd=folder, env=clean_environment(), stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )

    def said(self) -> str:
        return self.messages.read_text(encoding="utf-8")

    def wait_until_ready(self) -> None:
        until(lambda: "Ctrl-C ends everything" in self.said() or self.process.poll() is not None, 180)
        assert self.process.poll() is None, self.said()

    @property
    def url(self) -> str:
        return next(line.split()[-1] for line in self.said().splitlines() if "Prefect UI:" in line)

    def tree(self) -> list[int]:
        return descendants(self.process.pid)


def descendants(pid: int) -> list[int]:
    return [child.pid for child in psutil.Process(pid).children(recursive=True)]


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    started = Up(tmp_path)
    try:
        started.wait_until_ready()
        yield started
    finally:
        if started.process.poll() is None:
            started.process.terminate()
            started.process.wait(90)


def ask(url: str, body: dict[str, Any] | None = None, method: str | None = None) -> Any:
    """One request past any proxy; a 503 is Prefect's word for a database that is busy, and is asked again."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    for _ in range(20):
        try:
            with opener.open(request, timeout=30) as reply:
                return json.loads(reply.read() or b"null")
        except urllib.error.HTTPError as error:
            if error.code != 503:
                raise
            time.sleep(1)
    raise AssertionError(f"{url} stayed busy")


def test_up_has_everything_refuses_a_second_and_leaves_nothing(up: Up, cli: Cli, tmp_path: Path) -> None:
    api = f"{up.url}/api"
    deployments = {d["name"]: d for d in ask(f"{api}/deployments/filter", {})}
    assert {"on-demand", "daily", "whole-channel", "shard"} <= set(deployments)
    assert not any(s["active"] for s in deployments["daily"]["schedules"])
    assert {d["work_pool_name"] for d in deployments.values()} == {"channelscribe-gpu", "channelscribe-light"}
    assert all(d["concurrency_limit"] is None for d in deployments.values())
    assert {"odin-credentials"} <= {b["slug"] for b in ask(f"{api}/block_types/filter", {})}
    assert ask(f"{up.url}/ui-settings")["api_url"] == "/api"

    second = cli("up", "--data", str(tmp_path / "data"))
    assert (second.code, up.url in second.err) == (2, True)

    tree = up.tree()
    assert len(tree) >= 4
    up.process.send_signal(signal.SIGINT)
    assert up.process.wait(90) == 0
    until(lambda: not any(runs(pid) for pid in tree))
    assert "Traceback" not in up.said()
    assert not (tmp_path / "data" / ".prefect" / "server.json").exists()


def test_a_dead_worker_is_named_with_its_log(up: Up, tmp_path: Path) -> None:
    tree = up.tree()
    worker = next(pid for pid in tree if "channelscribe-gpu" in command_line(pid) and "leash" not in command_line(pid))
    os.kill(worker, signal.SIGKILL)
    assert up.process.wait(90) == 2
    assert "the worker ended by itself" in up.said()
    assert str(tmp_path / "data" / ".prefect" / "logs" / "worker.log") in up.said()
    until(lambda: not any(runs(pid) for pid in tree))


@pytest.mark.long
def test_schedules_that_an_operator_switches_on_plan_runs_and_survive_the_next_up(up: Up, tmp_path: Path) -> None:
    api = f"{up.url}/api"
    scheduled = {d["name"]: d for d in ask(f"{api}/deployments/filter", {}) if d["schedules"]}
    assert set(scheduled) == {"daily", "weekly", "retry-nightly", "verify", "compact", "retain", "backup"}
    for name, deployment in scheduled.items():
        (schedule,) = deployment["schedules"]
        given = {"parameters": {"source": "@somebody"}} if name == "daily" else {}
        url = f"{api}/deployments/{deployment['id']}/schedules/{schedule['id']}"
        ask(url, {"active": True, **given}, "PATCH")

    def planned(name: str) -> list[Any]:
        wanted = {"deployments": {"id": {"any_": [scheduled[name]["id"]]}}, "limit": 1}
        return list(ask(f"{api}/flow_runs/filter", wanted))

    until(lambda: all(map(planned, scheduled)), 120)
    assert planned("daily")[0]["parameters"]["source"] == "@somebody"
    up.process.terminate()
    assert up.process.wait(90) == 0

    again = Up(tmp_path)
    try:
        again.wait_until_ready()
        kept = {d["name"]: d["schedules"] for d in ask(f"{again.url}/api/deployments/filter", {}) if d["schedules"]}
        assert all(schedule["active"] for schedules in kept.values() for schedule in schedules)
        assert kept["daily"][0]["parameters"] == {"source": "@somebody"}
    finally:
        again.process.terminate()
        again.process.wait(90)


def command_line(pid: int) -> str:
    return " ".join(psutil.Process(pid).cmdline())

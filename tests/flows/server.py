"""A real Prefect server for the tests: a process on an ephemeral loopback port with a home of its own.

Started once per pytest session; every run of the command line in these tests is a client of it.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.flows.environment import clean

_START_S = 300.0
_PAGE = 200
_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True)
class PrefectServer:
    """`environment()` makes a process its client."""

    home: Path
    port: int
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    settings: dict[str, str] = field(default_factory=dict)

    def start(self) -> None:
        settings = {
            "PREFECT_HOME": str(self.home),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "DO_NOT_TRACK": "1",
            "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
        }
        command = [sys.executable, "-m", "deployments.server", "start", "--host", "127.0.0.1", "--port", str(self.port)]
        with (self.home / "server.log").open("ab") as log:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=clean(**{**settings, **self.settings}),
                cwd=self.home,
                start_new_session=True,
            )
        self.processes.append(process)
        _await(self, process)

    def stop(self) -> None:
        """Its data stays in `home`, so that `start` goes on with it."""
        while self.processes:
            _end(self.processes.pop())

    @property
    def api(self) -> str:
        return f"http://127.0.0.1:{self.port}/api"

    def environment(self) -> dict[str, str]:
        return {"PREFECT_API_URL": self.api, "PREFECT_HOME": str(self.home)}

    def ask(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """A GET, or a POST when there is a body; a 503 is Prefect's word for a busy database and is asked again."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.api + path, data, {"Content-Type": "application/json"})
        for left in range(20, -1, -1):
            try:
                with _direct.open(request, timeout=60) as answer:
                    return json.loads(answer.read())
            except urllib.error.HTTPError as error:
                if error.code != 503 or not left:
                    raise
            time.sleep(1)
        raise AssertionError(path)

    def run(self, run_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.ask(f"/flow_runs/{run_id}")
        return found

    def artifacts(self, run_id: str) -> dict[str, dict[str, Any]]:
        """The artifacts of a flow run by key."""
        wanted = {"artifacts": {"flow_run_id": {"any_": [run_id]}}}
        return {a["key"]: a for a in self.ask("/artifacts/filter", wanted)}

    def logs(self, run_id: str) -> list[str]:
        wanted = {"logs": {"flow_run_id": {"any_": [run_id]}}, "limit": _PAGE}
        pages = (self.ask("/logs/filter", {**wanted, "offset": at}) for at in range(0, 50 * _PAGE, _PAGE))
        lines: list[str] = []
        for page in pages:
            lines += [entry["message"] for entry in page]
            if len(page) < _PAGE:
                break
        return lines

    def task_names(self, run_id: str) -> set[str]:
        wanted = {"task_runs": {"flow_run_id": {"any_": [run_id]}}, "limit": _PAGE}
        return {task["name"] for task in self.ask("/task_runs/filter", wanted)}


@contextlib.contextmanager
def serving(home: Path, **settings: str) -> Iterator[PrefectServer]:
    """Started and answering; its whole process group is ended on the way out."""
    home.mkdir(parents=True, exist_ok=True)
    server = PrefectServer(home, _free_port(), settings=settings)
    try:
        server.start()
        yield server
    finally:
        server.stop()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _await(server: PrefectServer, process: subprocess.Popen[bytes]) -> None:
    end_s = time.monotonic() + _START_S
    while time.monotonic() < end_s and process.poll() is None:
        with contextlib.suppress(OSError):
            if server.ask("/health") is True:
                return
        time.sleep(0.2)
    raise AssertionError(f"no Prefect server: {(server.home / 'server.log').read_text()[-2000:]}")


def _end(process: subprocess.Popen[bytes]) -> None:
    for name in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, name)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(20)
            return

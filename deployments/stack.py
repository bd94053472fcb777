"""A Prefect server, our work pool, blocks and deployments, and a worker: started in order, ended in the other order.

Stands between the commands (`up`, `demo`, `sync`) and the processes in `children`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from channelscribe.core.clock import Clock, SystemClock
from channelscribe.core.errors import EnvironmentFailure
from deployments.children import Child, start_child
from deployments.place import Server, announce, client_settings, free_port, server_settings, serves, withdraw

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

Say = Callable[[str], None]
POOL = "channelscribe-gpu"
LIGHT_POOL = "channelscribe-light"
_LIMITS = {POOL: 1, LIGHT_POOL: 4}  # one run at a time on a card; what holds no card mostly waits
SERVER_START_S = 180.0
WORKER_START_S = 120.0
_SERVER = (sys.executable, "-m", "deployments.server")
_WORKER = (sys.executable, "-m", "deployments.worker")


@dataclass(frozen=True)
class Stack:
    """What runs. `check` raises EnvironmentFailure as soon as a part of it has died."""

    server: Server
    children: tuple[Child, ...]
    deployments: tuple[str, ...]

    def check(self) -> None:
        for child in self.children:
            child.check()


def silent(_: str) -> None:
    """For callers that show nothing."""


@contextmanager
def open_server(home: Path, port: int, say: Say = silent, clock: Clock | None = None) -> Iterator[tuple[Server, Child]]:
    """A server on 127.0.0.1 whose database lies in `home`; ended on the way out, and when this process dies."""
    clock = clock or SystemClock()
    home.mkdir(parents=True, exist_ok=True)
    server, child = _start_server(home, port, say, clock)
    try:
        announce(home, server)
        yield server, child
    finally:
        withdraw(home)
        child.stop()


def _start_server(home: Path, port: int, say: Say, clock: Clock) -> tuple[Server, Child]:
    """Answering, and ours: a port that another program took while our server started is left to it."""
    say(f"starting the Prefect server on port {port}")
    command = (*_SERVER, "start", "--host", "127.0.0.1", "--port", str(port))
    child = start_child("Prefect server", command, home / "logs" / "server.log", server_settings(home), home)
    server = Server(f"http://127.0.0.1:{port}/api")
    try:
        _wait(clock, SERVER_START_S, child, lambda: serves(server.api_url, home))
    except BaseException as error:
        child.stop()
        if getattr(error, "code", "") != "child_died" or (other := free_port(port)) == port:
            raise
        return _start_server(home, other, say, clock)
    return server, child


@contextmanager
def open_stack(home: Path, working_dir: Path, port: int | None = None, say: Say = silent) -> Iterator[Stack]:
    """Server, pool, blocks, deployments and one worker. PREFECT_API_URL of this process names the server afterwards."""
    with ExitStack() as opened:
        server, server_child = opened.enter_context(open_server(home, port or free_port(), say))
        os.environ.update(client_settings(home, server.api_url))
        say("registering work pool, blocks and deployments")
        deployments = _register(working_dir)
        say("starting the workers")
        started = [_start_worker(pool, home, working_dir, server, opened) for pool in _LIMITS]
        _until_online(started)
        yield Stack(server, (server_child, *(worker for _, worker in started)), tuple(deployments))


def _register(working_dir: Path) -> list[str]:
    from prefect.client.orchestration import get_client

    from deployments.register import register

    with get_client(sync_client=True) as client:
        return register(client, working_dir, os.environ)


def _start_worker(pool: str, home: Path, working_dir: Path, server: Server, opened: ExitStack) -> tuple[str, Child]:
    """The worker of a pool; the one of the cards is `worker`, ended before all others."""
    name = "worker" if pool == POOL else "light worker"
    command = (*_WORKER, "start", "--pool", pool, "--type", "process", "--limit", str(_LIMITS[pool]))
    log = home / "logs" / f"{name.replace(' ', '-')}.log"
    named = (*command, "--name", f"{name.replace(' ', '-')}-1")
    worker = start_child(name, named, log, client_settings(home, server.api_url), working_dir)
    opened.callback(worker.stop)
    return pool, worker


def _until_online(started: Sequence[tuple[str, Child]]) -> None:
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        for pool, worker in started:
            _wait(SystemClock(), WORKER_START_S, worker, partial(_has_worker, client, pool))


def _has_worker(client: SyncPrefectClient, pool: str) -> bool:
    return _online(client.read_workers_for_work_pool(pool, limit=10, offset=0))


def _online(workers: Sequence[object]) -> bool:
    return any(str(getattr(worker, "status", "")).upper().endswith("ONLINE") for worker in workers)


def _wait(clock: Clock, seconds: float, child: Child, ready: Callable[[], bool]) -> None:
    end = clock.monotonic() + seconds
    while not ready():
        child.check()
        if clock.monotonic() > end:
            raise EnvironmentFailure(
                f"the {child.name} did not answer within {seconds:.0f} s; its log is {child.log}", code="child_slow"
            )
        clock.sleep(0.25)

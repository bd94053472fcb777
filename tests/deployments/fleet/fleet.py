"""Several machines as processes of this one: each a worker with a simulated card, locks and copies of its own.

They share what real machines would share: a Prefect server, a data root, YouTube and ODIN.
"""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from tests.deployments.worker.api import FINAL, Api
from tests.emulators import worlds
from tests.emulators.odin import OdinEmulator
from tests.emulators.youtube import YouTubeEmulator
from tests.emulators.youtube.world import World
from tests.flows.environment import clean
from tests.flows.server import PrefectServer
from tests.flows.station import CHECKPOINT

GPU_POOL, LIGHT_POOL = "channelscribe-gpu", "channelscribe-light"
_LOCAL = {"NO_PROXY": "127.0.0.1,localhost", "no_proxy": "127.0.0.1,localhost"}


class Worker:
    """One machine. `kill` and `suspend` take all of its processes at once, as a power cut or a frozen host does."""

    def __init__(self, fleet: Fleet, name: str, pool: str, limit: int) -> None:
        self.name, self.home = name, fleet.home / name
        self.home.mkdir(parents=True)
        self._card(name)
        command = [sys.executable, "-m", "deployments.worker", "start", "--pool", pool, "--type", "process"]
        command += ["--limit", str(limit), "--name", name]
        with (self.home / "log").open("wb") as log:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=fleet.environment(self.home, CHANNELSCRIBE_GPU=f"sim:{self.home / 'card.json'}"),
                cwd=self.home,
                start_new_session=True,
            )

    def _card(self, name: str) -> None:
        knobs = {"uuid": f"GPU-{name}", "ambient_c": 10.0, "start_temp_c": 40.0}
        (self.home / "card.json").write_text(json.dumps(knobs), encoding="utf-8")

    def tree(self) -> list[Any]:
        with contextlib.suppress(psutil.NoSuchProcess):
            own = psutil.Process(self.process.pid)
            return [own, *own.children(recursive=True)]
        return []

    def working(self) -> bool:
        """True while it runs a flow."""
        return any(
            "prefect.engine" in " ".join(p.cmdline()) or "prefect.flow_engine" in " ".join(p.cmdline())
            for p in self.tree()[1:]
            if p.is_running()
        )

    def signal(self, number: int) -> None:
        for process in self.tree():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(number)

    def end(self) -> None:
        self.signal(signal.SIGCONT)
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.signal(signal.SIGKILL)
            self.process.wait(20)


@dataclass
class Fleet:
    """A server, a data root and workers; `home` holds a folder for each machine."""

    home: Path
    server: PrefectServer
    data: str
    world: World
    youtube: YouTubeEmulator
    odin: OdinEmulator
    store: Callable[[Path], dict[str, str]]
    settings: dict[str, str] = field(default_factory=dict)
    workers: list[Worker] = field(default_factory=list)

    @property
    def api(self) -> Api:
        return Api(self.server.api)

    def environment(self, machine: Path, **more: str) -> dict[str, str]:
        services = {**self.youtube.environment(), **self.odin.environment(), **_LOCAL, **self.store(machine)}
        own = {
            "PREFECT_API_URL": self.server.api,
            "PREFECT_HOME": str(machine / "prefect"),
            "PREFECT_WORKER_QUERY_SECONDS": "2",
            "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false",
            "DO_NOT_TRACK": "1",
            "XDG_CACHE_HOME": str(machine / "cache"),
        }
        return clean(**{**self.common(), **services, **own, **self.settings, **more})

    def common(self) -> dict[str, str]:
        return {
            "CHANNELSCRIBE_DATA": self.data,
            "CHANNELSCRIBE_MODEL": str(CHECKPOINT),
            "CHANNELSCRIBE_WINDOW_S": "8",
            "YOUTUBE_API_KEYS": self.youtube.api_key,
            "YOUTUBE_SPACING_S": "0",
            "YOUTUBE_REQUEST_PAUSE_S": "0",
            "HF_HUB_OFFLINE": "1",
        }

    def register(self) -> None:
        """Pools, blocks and deployments, as an operator does it: with what all machines have in common."""
        machine = self.home / "operator"
        machine.mkdir(parents=True)
        environment = self.environment(machine)
        environment.pop("CHANNELSCRIBE_CACHE", None)
        done = subprocess.run(
            [sys.executable, "-m", "deployments.register"],
            cwd=self.home,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr

    def hire(self, cards: int) -> None:
        self.workers = [Worker(self, f"card-{i}", GPU_POOL, 1) for i in range(cards)]
        self.workers.append(Worker(self, "light", LIGHT_POOL, 2))

    def start(self, **parameters: Any) -> str:
        found = self.api.ask("GET", "/deployments/name/sync-archive/whole-channel")
        body = {"parameters": {"source": worlds.sources(self.world)["channel"], **parameters}}
        return str(self.api.ask("POST", f"/deployments/{found['id']}/create_flow_run", body)["id"])

    def until(self, happened: Callable[[], bool], what: str, seconds: float = 1500.0) -> None:
        end_s = time.monotonic() + seconds
        while not happened():
            assert time.monotonic() < end_s, f"{what} did not come; {self.state()}"
            time.sleep(0.5)

    def until_ended(self, run_id: str) -> dict[str, Any]:
        self.until(lambda: self.api.run(run_id)["state_type"] in FINAL, f"the end of {run_id}")
        return self.api.run(run_id)

    def shards(self, run_id: str) -> list[dict[str, Any]]:
        wanted = {"flow_runs": {"parent_flow_run_id": {"any_": [run_id]}}, "sort": "EXPECTED_START_TIME_ASC"}
        found: list[dict[str, Any]] = self.api.ask("POST", "/flow_runs/filter", wanted)
        return found

    def documents(self) -> dict[str, int]:
        """How often each video was stored in the knowledge base, by video id."""
        return {e["metadata"]["videoId"]: e["uploads"] for e in self.odin.snapshot()["documents"].values()}

    def media_requests(self) -> dict[str, int]:
        return {v: n for v in self.world.videos if (n := self.youtube.media_requests(v))}

    def state(self) -> str:
        return f"{len(self.documents())} documents of {len(self.world.videos)} videos"


@contextlib.contextmanager
def fleet(
    home: Path,
    server: PrefectServer,
    world: World,
    *,
    data: str = "",
    store: Callable[[Path], dict[str, str]] = lambda machine: {},
    cards: int = 2,
    **settings: str,
) -> Iterator[Fleet]:
    """Registered and staffed; whatever was started is ended on the way out."""
    with YouTubeEmulator(world) as youtube, OdinEmulator(processing_s=0.05) as odin:
        made = Fleet(home, server, data or str(home / "data"), world, youtube, odin, store, settings)
        made.register()
        try:
            made.hire(cards)
            yield made
        finally:
            for worker in made.workers:
                worker.end()

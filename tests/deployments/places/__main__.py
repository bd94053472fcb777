"""The Compose file's own services as processes of this machine: PostgreSQL, Redis, server, services, workers, one sync.

`python -m tests.deployments.places` needs the Debian packages postgresql and redis-server, takes some minutes and
prints one JSON object; nothing of it stays. Commands and environments are those of compose.yaml; only the names of
hosts and the mounted folders are put in.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.deployments.fleet.postgres import postgres
from tests.deployments.places import compose
from tests.deployments.places.image import Image
from tests.emulators import worlds
from tests.emulators.odin import OdinEmulator
from tests.emulators.youtube import YouTubeEmulator
from tests.flows.server import _free_port
from tests.flows.station import CHECKPOINT

VALUES = {
    "POSTGRES_PASSWORD": "postgressecret",
    "REDIS_PASSWORD": "redissecret",
    "PREFECT_AUTH": "operator:authsecret",
    "PREFECT_ENCRYPTION_KEY": "bG9jYWxrZXlsb2NhbGtleWxvY2Fsa2V5bG9jYWxrZXk=",
}
_START_S = 240.0
FINAL = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")


@dataclass
class Project:
    """`up` starts a service when those that it depends on are as it says."""

    image: Image
    values: dict[str, str]
    more: dict[str, str]
    hosts: dict[str, int]
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.services = compose.read(self.values)["services"]

    def up(self, name: str) -> None:
        service = self.services[name]
        for needed, how in service.get("depends_on", {}).items():
            if needed in self.processes:
                self.await_(needed, how["condition"])
        with (self.image.folder / f"{name}.log").open("wb") as log:
            self.processes[name] = subprocess.Popen(
                [self._local(word) for word in service["command"]],
                env=self.environment(name),
                cwd=self.image.working_dir,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def environment(self, name: str) -> dict[str, str]:
        given = compose.environment(self.services[name], self.values)
        own = {key: self.image.placed(self._local(value)) for key, value in given.items()}
        ports = {"PREFECT_WORKER_WEBSERVER_PORT": str(self.hosts[name])} if name in self.hosts else {}
        numbers = {"PREFECT_SERVER_DATABASE_PORT": "postgres", "PREFECT_REDIS_MESSAGING_PORT": "redis"}
        own |= {key: str(self.hosts[host]) for key, host in numbers.items() if key in own}
        return self.image.environment(**(own | ports | self.more))

    def _local(self, text: str) -> str:
        """Host names of the project as addresses of this machine."""
        for host, port in {"postgres:5432": "postgres", "redis:6379": "redis", "server:4200": "server"}.items():
            text = text.replace(host, f"127.0.0.1:{self.hosts[port]}")
        text = text.replace("127.0.0.1:4200", f"127.0.0.1:{self.hosts['server']}")
        whole = {"4200": str(self.hosts["server"]), "0.0.0.0": "127.0.0.1", "postgres": "127.0.0.1"}
        return (whole | {"redis": "127.0.0.1", "python": sys.executable}).get(text, text)

    def await_(self, name: str, condition: str) -> None:
        end_s = time.monotonic() + _START_S
        while not self._is(name, condition):
            assert time.monotonic() < end_s, f"{name} is not {condition}: {self.log(name)[-2000:]}"
            time.sleep(0.5)

    def _is(self, name: str, condition: str) -> bool:
        code = self.processes[name].poll()
        assert code in (None, 0), f"{name} ended with {code}: {self.log(name)[-3000:]}"
        if condition == "service_completed_successfully":
            return code == 0
        test = [self._local(word) for word in self.services[name]["healthcheck"]["test"][1:]]
        return subprocess.run(test, env=self.environment(name), capture_output=True, check=False).returncode == 0

    def log(self, name: str) -> str:
        return (self.image.folder / f"{name}.log").read_text(encoding="utf-8", errors="replace")

    def down(self) -> None:
        for name in reversed(self.processes):
            self.processes[name].send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.processes[name].wait(30)
            if self.processes[name].poll() is None:
                self.processes[name].kill()
                self.processes[name].wait(30)


@contextlib.contextmanager
def redis(password: str) -> Iterator[int]:
    """A Redis server of our own on a loopback port."""
    program = shutil.which("redis-server")
    assert program, "Redis is not installed (Debian: apt-get install redis-server)"
    port = _free_port()
    with tempfile.TemporaryDirectory(prefix="places-redis-") as folder:
        asked = [program, "--bind", "127.0.0.1", "--port", str(port), "--requirepass", password, "--dir", folder]
        server = subprocess.Popen([*asked, "--appendonly", "yes"], stdout=subprocess.DEVNULL)
        try:
            yield port
        finally:
            server.terminate()
            server.wait(30)


def _cool_card(home: Path) -> Path:
    card = home / "card.json"
    card.write_text(json.dumps({"uuid": "GPU-0", "forced_temp_c": 45.0, "start_temp_c": 45.0}), encoding="utf-8")
    return card


async def _make_database(address: str) -> None:
    import asyncpg  # type: ignore[import-untyped]

    connection = await asyncpg.connect(address.replace("+asyncpg", ""))
    await connection.execute("CREATE DATABASE prefect")
    await connection.close()


def main() -> int:
    with contextlib.ExitStack() as opened:
        home = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="places-", ignore_cleanup_errors=True)))
        database = opened.enter_context(postgres())
        asyncio.run(_make_database(database))
        world = worlds.many(6)
        youtube = opened.enter_context(YouTubeEmulator(world))
        odin = opened.enter_context(OdinEmulator(processing_s=0.05))
        hosts = {"postgres": int(database.split(":")[-1].split("/")[0]), "server": _free_port()}
        hosts |= {"redis": opened.enter_context(redis(VALUES["REDIS_PASSWORD"])), "light": _free_port()}
        hosts["card-0"] = _free_port()
        values = VALUES | {
            "CHANNELSCRIBE_MODEL": str(CHECKPOINT),
            "YOUTUBE_API_KEYS": youtube.api_key,
            "NO_PROXY": "127.0.0.1,localhost",
            **odin.environment(),
        }
        more = {**youtube.environment(), **odin.environment()}
        more |= {"CHANNELSCRIBE_WINDOW_S": "8", "YOUTUBE_SPACING_S": "0", "YOUTUBE_REQUEST_PAUSE_S": "0"}
        more |= {
            "HF_HUB_OFFLINE": "1",
            "CHANNELSCRIBE_GPU": f"sim:{_cool_card(home)}",
            "NO_PROXY": "127.0.0.1,localhost",
        }
        project = Project(Image.build(home / "image"), values, more, hosts)
        opened.callback(project.down)
        found = play(project, odin, worlds.sources(world)["channel"], len(world.videos))
    sys.stdout.write(json.dumps(found, indent=2) + "\n")
    return 0 if found["as it must be"] else 1


def play(project: Project, odin: Any, source: str, videos: int) -> dict[str, Any]:
    took: dict[str, float] = {}
    for name in ("migrate", "server", "services", "register", "light", "card-0"):
        began_s = time.monotonic()
        project.up(name)
        ready = "healthcheck" in project.services[name] and not project.services[name]["healthcheck"].get("disable")
        if name in ("migrate", "register"):
            project.await_(name, "service_completed_successfully")
        elif ready:
            project.await_(name, "service_healthy")
        took[name] = round(time.monotonic() - began_s, 1)
    api = f"http://127.0.0.1:{project.hosts['server']}/api"
    user, password = project.values["PREFECT_AUTH"].split(":")
    with httpx.Client(trust_env=False, timeout=60, base_url=api, auth=(user, password)) as client:
        runs = {
            name: _sync(client, name, {"source": source, **more})
            for name, more in {"sync-channel/on-demand": {"selection": {"latest": 2}},
                               "sync-archive/whole-channel": {"shard_size": 2}}.items()
        }  # fmt: skip
        events = client.post(
            "/events/filter", json={"limit": 50, "filter": {"event": {"prefix": ["prefect.flow-run"]}}}
        )
        kinds = sorted({e["event"] for e in events.json()["events"]})
        automations = client.post("/automations/filter", json={}).json()
    refused = httpx.get(f"{api}/flows/count", trust_env=False).status_code
    once = {e["metadata"]["videoId"]: e["uploads"] for e in odin.snapshot()["documents"].values()}
    keys = _redis_keys(project)
    found = {"seconds until each service was as its dependents ask": took, "runs": runs, "events stored": kinds}
    found |= {"without the password": refused, "documents": len(once), "stored once": set(once.values()) == {1}}
    found |= {"automations": len(automations), "redis keys": keys, "secrets in logs": _leaks(project)}
    done = all(run["state"] == "COMPLETED" for run in runs.values())
    well = (
        done and refused == 401 and len(once) == videos and set(once.values()) == {1} and not found["secrets in logs"]
    )
    return found | {"as it must be": bool(well and "prefect.flow-run.Completed" in kinds and keys)}


def _sync(client: httpx.Client, name: str, parameters: dict[str, Any]) -> dict[str, Any]:
    found = client.get(f"/deployments/name/{name}").json()
    began_s = time.monotonic()
    made = client.post(f"/deployments/{found['id']}/create_flow_run", json={"parameters": parameters}).json()
    while (run := client.get(f"/flow_runs/{made['id']}").json())["state_type"] not in FINAL:
        assert time.monotonic() - began_s < 900, run["state"]
        time.sleep(1)
    return {"state": run["state_type"], "says": run["state"]["message"], "s": round(time.monotonic() - began_s, 1)}


def _redis_keys(project: Project) -> dict[str, int]:
    """How many keys the server's parts hold in Redis, by the beginning of their names."""
    import redis as client

    counted: dict[str, int] = {}
    for db in (0, 1):
        there = client.Redis(port=project.hosts["redis"], password=project.values["REDIS_PASSWORD"], db=db)
        for key in there.scan_iter():
            name = f"{db}: {key.decode().split(':')[0]}"
            counted[name] = counted.get(name, 0) + 1
    return counted


def _leaks(project: Project) -> list[str]:
    secrets = [project.values[name] for name in ("POSTGRES_PASSWORD", "REDIS_PASSWORD", "PREFECT_ENCRYPTION_KEY")]
    secrets.append(project.values["PREFECT_AUTH"].split(":")[1])
    return [name for name in project.processes for secret in secrets if secret in project.log(name)]


if __name__ == "__main__":
    sys.exit(main())

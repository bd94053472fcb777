"""What Prefect costs a video: seconds, requests and rows, at 10, 100 and 1,000 videos, against the same steps alone.

`python -m benchmarks.orchestration` starts a server, the emulated YouTube and ODIN, and one process for each run
(`orchestrated`); it prints a table, or JSON lines with --json. Nothing of it stays.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil

from tests.emulators import worlds
from tests.emulators.odin import OdinEmulator
from tests.emulators.youtube import YouTubeEmulator
from tests.flows.environment import clean
from tests.flows.server import PrefectServer, serving
from tests.flows.station import CHECKPOINT

_REQUEST = re.compile(r'"([A-Z]+) (/api/[^ ?"]*)[^"]*" \d+')
_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}|(?<=/name/).*|(?<=/key/).*")
_TABLES = ("events", "event_resources", "task_run", "task_run_state", "log", "artifact", "flow_run_state")
SETTLED_LOOKS = 8
_COLUMNS = (
    *("videos", "wall s/video", "steps alone", "overhead wall", "overhead cpu", "of it server"),
    *("requests/video", "rows/video", "kB/video"),
)
HEAD = "| " + " | ".join(_COLUMNS) + " |\n" + "|---" * len(_COLUMNS) + "|\n"


@dataclass(frozen=True)
class Row:
    """One size. Seconds are of the whole run; the server's rows and bytes are what its database grew by."""

    videos: int
    wall_s: float
    cpu_s: float
    server_cpu_s: float
    plain_wall_s: float
    plain_cpu_s: float
    requests: int
    bytes: int
    routes: dict[str, int] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)

    @property
    def overhead_wall_s(self) -> float:
        return (self.wall_s - self.plain_wall_s) / self.videos

    @property
    def overhead_cpu_s(self) -> float:
        return (self.cpu_s + self.server_cpu_s - self.plain_cpu_s) / self.videos


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.orchestration")
    parser.add_argument("--videos", default="10,100", help="sizes, separated by commas")
    parser.add_argument("--whole", action="store_true", help="download and transcribe too, not only upload")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    sizes = [int(part) for part in given.videos.split(",")]
    if not given.json:
        sys.stdout.write(HEAD)
    with tempfile.TemporaryDirectory(prefix="orchestration-", ignore_cleanup_errors=True) as folder:
        for size in sizes:
            row = measure(Path(folder) / str(size), size, known=not given.whole)
            sys.stdout.write(json.dumps(asdict(row)) + "\n" if given.json else line(row))
            sys.stdout.flush()


def measure(home: Path, videos: int, *, known: bool) -> Row:
    """A server of its own for each size, so that one size's rows do not slow the next."""
    world = worlds.many(videos)
    channel = worlds.sources(world)["channel"]
    with (
        serving(home / "server", PREFECT_SERVER_LOGGING_LEVEL="INFO") as server,
        YouTubeEmulator(world) as youtube,
    ):
        warm = ",".join(list(world.videos)[:2])
        child(home / "warm", server, youtube, warm, plain=False, known=known)
        alone = child(home / "plain", server, youtube, channel, plain=True, known=known)
        settle(server)
        before = look(server)
        made = child(home / "flow", server, youtube, channel, plain=False, known=known)
        settle(server)
        after = look(server)
    assert made["videos"] == alone["videos"] == videos, (made, alone)
    asked = after.asked - before.asked
    return Row(
        videos=videos,
        wall_s=made["wall_s"],
        cpu_s=made["cpu_s"],
        server_cpu_s=after.cpu_s - before.cpu_s,
        plain_wall_s=alone["wall_s"],
        plain_cpu_s=alone["cpu_s"],
        requests=asked.total(),
        bytes=after.bytes - before.bytes,
        routes=dict(asked.most_common()),
        rows={name: after.rows[name] - before.rows[name] for name in _TABLES},
    )


def child(
    home: Path, server: PrefectServer, youtube: YouTubeEmulator, source: str, *, plain: bool, known: bool
) -> dict[str, Any]:
    """One run with a knowledge base of its own, as its process tells it."""
    home.mkdir(parents=True)
    asked = {"source": source, "data": str(home / "data"), "plain": plain, "known": known}
    with OdinEmulator(processing_s=0.0) as odin:
        own = {
            "CHANNELSCRIBE_MODEL": str(CHECKPOINT),
            "CHANNELSCRIBE_WINDOW_S": "8",
            "YOUTUBE_API_KEYS": youtube.api_key,
            "YOUTUBE_SPACING_S": "0",
            "YOUTUBE_REQUEST_PAUSE_S": "0",
            "HF_HUB_OFFLINE": "1",
            "XDG_CACHE_HOME": str(home / "cache"),
        }
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.orchestrated", json.dumps(asked)],
            env=clean(**own, **server.environment(), **youtube.environment(), **odin.environment()),
            capture_output=True,
            text=True,
        )
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@dataclass(frozen=True)
class Look:
    """The server as it is: seconds of CPU so far, requests so far by route, rows by table, bytes of the database."""

    cpu_s: float
    asked: Counter[str]
    rows: dict[str, int]
    bytes: int


def look(server: PrefectServer) -> Look:
    lines = (server.home / "server.log").read_text(encoding="utf-8", errors="replace").splitlines()
    asked = Counter(f"{m[1]} {_ID.sub('…', m[2])}" for text in lines if (m := _REQUEST.search(text)))
    with contextlib.closing(sqlite3.connect(f"file:{server.home}/prefect.db?mode=ro", uri=True)) as database:
        rows = {name: database.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in _TABLES}
    size = sum(file.stat().st_size for file in server.home.glob("prefect.db*"))
    return Look(cpu_of(server), asked, rows, size)


def cpu_of(server: PrefectServer) -> float:
    own = psutil.Process(server.processes[-1].pid)
    return float(sum(sum(p.cpu_times()[:2]) for p in (own, *own.children(recursive=True))))


def settle(server: PrefectServer) -> None:
    """Returns when the server has written what it was sent: events arrive and are stored after the run has ended."""
    seen, same = -1, 0
    while same < SETTLED_LOOKS:
        time.sleep(1)
        now = sum(look(server).rows.values())
        seen, same = now, same + 1 if now == seen else 0


def line(row: Row) -> str:
    figures = (
        f"{row.videos:,}",
        f"{row.wall_s / row.videos:.2f}",
        f"{row.plain_wall_s / row.videos:.2f}",
        f"{row.overhead_wall_s:.2f}",
        f"{row.overhead_cpu_s:.2f}",
        f"{row.server_cpu_s / row.videos:.2f}",
        f"{row.requests / row.videos:.1f}",
        f"{sum(row.rows.values()) / row.videos:.0f}",
        f"{row.bytes / row.videos / 1e3:.0f}",
    )
    return "| " + " | ".join(figures) + " |\n"


if __name__ == "__main__":
    main()

"""A user's station: emulated YouTube and ODIN, a data root, and the command line as a process of its own.

The tests of this folder look only at what a user can look at: exit code, output, files, tables, and the two services.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]

from tests.emulators import worlds
from tests.emulators.odin import OdinEmulator
from tests.emulators.youtube import YouTubeEmulator
from tests.emulators.youtube.world import World
from tests.flows.environment import clean
from tests.flows.server import PrefectServer

CHECKOUT = Path(__file__).resolve().parents[2]
CHECKPOINT = CHECKOUT / "tests" / "speech_model" / "checkpoint"
_RUN_S = 500.0


@dataclass(frozen=True)
class Finished:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def run_id(self) -> str:
        return str(self.json["run_id"])

    @property
    def not_done(self) -> dict[str, dict[str, Any]]:
        """What the result lists as failed, by video id."""
        return {entry["video_id"]: entry for entry in self.json["not_done"]}

    @property
    def sentence(self) -> str:
        """The one line by which a command that could not work says why."""
        said = [line for line in self.err.splitlines() if line.startswith("channelscribe: ")]
        assert len(said) == 1, self.err
        assert "Traceback" not in self.err, self.err
        return said[0]


class Running:
    """A command at work; its process group is its own, so that `kill` takes all of it."""

    def __init__(self, command: list[str], environment: dict[str, str], folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        number = len(list(folder.glob("*.out")))
        self._out, self._err = folder / f"{number}.out", folder / f"{number}.err"
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env=environment,
                cwd=folder,
                start_new_session=True,
            )

    def said(self) -> str:
        return self._err.read_text(encoding="utf-8")

    def wait(self) -> Finished:
        code = self.process.wait(_RUN_S)
        return Finished(code, self._out.read_text(encoding="utf-8"), self.said())

    def until(self, happened: Callable[[], bool]) -> None:
        """Returns as soon as `happened`, while the command is still at work."""
        deadline_s = time.monotonic() + _RUN_S
        while not happened():
            assert self.process.poll() is None, f"it ended too early: {self.said()}"
            assert time.monotonic() < deadline_s, "what was waited for never happened"
            time.sleep(0.01)

    def kill_when(self, happened: Callable[[], bool]) -> None:
        """kill -9 for the whole group as soon as `happened`; its offspring in other groups must end by itself."""
        self.until(happened)
        offspring = psutil.Process(self.process.pid).children(recursive=True)
        self.kill()
        _, alive = psutil.wait_procs(offspring, timeout=60)
        assert not alive, f"left running after kill -9: {alive}"

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(60)


@dataclass
class Station:
    """Emulators, data root and settings of one user. `home` holds everything."""

    home: Path
    server: PrefectServer
    youtube: YouTubeEmulator
    odin: OdinEmulator
    data: Path
    settings: dict[str, str] = field(default_factory=dict)
    started: list[Running] = field(default_factory=list)

    @property
    def world(self) -> World:
        return self.youtube.world

    @property
    def channel(self) -> str:
        return worlds.sources(self.world)["channel"]

    @property
    def truth(self) -> dict[str, dict[str, Any]]:
        return worlds.truth(self.world, self.youtube.recording)

    def named(self, title: str) -> str:
        """The id of the video with this title."""
        return self.world.video_titled(title).id

    def expected(self, *words: str) -> set[str]:
        """Ids of the videos of which a run should make this."""
        return {v.id for v in self.world.videos.values() if worlds.expectation(v) in words}

    def environment(self, **more: str) -> dict[str, str]:
        own = {
            "CHANNELSCRIBE_MODEL": str(CHECKPOINT),
            "CHANNELSCRIBE_WINDOW_S": "8",
            "YOUTUBE_API_KEYS": self.youtube.api_key,
            "YOUTUBE_SPACING_S": "0",
            "YOUTUBE_REQUEST_PAUSE_S": "0",
            "HF_HUB_OFFLINE": "1",
            "XDG_CACHE_HOME": str(self.home / "cache"),
        }
        services = {**self.server.environment(), **self.youtube.environment(), **self.odin.environment()}
        return clean(**{**own, **services, **self.settings, **more})

    def start(self, *options: str, source: str = "", **settings: str) -> Running:
        """`channelscribe sync SOURCE --data DATA --json OPTIONS`, on its way."""
        return self.command("sync", source or self.channel, "--json", *options, **settings)

    def command(self, verb: str, *arguments: str, **settings: str) -> Running:
        """`channelscribe VERB --data DATA ARGUMENTS`, on its way."""
        command = [sys.executable, "-m", "deployments.cli", verb, "--data", str(self.data), *arguments]
        running = Running(command, self.environment(**settings), self.home / "commands")
        self.started.append(running)
        return running

    def sync(self, *options: str, source: str = "", **settings: str) -> Finished:
        return self.start(*options, source=source, **settings).wait()

    def media_requests(self) -> dict[str, int]:
        return {v: n for v in self.world.videos if (n := self.youtube.media_requests(v))}

    def media_ranges(self, video_id: str) -> list[str]:
        return [r.range for r in self.youtube.log if r.media and r.video_id == video_id]

    def document_of(self, video_id: str) -> Any:
        """The one document about a video."""
        found = [d for d in self.odin.documents.values() if d.metadata["videoId"] == video_id]
        assert len(found) == 1, f"{len(found)} documents about {video_id}"
        return found[0]


@contextlib.contextmanager
def open_station(home: Path, server: PrefectServer, world: World, *, processing_s: float = 0.05) -> Iterator[Station]:
    """Both emulators up, an empty data root; whatever was started is ended on the way out."""
    with YouTubeEmulator(world) as youtube, OdinEmulator(processing_s=processing_s) as odin:
        station = Station(home, server, youtube, odin, home / "data")
        try:
            yield station
        finally:
            for running in station.started:
                running.kill()

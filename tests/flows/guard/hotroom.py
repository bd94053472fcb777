"""A simulated card whose weather the test makes, and what a person sees of a run on it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.emulators.youtube.world import World
from tests.flows.channels import films
from tests.flows.server import PrefectServer
from tests.flows.station import Running, Station

COOL_C, HOT_C = 40, 82
COOLING = "Cooling down"
LONGEST_S = 200.0
Row = dict[str, Any]


def world() -> World:
    """Two short films; with windows of 3 s that is half a dozen steps of the card each."""
    return films(2, 12.0)


@dataclass
class Plant:
    """The file that steers the simulated card of `CHANNELSCRIBE_GPU=sim:FILE`."""

    path: Path
    knobs: Row = field(default_factory=lambda: {"start_temp_c": COOL_C, "forced_temp_c": COOL_C})

    def __post_init__(self) -> None:
        self.turn()

    def turn(self, **knobs: Any) -> None:
        """Written whole or not at all: the run reads it while it runs."""
        self.knobs |= knobs
        partial = self.path.with_suffix(".part")
        partial.write_text(json.dumps(self.knobs))
        partial.replace(self.path)

    def settings(self, **more: str) -> dict[str, str]:
        """The environment of a run on this card: judged ten times a second, so that tests need not wait."""
        return {
            "CHANNELSCRIBE_GPU": f"sim:{self.path}",
            "CHANNELSCRIBE_WINDOW_S": "3",
            "CHANNELSCRIBE_BATCH_SIZE": "1",
            "CHANNELSCRIBE_GUARD_SAMPLE_S": "0.1",
            "CHANNELSCRIBE_GUARD_MIN_DWELL_S": "0.5",
            "CHANNELSCRIBE_GUARD_FROZEN_S": "3600",
            **more,
        }


def hot(path: Path, **knobs: Any) -> Plant:
    return Plant(path, {"start_temp_c": HOT_C, "forced_temp_c": HOT_C, **knobs})


@dataclass
class Watcher:
    """A person in front of the dashboard, looking at the run of one command."""

    server: PrefectServer
    running: Running
    run_id: str = ""

    def state(self) -> Row:
        """The run's state; empty before there is a run."""
        if not self.run_id:
            said = [line for line in self.running.said().splitlines() if "run: " in line and "/flow-run/" in line]
            if not said:
                return {"type": "", "name": "", "message": ""}
            self.run_id = said[0].rsplit("/", 1)[-1].strip()
        state: Row = self.server.run(self.run_id)["state"]
        return state

    def until(self, happened: Callable[[Row], bool], what: str) -> Row:
        end_s = time.monotonic() + LONGEST_S
        while not happened(state := self.state()):
            assert self.running.process.poll() is None, f"it ended before {what}: {self.running.said()}"
            assert time.monotonic() < end_s, f"{what} never came; the state is {state}"
            time.sleep(0.2)
        return state

    def until_cooling(self, cause: str = "") -> Row:
        return self.until(lambda s: s["name"] == COOLING and cause in (s["message"] or ""), f"the pause ({cause})")

    def until_begun(self, step: str, count: int) -> None:
        """Until so many tasks of this step have begun; a task that begins while no server answers fails."""
        names = lambda: {n for n in self.server.task_names(self.run_id) if n.startswith(step)}  # noqa: E731
        self.until(lambda _: len(names()) == count, f"{count} times {step!r}")

    def press_resume(self) -> None:
        answer = self.server.ask(f"/flow_runs/{self.run_id}/resume", {})
        assert answer["status"] == "ACCEPT", answer

    def set_state(self, kind: str, name: str, **details: Any) -> None:
        body = {"state": {"type": kind, "name": name, "state_details": details}, "force": True}
        answer = self.server.ask(f"/flow_runs/{self.run_id}/set_state", body)
        assert answer["status"] == "ACCEPT", answer

    def states(self) -> list[Row]:
        """All states of the run, oldest first."""
        found: list[Row] = self.server.ask(f"/flow_run_states/?flow_run_id={self.run_id}")
        return sorted(found, key=lambda s: str(s["timestamp"]))

    def events(self) -> list[Row]:
        """The events about the card that name this run, oldest first."""
        wanted = {
            "filter": {
                "event": {"prefix": ["channelscribe.gpu."]},
                "related": {"id": [f"prefect.flow-run.{self.run_id}"]},
            },
            "limit": 50,
        }
        found: list[Row] = self.server.ask("/events/filter", wanted)["events"]
        return sorted(found, key=lambda e: str(e["occurred"]))


def watch(station: Station, running: Running) -> Watcher:
    return Watcher(station.server, running)

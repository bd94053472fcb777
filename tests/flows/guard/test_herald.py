"""The herald before a server that refuses, fails, hangs and comes back: the card is guarded all the same."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import UUID, uuid4

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from channelscribe.attempts import Control
from channelscribe.core.guard import GuardPolicy
from channelscribe.gpu.gate import GuardGate
from channelscribe.gpu.guard import Guard
from tasks.guarding import COOLING, Herald
from tests.channelscribe.gpu.bench import CARD, StepClock, ToldReader

RUN = UUID(int=7)
HOT, COOL = 82.0, 50.0


class Server:
    """Holds the state of one flow run as Prefect's API does; `mode` says how it answers."""

    def __init__(self) -> None:
        self.mode = "well"
        self.states: list[dict[str, Any]] = []
        self.letting_go = threading.Event()
        self.put("RUNNING", "Running")
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                run = {"id": str(RUN), "flow_id": str(uuid4()), "name": "run", "state": outer.states[-1]}
                self.give(run)

            def do_POST(self) -> None:
                sent = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["state"]
                if outer.mode == "well":
                    outer.put(sent["type"], sent["name"], sent["message"] or "", sent["state_details"])
                self.give({"status": "ACCEPT", "details": {"type": "accept_details"}, "state": outer.states[-1]})

            def give(self, body: object) -> None:
                if outer.mode == "hangs":
                    outer.letting_go.wait(60)
                content = b"no" if outer.mode == "fails" else json.dumps(body).encode()
                well = 200 if "/flow_runs/" in self.path else 404  # a server without CSRF tokens
                self.send_response(500 if outer.mode == "fails" else well)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                return None

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def put(self, kind: str, name: str, message: str = "", details: dict[str, Any] | None = None) -> None:
        state = {"id": str(uuid4()), "type": kind, "name": name, "message": message, "state_details": details or {}}
        self.states.append(state)

    @property
    def names(self) -> list[str]:
        return [state["name"] for state in self.states]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http.server_address[1]}/api"


class Bench:
    """Guard and herald as a run has them, on a told card, judged twenty times a second."""

    def __init__(self, server: Server, policy: GuardPolicy) -> None:
        self.server, self.control, self.gate = server, Control(), GuardGate()
        self.reader, self.readings, self.events = ToldReader(StepClock()), 0, list[str]()
        self.herald = Herald(
            RUN,
            CARD,
            self.control.stop,
            log=logging.getLogger("herald"),
            emit=lambda **e: self.events.append(e["event"]),
        )
        self.guard = Guard(
            self.reader,
            policy,
            self.gate,
            on_change=self.herald.hear,
            on_reading=self.count,
            on_failure=self.control.heed,
        )

    def count(self, _: object) -> None:
        self.readings += 1

    def until(self, happened: Callable[[], bool], what: str) -> None:
        end_s = time.monotonic() + 30
        while not happened():
            assert time.monotonic() < end_s, f"{what} never came; {self.server.names}"
            time.sleep(0.02)

    def heat(self, temp_c: float) -> None:
        self.reader.tell(temp_c=temp_c)
        held = temp_c > 75
        self.until(lambda: (self.gate.reason is not None) is held, "the gate's move")


POLICY = GuardPolicy(sample_s=0.05, min_dwell_s=0, override_s=1.0, frozen_s=3600, bad_readings=100)


@pytest.fixture
def bench() -> Iterator[Bench]:
    server = Server()
    with temporary_settings({PREFECT_API_URL: server.url}):
        bench = Bench(server, POLICY)
        bench.reader.sample = real_time(bench.reader)  # type: ignore[method-assign]
        bench.guard.start()
        bench.herald.start(bench.guard)
        yield bench
        server.letting_go.set()
        bench.guard.stop()
        bench.herald.stop()
        server.http.shutdown()
        server.http.server_close()


def real_time(reader: ToldReader) -> Callable[[], Any]:
    """Samples with moments that move; a jump of temperature is spread over so many of them that it is believed."""
    told, shown = reader.sample, [COOL]

    def sample() -> Any:
        goal = reader.told.temp_c or COOL
        shown[0] += max(-1.0, min(1.0, goal - shown[0]))
        reader.clock.at_s += 0.05
        return replace(told(), temp_c=shown[0])

    return sample


def test_a_pause_is_shown_and_taken_back(bench: Bench) -> None:
    bench.heat(HOT)
    bench.until(lambda: bench.server.names == ["Running", COOLING], "the pause")
    paused = bench.server.states[-1]
    assert paused["type"] == "PAUSED" and CARD.name in paused["message"] and "75 °C" in paused["message"]
    assert paused["state_details"].get("pause_timeout") is None, "with a timeout the server would fail the run"
    assert not paused["state_details"].get("pause_reschedule")
    bench.heat(COOL)
    bench.until(lambda: bench.server.names == ["Running", COOLING, "Running"], "the end of the pause")
    assert bench.events[0] == "channelscribe.gpu.slow" or bench.events[0] == "channelscribe.gpu.pause"
    assert bench.events.count("channelscribe.gpu.pause") == 1
    assert not bench.control.stopped()


@pytest.mark.parametrize("mode", ["fails", "hangs"])
def test_a_server_that_fails_or_hangs_holds_nothing_up_and_is_told_when_it_is_well(bench: Bench, mode: str) -> None:
    bench.server.mode = mode
    bench.heat(HOT)
    before = bench.readings
    bench.until(lambda: bench.readings > before + 40, "more readings")
    assert bench.server.names == ["Running"]
    bench.server.mode = "well"
    bench.server.letting_go.set()
    bench.until(lambda: bench.server.names == ["Running", COOLING], "the pause")
    bench.server.mode = "fails"
    bench.heat(COOL)
    bench.server.mode = "well"
    bench.until(lambda: bench.server.names == ["Running", COOLING, "Running"], "the end of the pause")


def test_resume_holds_for_its_time_and_only_a_person_can_press_it(bench: Bench) -> None:
    bench.heat(HOT)
    bench.until(lambda: bench.server.names[-1] == COOLING, "the pause")
    bench.server.put("RUNNING", "Running")
    bench.until(lambda: bench.gate.reason is None, "the open gate")
    bench.until(lambda: bench.gate.reason is not None, "the next judgement")
    bench.until(lambda: bench.server.names.count(COOLING) == 2, "the second pause")
    by_hand = [s["message"] for s in bench.server.states if "by hand" in s["message"]]
    assert len(by_hand) == 1 and "82 °C" in by_hand[0]


@pytest.mark.parametrize(
    ("kind", "name", "details"),
    [
        ("CANCELLING", "Cancelling", {}),
        ("PAUSED", "Suspended", {"pause_reschedule": True}),
        ("PAUSED", "Put aside", {"pause_reschedule": True}),
    ],
)
def test_cancel_and_suspend_end_the_run_and_are_not_talked_over(
    bench: Bench, kind: str, name: str, details: dict[str, Any]
) -> None:
    bench.heat(HOT)
    bench.until(lambda: bench.server.names[-1] == COOLING, "the pause")
    bench.server.put(kind, name, details=details)
    bench.until(bench.control.stopped, "the end")
    assert bench.herald.ended_by is not None and bench.herald.ended_by.name == name
    bench.heat(COOL)
    bench.heat(HOT)
    assert bench.server.names[-1] == name


def test_a_lost_card_is_a_failure_that_resume_cannot_overrule(bench: Bench) -> None:
    bench.heat(HOT)
    bench.until(lambda: bench.server.names[-1] == COOLING, "the pause")
    bench.reader.tell(lost=True)
    bench.until(bench.control.stopped, "the failure")
    assert bench.control.failure is not None and bench.control.failure.code == "gpu_lost"
    bench.server.put("RUNNING", "Running")
    bench.until(lambda: bench.server.names[-1] == COOLING, "the pause again")
    assert bench.gate.reason is not None

"""Automations on a real server: made only for the blocks that exist, applied twice, and one that really tells."""

from __future__ import annotations

import itertools
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from prefect.blocks.notifications import SlackWebhook
from prefect.blocks.webhook import Webhook
from prefect.client.orchestration import SyncPrefectClient
from prefect.events import emit_event
from prefect.events.worker import EventsWorker
from prefect.settings import PREFECT_API_URL, temporary_settings
from pydantic import SecretStr

from blocks.state import export_state
from channelscribe.core.errors import UsageError
from deployments.automations import AUTOMATIONS_FILE, PREFIX, Applied, AutomationSpec, apply, read_automations
from deployments.register import read_specs
from tests.deployments.worker.api import wait_for
from tests.flows.server import PrefectServer

SECRET = "hush-0123456789"
TELLING = {
    "a run failed", "the guard stopped a run", "a pause takes long", "a lane is blocked", "a budget is used up",
    "no progress",
}  # fmt: skip


class Receiver:
    """A webhook's other end on loopback."""

    def __init__(self) -> None:
        self.got: list[dict[str, Any]] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.got.append({**json.loads(body), "token": self.headers["X-Token"]})
                self.send_response(200)
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                """Says nothing."""

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/hook"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def named(self, name: str) -> list[dict[str, Any]]:
        return [told for told in self.got if told["automation"] == PREFIX + name]


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture(scope="module")
def client(prefect_server: PrefectServer) -> Iterator[SyncPrefectClient]:
    """As the commands have it: a server of their own, emptied of our automations afterwards."""
    with temporary_settings({PREFECT_API_URL: prefect_server.api}), SyncPrefectClient(prefect_server.api) as opened:
        yield opened
        EventsWorker.drain_all()
        for automation in opened.read_automations():
            opened.delete_automation(automation.id)
        for block in opened.read_block_documents():
            if block.name == "channelscribe":
                opened.delete_block_document(block.id)


def ours(client: SyncPrefectClient) -> dict[str, Any]:
    return {a.name.removeprefix(PREFIX): a for a in client.read_automations() if a.name.startswith(PREFIX)}


@pytest.fixture(scope="module")
def without_blocks(client: SyncPrefectClient) -> tuple[Applied, set[str]]:
    done = apply(client)
    return done, set(ours(client))


@pytest.fixture(scope="module")
def with_webhook(client: SyncPrefectClient, without_blocks: tuple[Applied, set[str]], receiver: Receiver) -> Applied:
    headers: Any = {"X-Token": SECRET}
    Webhook(url=SecretStr(receiver.url), headers=headers).save("channelscribe")
    return apply(client)


def test_without_blocks_nothing_is_made_and_each_missing_one_is_named(
    without_blocks: tuple[Applied, set[str]],
) -> None:
    done, there = without_blocks
    assert there == set()
    assert set(done.left_out) == {*TELLING, "retry what failed"}
    for way in read_automations()[0]:
        assert way in done.missing and way in done.sentence


def test_a_block_is_enough_and_a_second_time_changes_nothing(client: SyncPrefectClient, with_webhook: Applied) -> None:
    assert set(with_webhook.made) == TELLING == set(ours(client))
    before = {name: a.id for name, a in ours(client).items()}
    again = apply(client)
    assert (set(again.same), again.made, again.changed) == (TELLING, (), ())
    assert {name: a.id for name, a in ours(client).items()} == before


def test_what_an_operator_switched_off_stays_off_and_a_second_block_is_added(
    client: SyncPrefectClient, with_webhook: Applied
) -> None:
    client.pause_automation(ours(client)["no progress"].id)
    SlackWebhook(url=SecretStr("https://hooks.example.com/x")).save("channelscribe")
    try:
        assert set(apply(client).changed) == TELLING
        there = ours(client)
        assert {name for name, a in there.items() if not a.enabled} == {"no progress"}
        assert {len(a.actions) for a in there.values()} == {2}
    finally:
        client.delete_block_document(client.read_block_document_by_name("channelscribe", "slack-webhook").id)
        client.resume_automation(ours(client)["no progress"].id)
    assert set(apply(client).changed) == TELLING


def made_run(server: PrefectServer, name: str, tags: tuple[str, ...] = ("channelscribe",)) -> str:
    flow = server.ask("/flows/", {"name": "sync-channel"})["id"]
    return str(server.ask("/flow_runs/", {"flow_id": flow, "name": name, "tags": list(tags)})["id"])


def set_state(server: PrefectServer, run: str, kind: str, message: str) -> None:
    server.ask(f"/flow_runs/{run}/set_state", {"state": {"type": kind, "message": message}, "force": True})


def failed_run(server: PrefectServer, tag: str, message: str) -> str:
    run = made_run(server, f'sync "{message}"', (tag,))
    set_state(server, run, "FAILED", message)
    return run


def test_a_failed_run_is_told_to_a_real_receiver(
    prefect_server: PrefectServer, client: SyncPrefectClient, with_webhook: Applied, receiver: Receiver
) -> None:
    hostile = 'disk "full" \\ </script> {{ 7 * 7 }} ünï'
    failed_run(prefect_server, "somebody-else", "not ours")
    run = failed_run(prefect_server, "channelscribe", hostile)
    wait_for(lambda: bool(receiver.named("a run failed")), "the call of the webhook", 60)
    told = receiver.named("a run failed")
    assert [t["run_id"] for t in told] == [run]
    assert told[0]["message"] == hostile
    assert told[0]["run"] == f'sync "{hostile}"'
    assert told[0]["token"] == SECRET


def test_the_guards_stop_a_blocked_lane_and_a_budget_are_told(
    client: SyncPrefectClient, with_webhook: Applied, receiver: Receiver
) -> None:
    resource = {"prefect.resource.id": "channelscribe.gpu.GPU-1", "prefect.resource.name": "A card"}
    emit_event("channelscribe.gpu.stop", resource, payload={"message": "The card is lost."})
    lane = {"prefect.resource.id": "channelscribe.lane.youtube"}
    emit_event("channelscribe.lane.blocked", lane, payload={"message": "Sign in to confirm."})
    budget = {"prefect.resource.id": "channelscribe.budget.energy"}
    emit_event("channelscribe.budget.passed", budget, payload={"message": "The cards took 9 kWh."})
    EventsWorker.drain_all()
    names = ("the guard stopped a run", "a lane is blocked", "a budget is used up")
    wait_for(lambda: all(map(receiver.named, names)), "all three", 60)
    said = [receiver.named(name)[0]["message"] for name in names]
    assert said == ["The card is lost.", "Sign in to confirm.", "The cards took 9 kWh."]


def test_silence_is_told_too(
    prefect_server: PrefectServer,
    client: SyncPrefectClient,
    with_webhook: Applied,
    receiver: Receiver,
    tmp_path: Path,
) -> None:
    """The shipped file with 15 seconds instead of half an hour and two hours: Prefect takes no less than ten.

    The server drops an event that comes while it loads changed automations, so each is said again until one is told.
    """
    short = tmp_path / "automations.yaml"
    short.write_text(re.sub(r"absent_minutes: \d+", "absent_minutes: 0.25", AUTOMATIONS_FILE.read_text()))
    assert set(apply(client, short).changed) == {"a pause takes long", "no progress"}
    cold, hot = ("channelscribe.gpu.GPU-2", "channelscribe.gpu.GPU-3")
    over, still = (f"prefect.flow-run.{made_run(prefect_server, name)}" for name in ("ends", "stands still"))
    pause, running = "channelscribe.gpu.pause", "prefect.flow-run.Running"
    tag = [{"prefect.resource.id": "prefect.tag.channelscribe", "prefect.resource.role": "tag"}]
    said = [(cold, pause), (cold, "channelscribe.gpu.run"), (hot, pause)]
    said += [(over, running), (over, "prefect.flow-run.Completed"), (still, running)]
    rounds = itertools.count()

    def told() -> bool:
        if next(rounds) % 15 == 0:
            for resource, event in said:
                emit_event(event, {"prefect.resource.id": resource}, related=tag, payload={"message": resource})
        return bool(receiver.named("a pause takes long") and receiver.named("no progress"))

    wait_for(told, "the silence", 180)
    assert {t["message"] for t in receiver.named("a pause takes long")} == {hot}
    assert {f"prefect.flow-run.{t['run_id']}" for t in receiver.named("no progress")} == {still}
    assert set(apply(client).changed) == {"a pause takes long", "no progress"}


def test_the_state_of_the_server_is_saved_without_secrets(
    client: SyncPrefectClient, with_webhook: Applied, receiver: Receiver
) -> None:
    saved = export_state(client).decode()
    state = json.loads(saved)
    assert {a["name"] for a in state["automations"]} >= {PREFIX + name for name in TELLING}
    block = next(b for b in state["blocks"] if b["name"] == "channelscribe" and b["type"] == "webhook")
    assert block["values"]["method"] == "POST"
    assert SECRET not in saved
    assert receiver.url not in saved
    assert export_state(client).decode() == saved


def test_the_file_is_sound_and_starts_nothing_in_a_loop() -> None:
    _, specs = read_automations()
    names = {spec.name for spec in read_specs(environment={})}
    starting = [spec for spec in specs if spec.run]
    assert [spec.enabled for spec in starting] == [False]
    for spec in starting:
        assert {full.split("/")[1] for full in (*spec.of, spec.run)} <= names
        assert spec.run.split("/")[0] not in {full.split("/")[0] for full in spec.of}
        assert spec.parameters["failed"]["most_attempts"] > 0


@pytest.mark.parametrize(
    "wrong",
    [
        {"run": "a/b", "of": ("c/d",)},
        {"run": "a/b", "of": ("a/b",), "wait_minutes": 10},
        {"run": "a/b", "wait_minutes": 10},
        {"expect": ()},
        {"after": ("x",)},
        {"absent_minutes": 5},
    ],
)
def test_what_could_loop_or_never_fires_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        AutomationSpec(**{"name": "x", "expect": ("prefect.flow-run.Failed",), **wrong})


@pytest.mark.parametrize("text", ["", "[]", "ways: []", "automations: [{nme: x}]\nways: []", "{", "ways: 3"])
def test_a_file_that_is_none_is_told_in_a_sentence(text: str, tmp_path: Path) -> None:
    file = tmp_path / "automations.yaml"
    file.write_text(text)
    with pytest.raises(UsageError):
        read_automations(file)

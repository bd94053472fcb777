"""Many threads, one knowledge base: every document is stored once."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from channelscribe.core.errors import Transient
from channelscribe.odin.client import OdinClient
from channelscribe.odin.pacing import KeyLocks
from tests.channelscribe.odin.conftest import MakeClient
from tests.channelscribe.odin.parts import VirtualClock, Work, make_work
from tests.emulators.odin import OdinEmulator

WORKS = [make_work(f"{i:011d}", text=f"[00:00 - 00:01] text number {i}\n") for i in range(50)]


def _publish_all(client: OdinClient, works: list[Work], threads: int = 16) -> list[bool]:
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(lambda work: work.publish(client).sent, works))


def test_sixteen_threads_store_fifty_documents_once_each(odin: OdinEmulator, client: OdinClient) -> None:
    assert all(_publish_all(client, WORKS))
    assert {k: d.content for k, d in odin.documents.items()} == {w.key: w.content for w in WORKS}
    assert set(odin.base.stored.values()) == {1}
    assert odin.sends() == 50


def test_threads_that_publish_the_same_document_send_it_once(odin: OdinEmulator, client: OdinClient) -> None:
    odin.faults.add(path="/knowledgebase", delay_s=0.05, times=8)  # all look before the first has sent
    sent = _publish_all(client, WORKS[:1] * 8 + WORKS[1:5] * 8)
    assert sum(sent) == 5
    assert odin.sends() == 5


def test_two_processes_worth_of_clients_store_each_document_once(odin: OdinEmulator, make_client: MakeClient) -> None:
    clients = [make_client(), make_client()]
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda job: job[1].publish(job[0]), [(c, w) for w in WORKS[:20] for c in clients]))
    assert set(odin.base.stored.values()) == {1}


def test_a_bad_night_stores_every_document_once(odin: OdinEmulator, client: OdinClient) -> None:
    dice = random.Random(7)
    for _ in range(60):
        kinds: list[dict[str, Any]] = [
            {"cut": "before"},
            {"cut": "after"},
            {"cut": "during"},
            {"status": 503},
            {"status": 200},
        ]
        fault = dice.choice(kinds)
        path = dice.choice(["/add/file", "/add/file", "/knowledgebase", "/status", "/chunks"])
        odin.faults.add(path=path, skip=dice.randrange(4), **fault)
    for _ in range(20):
        done = _try_all(client)
        if all(done):
            break
    assert all(done)
    assert {k: d.content for k, d in odin.documents.items()} == {w.key: w.content for w in WORKS}
    assert set(odin.base.stored.values()) == {1}


def _try_all(client: OdinClient) -> list[bool]:
    def attempt(work: Work) -> bool:
        try:
            return work.publish(client).upload.verified_at is not None
        except Transient:
            return False

    with ThreadPoolExecutor(16) as pool:
        return list(pool.map(attempt, WORKS))


def test_uploads_start_apart(odin: OdinEmulator, make_client: MakeClient, clock: VirtualClock) -> None:
    client = make_client(spacing_s=5.0)
    for work in WORKS[:3]:
        client.add(work.key, work.content, {"sha256": "1"}, force=False)
    assert clock.monotonic() == 10.0


def test_locks_are_forgotten_when_nobody_needs_them() -> None:
    locks, inside = KeyLocks(), []

    def work(number: int) -> None:
        key = f"k{number % 3}"
        with locks.holding(key):
            assert key not in inside
            inside.append(key)
            inside.remove(key)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(300)))
    assert locks._locks == {}

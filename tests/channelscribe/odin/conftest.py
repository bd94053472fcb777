"""An emulator and a client on one virtual clock, so that queues and backoffs take no time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from channelscribe.odin.client import OdinClient
from channelscribe.odin.config import OdinConfig
from tests.channelscribe.odin.parts import VirtualClock, Work, make_work
from tests.emulators.odin import OdinEmulator

MakeClient = Callable[..., OdinClient]


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def odin(clock: VirtualClock) -> Iterator[OdinEmulator]:
    with OdinEmulator(processing_s=8.0, monotonic=clock.monotonic) as emulator:
        yield emulator


@pytest.fixture
def make_client(odin: OdinEmulator, clock: VirtualClock) -> Iterator[MakeClient]:
    """Makes clients of the emulator; keywords change single fields of their configuration."""
    clients: list[OdinClient] = []

    def make(**changes: Any) -> OdinClient:
        key, secret = odin.credentials
        fields = {"api_key": key, "api_secret": secret, "project_id": odin.project_id, "base_url": odin.base_url}
        clients.append(OdinClient(OdinConfig(**{**fields, **changes}), clock=clock))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


@pytest.fixture
def client(make_client: MakeClient) -> OdinClient:
    return make_client()


@pytest.fixture
def work() -> Work:
    return make_work()

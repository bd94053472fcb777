"""One Prefect server for the room, a station for each test, and one whole run that many assertions share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.emulators.youtube.world import World
from tests.flows.channels import channel
from tests.flows.server import PrefectServer, serving
from tests.flows.station import Finished, Station, open_station

MakeStation = Callable[[World], Station]


@pytest.fixture(scope="package")
def prefect_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    with serving(tmp_path_factory.mktemp("prefect")) as server:
        yield server


@pytest.fixture
def make_station(tmp_path: Path, prefect_server: PrefectServer) -> Iterator[MakeStation]:
    """`make_station(world)`; several in one test get homes of their own."""
    with ExitStack() as opened:
        count = 0

        def make(world: World) -> Station:
            nonlocal count
            count += 1
            return opened.enter_context(open_station(tmp_path / f"station-{count}", prefect_server, world))

        yield make


@dataclass(frozen=True)
class WholeRun:
    """The small channel, synced once without any disturbance; later runs on it do nothing, so tests may share it."""

    station: Station
    result: Finished
    quota_units: int


@pytest.fixture(scope="package")
def whole_run(tmp_path_factory: pytest.TempPathFactory, prefect_server: PrefectServer) -> Iterator[WholeRun]:
    with open_station(tmp_path_factory.mktemp("whole"), prefect_server, channel()) as station:
        result = station.sync()
        yield WholeRun(station, result, station.youtube.state()["quota_units"])

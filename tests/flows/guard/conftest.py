"""The same two films, transcribed once without a guard: what every guarded run must give in the end."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

import pytest

from tests.flows.guard.hotroom import world
from tests.flows.server import PrefectServer
from tests.flows.station import Station, open_station
from tests.flows.tables import Contents, assert_same, contents, files, table


@dataclass(frozen=True)
class Reference:
    contents: Contents
    files: dict[str, str]


@pytest.fixture(scope="package")
def unguarded(tmp_path_factory: pytest.TempPathFactory, prefect_server: PrefectServer) -> Iterator[Reference]:
    with open_station(tmp_path_factory.mktemp("unguarded"), prefect_server, world()) as station:
        ended = station.sync(CHANNELSCRIBE_WINDOW_S="3", CHANNELSCRIBE_BATCH_SIZE="1")
        assert ended.code == 0, ended.err
        assert table(station.data, "gpu_metrics").empty, "without a card nothing is measured"
        assert all(table(station.data, "outcomes")["paused_s"] == 0.0)
        yield Reference(contents(station.data), files(station.data))


@pytest.fixture
def nothing_lost(unguarded: Reference) -> Callable[..., None]:
    """Asserts the end that every story must have: the texts of the unguarded run, nothing fetched or sent twice.

    `whole`: what had been downloaded when the run was ended; a file cut off in the middle takes a second request.
    """

    def check(station: Station, whole: Collection[str] | None = None) -> None:
        assert_same(contents(station.data), unguarded.contents)
        assert files(station.data) == unguarded.files
        requests, fetched = station.media_requests(), station.world.videos if whole is None else whole
        assert set(requests) == set(station.world.videos)
        assert {video: requests[video] for video in fetched} == dict.fromkeys(fetched, 1)
        assert set(station.odin.base.stored.values()) == {1}
        assert len(station.odin.documents) == len(station.world.videos)

    return check

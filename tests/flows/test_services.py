"""Services that refuse, limit, stumble and dawdle: each has its class and its sentence, and nothing is lost."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.emulators.odin.faults import ADD_FILE
from tests.emulators.youtube.emulator import API_PROJECT
from tests.flows.channels import films
from tests.flows.conftest import MakeStation
from tests.flows.server import PrefectServer
from tests.flows.station import Finished, Running, Station, open_station
from tests.flows.tables import attempts, table

pytestmark = [pytest.mark.prefect, pytest.mark.slow]


@dataclass(frozen=True)
class Troubled:
    """An archive whose first run met a bot wall; its second, which takes a minute of patience, is on its way."""

    station: Station
    walled: Finished
    storm: Running

    @property
    def videos(self) -> tuple[str, str, str]:
        """Two whose documents ODIN will not take, and a good one."""
        broken, limited, good = (self.station.named(f"Film {i}") for i in range(3))
        return broken, limited, good


@pytest.fixture(scope="module")
def troubled(tmp_path_factory: pytest.TempPathFactory, prefect_server: PrefectServer) -> Iterator[Troubled]:
    with open_station(tmp_path_factory.mktemp("troubled"), prefect_server, films(3)) as station:
        station.youtube.player.bot_wall = True
        walled = station.sync()
        station.youtube.player.bot_wall = False
        broken, limited = station.named("Film 0"), station.named("Film 1")
        station.odin.faults.add(path=ADD_FILE, key=broken, status=503, times=-1)
        later = {"Retry-After": "7200"}
        station.odin.faults.add(path=ADD_FILE, key=limited, status=429, headers=later, times=-1)
        yield Troubled(station, walled, station.start())


@dataclass(frozen=True)
class Stormy:
    """The second run after its end, and what stood then."""

    troubled: Troubled
    result: Finished
    transcribed: set[str]
    stored: set[str]


@pytest.fixture(scope="module")
def stormy(troubled: Troubled) -> Stormy:
    result, station = troubled.storm.wait(), troubled.station
    stored = {d.metadata["videoId"] for d in station.odin.documents.values()}
    return Stormy(troubled, result, set(table(station.data, "transcripts")["video_id"]), stored)


def test_a_bot_wall_blocks_everything_and_is_named(troubled: Troubled) -> None:
    walled = troubled.walled
    assert walled.code == 1, walled.err
    assert set(walled.not_done) == set(troubled.videos)
    assert {entry["failure_class"] for entry in walled.not_done.values()} == {"blocked"}
    assert all("bot" in entry["reason"] for entry in walled.not_done.values())


def test_a_wrong_secret_is_told_before_anything_is_downloaded(make_station: MakeStation) -> None:
    station = make_station(films(2))
    refused = station.sync(ODIN_API_SECRET="not-the-secret-5b2e")
    assert refused.code == 2
    assert "ODIN_API_SECRET" in refused.sentence
    assert refused.json["error"]["class"] == "environment"
    assert station.media_requests() == {} and not station.odin.documents
    assert "not-the-secret-5b2e" not in refused.out + refused.err
    assert list(table(station.data, "runs")["state"]) == ["Failed"]


def test_missing_odin_variables_are_named(make_station: MakeStation) -> None:
    station = make_station(films(1))
    refused = station.sync(ODIN_API_SECRET="", ODIN_PROJECT_ID="")
    assert refused.code == 2
    assert "ODIN_API_SECRET" in refused.sentence and "ODIN_PROJECT_ID" in refused.sentence
    assert not len(station.youtube.log)


@pytest.mark.parametrize(
    ("source", "settings", "word"),
    [
        ("@NobodyHere", {}, "NobodyHere"),
        ("", {"ODIN_BASE_URL": "http://127.0.0.1:9"}, "ODIN"),
    ],
    ids=["no such channel", "no host"],
)
def test_what_cannot_begin_is_one_sentence(
    make_station: MakeStation, source: str, settings: dict[str, str], word: str
) -> None:
    station = make_station(films(1))
    stopped = station.sync(source=source, **settings)
    assert stopped.code == 2, stopped.err
    assert word in stopped.sentence
    assert station.media_requests() == {}


def test_bad_weather_delays_and_loses_nothing(make_station: MakeStation) -> None:
    """A refused key, 5xx and 403 of YouTube, cut and slow media, 429 and 5xx of ODIN: all heal within the run."""
    station = make_station(films(4))
    a, b, c, d = (station.named(f"Film {i}") for i in range(4))
    youtube, odin = station.youtube.faults, station.odin.faults
    weather: list[Any] = [
        youtube.media(a, "cut", after_bytes=20_000),
        youtube.media(b, "slow", bytes_per_s=50_000),
        youtube.media(c, "status", status=403),
        youtube.media(d, "reset"),
        youtube.add(r"/youtubei/v1/player", "status", status=503),
        youtube.add(r"/watch\?", "status", status=502, times=2),
        odin.throttle("2", path=ADD_FILE),
        odin.add(path=ADD_FILE, status=500, skip=1),
        odin.add(path=ADD_FILE, cut="after", skip=1),
    ]

    done = station.sync(YOUTUBE_API_KEYS="A-KEY-NOBODY-KNOWS-00000000000000000000")
    assert done.code == 0, done.err
    assert [fault for fault in weather if fault.times] == [], "some of the weather never came"
    assert (done.json["videos"], done.json["done"], done.json["documents"]) == (4, 4, 4)
    assert set(station.odin.base.stored.values()) == {1}
    assert len(set(table(station.data, "transcripts")["video_id"])) == 4
    summary = station.server.artifacts(done.run_id)["run-summary"]["data"]
    assert "Listed without a key" in summary
    assert "A-KEY-NOBODY-KNOWS" not in summary + done.out + done.err


def test_a_broken_knowledge_base_fails_only_the_documents_concerned(stormy: Stormy) -> None:
    troubled, ended = stormy.troubled, stormy.result
    broken, limited, good = troubled.videos
    assert ended.code == 1, ended.err
    assert {v: e["failure_class"] for v, e in ended.not_done.items()} == {broken: "transient", limited: "throttled"}
    assert ended.not_done[limited]["retry_after"]
    assert stormy.transcribed == {broken, limited, good}
    assert stormy.stored == {good}


def test_the_next_run_sends_what_is_missing_and_lists_without_quota(stormy: Stormy) -> None:
    station = stormy.troubled.station
    station.odin.faults.clear()
    station.youtube.api.quota.exhaust(API_PROJECT)
    asked = station.media_requests()
    calm = station.sync()
    assert calm.code == 0, calm.err
    assert (calm.json["done"], calm.json["skipped"]) == (2, 1)
    rows = attempts(station.data, calm.run_id)
    assert set(rows[rows["state"] == "done"]["stage"]) == {"discover", "upload"}
    assert station.media_requests() == asked == dict.fromkeys(stormy.troubled.videos, 1)
    assert set(station.odin.base.stored.values()) == {1} and len(station.odin.documents) == 3
    assert "Listed without a key" in station.server.artifacts(calm.run_id)["run-summary"]["data"]

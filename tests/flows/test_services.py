"""Services that refuse, limit, stumble and dawdle: each has its class and its sentence, and nothing is lost."""

from __future__ import annotations

from typing import Any

import pytest

from tests.emulators.odin.faults import ADD_FILE
from tests.flows.channels import films
from tests.flows.conftest import MakeStation
from tests.flows.tables import attempts, table

pytestmark = [pytest.mark.prefect, pytest.mark.slow]


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


def test_a_closed_door_a_broken_knowledge_base_and_a_spent_quota(make_station: MakeStation) -> None:
    """Three runs on one archive: what one could not do, the next does, and never more than that."""
    station = make_station(films(3))
    broken, limited, good = (station.named(f"Film {i}") for i in range(3))
    station.youtube.player.bot_wall = True
    walled = station.sync()
    assert walled.code == 1, walled.err
    assert {entry["failure_class"] for entry in walled.not_done.values()} == {"blocked"}
    assert all("bot" in entry["reason"] for entry in walled.not_done.values())
    assert station.media_requests() == {}

    station.youtube.player.bot_wall = False
    station.odin.faults.add(path=ADD_FILE, key=broken, status=503, times=-1)
    later = {"Retry-After": "7200"}
    station.odin.faults.add(path=ADD_FILE, key=limited, status=429, headers=later, times=-1)
    stormy = station.sync()
    assert stormy.code == 1, stormy.err
    assert {v: e["failure_class"] for v, e in stormy.not_done.items()} == {broken: "transient", limited: "throttled"}
    assert stormy.not_done[limited]["retry_after"]
    assert set(table(station.data, "transcripts")["video_id"]) == {broken, limited, good}
    assert [d.metadata["videoId"] for d in station.odin.documents.values()] == [good]

    station.odin.faults.clear()
    station.youtube.api.quota.exhaust("100000000001")
    asked = station.media_requests()
    calm = station.sync()
    assert calm.code == 0, calm.err
    assert (calm.json["done"], calm.json["skipped"]) == (2, 1)
    rows = attempts(station.data, calm.run_id)
    assert set(rows[rows["state"] == "done"]["stage"]) == {"discover", "upload"}
    assert station.media_requests() == asked
    assert set(station.odin.base.stored.values()) == {1}
    assert "Listed without a key" in station.server.artifacts(calm.run_id)["run-summary"]["data"]

"""Two runs of the same channel on the same data at once: both end well and share the work."""

from __future__ import annotations

import pytest

from tests.flows.channels import films
from tests.flows.conftest import MakeStation
from tests.flows.tables import KEYS, table

pytestmark = [pytest.mark.prefect, pytest.mark.slow]


def test_two_runs_at_once_do_each_video_once(make_station: MakeStation) -> None:
    station = make_station(films(4))
    ended = [running.wait() for running in (station.start(), station.start())]
    assert [e.code for e in ended] == [0, 0], "\n".join(e.err for e in ended)
    assert all(e.json["failed"] == 0 and e.json["done"] + e.json["skipped"] == 4 for e in ended)
    assert station.media_requests() == dict.fromkeys(station.world.videos, 1)
    assert set(station.odin.base.stored.values()) == {1} and len(station.odin.documents) == 4
    assert set(table(station.data, "runs")["state"]) == {"Completed"}
    done = table(station.data, "outcomes")
    done = done[(done["state"] == "done") & (done["stage"] != "discover")]
    assert not done.duplicated(["video_id", "stage"]).any(), "a step was done by both"
    assert {name: len(table(station.data, name)) for name in KEYS if name in ("videos", "media", "uploads")} == {
        "videos": 4,
        "media": 4,
        "uploads": 4,
    }

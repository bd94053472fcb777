"""Media that are no media among good ones: the good ones are done, each bad one has a class, a sentence and an end."""

from __future__ import annotations

import pytest

from tests.emulators.youtube.world import MediaSpec
from tests.flows.channels import PRIVATE, broken
from tests.flows.conftest import MakeStation
from tests.flows.station import Finished, Station
from tests.flows.tables import table

pytestmark = [pytest.mark.prefect, pytest.mark.slow]

CUT, MENDED = "Cut short", "Cut short, then mended"
BAD = (CUT, MENDED, "A web page", "Noise", "Nothing")


def assert_only_good_ones_done(station: Station, result: Finished, *good: str) -> None:
    done = {station.named(title) for title in good}
    transcripts = table(station.data, "transcripts")
    assert result.code == 1, result.err
    assert set(transcripts[transcripts["index"] >= 0]["video_id"]) == done
    assert {d.metadata["videoId"] for d in station.odin.documents.values()} == done
    for title in set(BAD) - set(good):
        said = result.not_done[station.named(title)]
        assert said["failure_class"] == "poisoned", said
        assert said["reason"].endswith(".") and len(said["reason"]) > 30


def test_bad_media_are_fetched_afresh_once_and_then_left_alone(make_station: MakeStation) -> None:
    station = make_station(broken())
    first = station.sync()
    assert_only_good_ones_done(station, first, "Film 0", "Film 1")
    assert first.not_done[station.named(PRIVATE)]["failure_class"] == "permanent"
    asked_first = station.media_requests()

    mended = station.world.videos[station.named(MENDED)]
    mended.media = MediaSpec(mended.media.score)
    second = station.sync()
    assert_only_good_ones_done(station, second, "Film 0", "Film 1", MENDED)
    asked = station.media_requests()
    assert asked[station.named(CUT)] > asked_first[station.named(CUT)], "the cut file was not fetched afresh"
    assert [asked[station.named(t)] for t in ("Film 0", "Film 1")] == [1, 1]
    assert station.named(PRIVATE) not in second.not_done

    third = station.sync()
    assert third.code == 0, third.err
    assert third.json["skipped"] == 8
    assert station.media_requests() == asked, "quarantined media were asked for again"

"""`channelscribe retry`: only what failed is done again, a dry run changes nothing, two at once share the work."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from channelscribe.core.model import Outcome, OutcomeState, Stage
from channelscribe.failed import Wish, choose
from channelscribe.store.archive import Archive
from channelscribe.store.root import DataRoot
from tests.emulators.worlds import add, spoken
from tests.emulators.youtube.world import Availability, Damage, MediaSpec, World
from tests.flows.channels import DAY, films
from tests.flows.conftest import MakeStation
from tests.flows.station import Finished, Station
from tests.flows.tables import attempts, table

pytestmark = [pytest.mark.prefect, pytest.mark.slow]
PRIVATE, NOISE = "Not yet public", "The broken film"


def troubled() -> World:
    """One good film; one that is private and one that is noise."""
    world = films(1, 8.0)
    owner = next(iter(world.channels.values()))
    hidden, sound = spoken(541, 8.0), spoken(542, 8.0)
    add(world, owner, PRIVATE, DAY - timedelta(days=3), hidden, availability=Availability.PRIVATE, listed=True)
    add(world, owner, NOISE, DAY - timedelta(days=4), MediaSpec(sound.score, Damage.NOISE))
    return world


def heal(station: Station) -> None:
    for video in station.world.videos.values():
        station.world.change(video.id, availability=Availability.OK, media=MediaSpec(video.media.score))


def failed_before(station: Station, title: str) -> None:
    """As if a run of yesterday had failed on this video in the same way, so that the next failure is the second."""
    yesterday = datetime.now(UTC) - timedelta(days=1)
    with Archive(DataRoot.open(station.data)) as archive:
        past = Outcome("run-0", station.named(title), title, Stage.DOWNLOAD, OutcomeState.FAILED, at=yesterday)
        archive.put_outcome(replace(past, failure_class="poisoned", code="no_audio", reason="It is noise."))


def everything(data: Path) -> dict[str, bytes]:
    return {str(p.relative_to(data)): p.read_bytes() for p in sorted(data.rglob("*")) if p.is_file()}


def test_only_what_failed_is_done_again_and_by_one_of_two_at_once(make_station: MakeStation) -> None:
    station = make_station(troubled())
    failed_before(station, NOISE)
    assert station.sync().code == 1
    good, bad = station.named("Film 0"), {station.named(PRIVATE), station.named(NOISE)}
    asked, sent = station.media_requests(), dict(station.odin.base.stored)
    before = everything(station.data)

    assert "1 given up, 1 in quarantine" in sentence(station)
    shown = station.command("retry", "--which", "all", "--dry-run", "--json").wait().json
    assert set(shown["chosen"]) == bad
    assert {row["class"] for row in shown["videos"]} == {"permanent", "poisoned"}
    assert_planned(station, bad)
    assert everything(station.data) == before, "a dry run or a plan changed the archive"
    assert station.media_requests() == asked

    heal(station)
    wish = ("--json", "--which", "all", "--release-quarantine", "--channel", station.channel)
    ended = [running.wait() for running in (station.command("retry", *wish), station.command("retry", *wish))]
    assert [e.code for e in ended] == [0, 0], "\n".join(e.err for e in ended)
    assert_shared(station, ended, bad)
    after = station.media_requests()
    assert after[good] == asked[good]
    assert {v: after[v] - asked.get(v, 0) for v in bad} == dict.fromkeys(bad, 1)
    assert {**sent, **station.odin.base.stored} == station.odin.base.stored
    assert len(station.odin.documents) == 3 and set(station.odin.base.stored.values()) == {1}

    assert sentence(station) == "No video of this archive stands as failed."


def assert_planned(station: Station, bad: set[str]) -> None:
    """Nothing is left to do for the one good film; the others are parked, and the plan says why."""
    planned = station.command("plan", station.channel, "--json", CHANNELSCRIBE_PRICE_PER_KWH="0.3").wait()
    assert planned.code == 0, planned.err
    said = planned.json
    assert (said["videos"], said["todo"], said["done"], said["fits"]) == (3, 0, 1, True)
    assert {skip["video_id"] for skip in said["skipped"]} == bad
    assert all(skip["reason"].endswith(".") and skip["state"] == "parked" for skip in said["skipped"])
    assert said["quota_listing"] > 0 and said["quota_used"] == said["quota_listing"], "the sync listed the same"


def sentence(station: Station) -> str:
    """What a retry of what a sync would try again would find."""
    with Archive(DataRoot.open(station.data)) as archive:
        return choose(archive, Wish(), datetime.now(UTC)).sentence


def assert_shared(station: Station, ended: list[Finished], bad: set[str]) -> None:
    """Each video was done by one of the two; the other says so. What was released stands in the table."""
    rows = table(station.data, "outcomes")
    done = rows[(rows["state"] == "done") & rows["video_id"].isin(bad)]
    assert not done.duplicated(["video_id", "stage"]).any(), "a step was done by both"
    assert sum(e.json["done"] for e in ended) == 2
    released = rows[rows["state"] == "released"]
    assert set(released["video_id"]) == {station.named(NOISE)}
    for e in ended:
        tried = set(attempts(station.data, e.run_id)["video_id"]) - {""}
        summary = station.server.artifacts(e.run_id)["run-summary"]["data"]
        assert tried <= bad
        assert ("already done" in summary) == (e.json["done"] < e.json["videos"]), summary

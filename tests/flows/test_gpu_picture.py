"""The artifact "gpu": live and final, written in place, and never in the way of the run, whatever the server does."""

from __future__ import annotations

import base64
import re
import threading
import uuid
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from channelscribe.core.guard import GuardPolicy
from channelscribe.store.archive import Archive
from channelscribe.store.root import DataRoot
from tasks.gpu_picture import EVERY_S, Artifact, GpuPicture
from tests.channelscribe.cards import RecordingClock, a_reading, recorded
from tests.flows.server import PrefectServer

RUN_ID = "6f0f7f0e-0000-4000-8000-000000000001"


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    with Archive(DataRoot.open(tmp_path)) as opened:
        yield opened


def picture_of(page: str) -> ET.Element:
    found = re.search(r"!\[GPU\]\(data:image/svg\+xml;base64,([^)]+)\)", page)
    assert found, page[:200]
    return ET.fromstring(base64.b64decode(found[1]))


def wait(picture: GpuPicture) -> None:
    if picture._thread is not None:
        picture._thread.join(30)


@pytest.mark.prefect
def test_the_server_has_one_artifact_that_is_written_anew(archive: Archive, prefect_server: PrefectServer) -> None:
    run_id, clock = str(uuid.uuid4()), RecordingClock()
    readings = recorded("demo", 60, run_id)
    guard = GuardPolicy().model_dump(mode="json")
    with temporary_settings({PREFECT_API_URL: prefect_server.api}):
        picture = GpuPicture(archive, run_id, guard=guard, clock=clock)
        pages = []
        for part in (readings[:20], readings[20:40]):
            archive.put_readings(part)
            clock.sleep(EVERY_S)
            picture.tick()
            wait(picture)
            pages.append(prefect_server.artifacts(run_id)["gpu"])
        archive.put_readings(readings[40:])
        picture.close()
    last = prefect_server.artifacts(run_id)["gpu"]
    assert {p["id"] for p in pages} == {last["id"]}, "a night of versions would fill the server's disk"
    assert len({p["data"] for p in (*pages, last)}) == 3
    words = " ".join(picture_of(last["data"]).itertext())
    assert "ceiling 75" in words
    assert "| paused by the guard |" in last["data"]


@pytest.mark.prefect
def test_an_artifact_that_somebody_deleted_is_made_again(prefect_server: PrefectServer) -> None:
    run_id = str(uuid.uuid4())
    with temporary_settings({PREFECT_API_URL: prefect_server.api}):
        publish = Artifact(run_id)
        publish("first")
        made = prefect_server.artifacts(run_id)["gpu"]["id"]
        with get_client(sync_client=True) as client:
            client.delete_artifact(uuid.UUID(made))
        assert not prefect_server.artifacts(run_id)
        publish("second")
    again = prefect_server.artifacts(run_id)["gpu"]
    assert (again["data"], again["id"] != made) == ("second", True)


def test_a_server_that_is_away_is_told_once_and_stops_nothing(
    archive: Archive, caplog: pytest.LogCaptureFixture
) -> None:
    clock = RecordingClock()
    archive.put_readings([a_reading(n, RUN_ID) for n in range(9)])
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api", PREFECT_CLIENT_MAX_RETRIES: 0}):
        picture = GpuPicture(archive, RUN_ID, clock=clock)
        for n in range(3):
            archive.put_readings([a_reading(10 + n, RUN_ID)])
            clock.sleep(EVERY_S)
            picture.tick()
            wait(picture)
        picture.close()
    assert len([r for r in caplog.records if "could not be shown" in r.getMessage()]) == 1


def test_a_server_that_hangs_is_not_waited_for(archive: Archive) -> None:
    clock, hanging, entered = RecordingClock(), threading.Event(), threading.Event()
    pages: list[str] = []

    def publish(page: str) -> None:
        entered.set()
        hanging.wait(30)
        pages.append(page)

    archive.put_readings([a_reading(0, RUN_ID)])
    picture = GpuPicture(archive, RUN_ID, clock=clock, publish=publish)
    for _ in range(5):
        clock.sleep(EVERY_S)
        picture.tick()
    assert entered.wait(30)
    assert not pages, "five ticks came back while the first picture was still on its way"
    hanging.set()
    picture.close()
    assert len(pages) == 2, "that one, and the final one"


def test_it_is_not_drawn_more_often_than_that(archive: Archive) -> None:
    clock, pages = RecordingClock(), list[str]()
    picture = GpuPicture(archive, RUN_ID, clock=clock, publish=pages.append)
    for second in range(100):
        archive.put_readings([a_reading(second, RUN_ID)])
        clock.sleep(1.0)
        picture.tick()
        wait(picture)
    assert len(pages) == 5
    assert len(set(pages)) == 5


def test_a_run_without_a_card_has_no_picture(archive: Archive) -> None:
    pages = list[str]()
    picture = GpuPicture(archive, RUN_ID, clock=RecordingClock(), publish=pages.append)
    picture.tick()
    picture.close()
    picture.close()
    assert pages == []

"""Runs after a run: nothing is asked for, heard or sent twice, failures may be tolerated, no secret stays behind."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.emulators.odin.server import LogRecord
from tests.emulators.youtube.journal import Record
from tests.flows.channels import FIRST
from tests.flows.conftest import WholeRun
from tests.flows.station import Finished, Station
from tests.flows.tables import KEYS, Contents, assert_same, attempts, contents, table

pytestmark = [pytest.mark.prefect, pytest.mark.slow]


@dataclass(frozen=True)
class NextRun:
    """A later run on the same data: how it ended, what the tables held before, what it asked of the services."""

    station: Station
    result: Finished
    before: Contents
    of_youtube: list[Record]
    of_odin: list[LogRecord]


def run_again(station: Station, *options: str) -> NextRun:
    before, youtube, odin = contents(station.data), len(station.youtube.log), len(station.odin.log)
    result = station.sync(*options)
    return NextRun(station, result, before, list(station.youtube.log)[youtube:], station.odin.log[odin:])


@pytest.fixture(scope="module")
def second(whole_run: WholeRun) -> NextRun:
    return run_again(whole_run.station)


@pytest.fixture(scope="module")
def insisting(second: NextRun) -> Iterator[NextRun]:
    yield run_again(second.station, "--retry-parked", "--tolerate-failures")


def test_nothing_left_to_do_is_exit_code_0(second: NextRun) -> None:
    assert second.result.code == 0, second.result.err
    said = second.result.json
    assert (said["videos"], said["done"], said["skipped"], said["failed"]) == (7, 0, 7, 0)
    assert (said["words"], said["audio_s"]) == (0, 0)


def test_the_second_run_only_lists(second: NextRun) -> None:
    assert second.of_youtube
    assert {r.host for r in second.of_youtube} == {"youtube.googleapis.com"}
    assert [r.method for r in second.of_odin] == ["GET"]


def test_the_second_run_hears_nothing(second: NextRun) -> None:
    assert list(attempts(second.station.data, second.result.run_id)["stage"]) == ["discover"]


def test_the_second_run_leaves_the_tables_as_they_were(second: NextRun) -> None:
    assert_same(second.before, contents(second.station.data))
    runs = table(second.station.data, "runs").set_index("run_id")
    assert runs.loc[second.result.run_id, "state"] == "Completed"


def test_parked_videos_are_tried_when_asked_and_their_failure_may_be_tolerated(insisting: NextRun) -> None:
    station, result = insisting.station, insisting.result
    assert result.code == 0, result.err
    assert set(result.not_done) == station.expected("private", "live")
    assert not [r for r in insisting.of_youtube if r.media]
    assert [r.method for r in insisting.of_odin] == ["GET"]
    assert_same(insisting.before, contents(station.data))


def secrets_of(station: Station) -> list[bytes]:
    return [secret.encode() for secret in (*station.odin.credentials, station.youtube.api_key)]


def everything_in(folder: Path) -> bytes:
    return b"\n".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


def test_no_secret_is_in_the_data_the_output_or_the_server(insisting: NextRun) -> None:
    station = insisting.station
    tables = b"".join(table(station.data, name).to_json(date_format="iso").encode() for name in KEYS)
    said = everything_in(station.home / "commands")
    kept = everything_in(station.server.home)
    for secret in secrets_of(station):
        for place in (tables, said, kept, everything_in(station.data)):
            assert secret not in place
    run_id = insisting.result.run_id.encode()
    assert FIRST.encode() in tables and run_id in said and FIRST.encode() in kept, "the search would find nothing"


def test_no_secret_is_shown_by_the_servers_api(insisting: NextRun) -> None:
    server, run_id = insisting.station.server, insisting.result.run_id
    logs = server.logs(run_id)
    shown = repr((server.run(run_id), server.artifacts(run_id), logs)).encode()
    assert logs
    assert not [secret for secret in secrets_of(insisting.station) if secret in shown]

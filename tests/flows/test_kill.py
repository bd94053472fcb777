"""kill -9 in the middle of each step, then the same command again: the tables of an undisturbed run, nothing twice."""

from __future__ import annotations

import pytest

from tests.flows.channels import FIRST, GOOD, channel
from tests.flows.conftest import MakeStation, WholeRun
from tests.flows.station import Finished, Station
from tests.flows.tables import assert_same, attempts, contents, failures, files, table

pytestmark = [pytest.mark.prefect, pytest.mark.slow]

SLOW_BYTES_PER_S = 16_000
ENOUGH_BYTES = 64_000


def assert_as_if_undisturbed(station: Station, again: Finished, whole_run: WholeRun) -> None:
    assert again.code in (0, 1), again.err  # 0 when the killed run had already noted what fails
    assert set(again.not_done) <= station.expected("private", "live")
    assert_same(contents(station.data), contents(whole_run.station.data))
    assert failures(station.data) == failures(whole_run.station.data)
    assert files(station.data) == files(whole_run.station.data)
    assert not list((station.data / ".work").rglob("*.*")), "partial downloads were left behind"
    assert {d.metadata["videoId"] for d in station.odin.documents.values()} == station.expected(*GOOD)
    assert set(station.odin.base.stored.values()) == {1}, "a document was sent twice"


def test_a_download_goes_on_where_it_was_killed(make_station: MakeStation, whole_run: WholeRun) -> None:
    station = make_station(channel())
    video = station.named(FIRST)
    station.youtube.faults.media(video, "slow", bytes_per_s=SLOW_BYTES_PER_S, times=-1)
    work = station.data / ".work" / video
    station.start().kill_when(lambda: any(p.stat().st_size > ENOUGH_BYTES for p in work.rglob("*.part")))
    partial_bytes = max(p.stat().st_size for p in work.rglob("*.part"))
    whole_already = set(table(station.data, "media")["video_id"])
    assert video not in whole_already
    station.youtube.faults.clear()

    again = station.sync()
    resumed = station.media_ranges(video)[-1]
    assert resumed.startswith("bytes=") and 0 < int(resumed[6:].split("-")[0]) <= partial_bytes
    assert {station.media_requests()[v] for v in whole_already} <= {1}
    assert_as_if_undisturbed(station, again, whole_run)


def test_a_killed_transcription_loses_no_finished_transcript(make_station: MakeStation, whole_run: WholeRun) -> None:
    station = make_station(channel())
    station.youtube.faults.media(station.named(FIRST), "slow", bytes_per_s=SLOW_BYTES_PER_S, times=-1)
    made = station.data / "transcripts"
    station.start(CHANNELSCRIBE_BATCH_SIZE="1").kill_when(lambda: any(made.glob("*.parquet")))
    kept = table(station.data, "transcripts")
    assert 1 <= kept["fingerprint"].nunique() < len(station.expected(*GOOD))
    station.youtube.faults.clear()

    again = station.sync()
    after = table(station.data, "transcripts")
    assert set(kept["stamp"]) <= set(after["stamp"]), "a finished transcript was made again"
    rows = attempts(station.data, again.run_id)
    heard = rows[(rows["stage"] == "transcribe") & (rows["state"] == "done")]
    assert not set(heard["video_id"]) & set(kept["video_id"])
    assert_as_if_undisturbed(station, again, whole_run)


def test_an_upload_that_odin_stored_before_the_kill_is_not_sent_again(
    make_station: MakeStation, whole_run: WholeRun
) -> None:
    station = make_station(channel())
    station.odin.faults.processing(delay_s=6.0, times=-1)
    station.start().kill_when(lambda: station.odin.uploads() >= 1)
    assert table(station.data, "uploads").empty
    assert station.odin.documents

    again = station.sync()
    assert_as_if_undisturbed(station, again, whole_run)

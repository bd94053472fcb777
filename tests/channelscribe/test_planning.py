"""A plan's numbers against an archive whose numbers are known, and what it says where nothing is known."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from channelscribe.asr.model import resolve_model
from channelscribe.asr.registry import expected_fingerprint
from channelscribe.core.errors import UsageError
from channelscribe.core.model import Availability, OutcomeState, Provenance, Run, Stage, Video
from channelscribe.core.profile import TranscriptionProfile
from channelscribe.forecast_text import lines, markdown, skip_rows
from channelscribe.measured import covered_s, past_runs, speed
from channelscribe.odin.publish import document_key
from channelscribe.planning import ASSUMED_BYTES_PER_S, Forecast, Odds, forecast, parse_speed
from channelscribe.store.archive import Archive
from channelscribe.store.root import DataRoot
from channelscribe.youtube.listing import Listing
from tests.channelscribe.records import NOON, a_media, a_transcript, a_video, an_outcome, an_upload

MODEL = Path(__file__).resolve().parents[1] / "speech_model" / "checkpoint"
PROFILE = TranscriptionProfile(model=str(MODEL), window_s=8.0)
NAME = resolve_model(PROFILE).name
NOWHERE = Odds()


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    with Archive(DataRoot.open(tmp_path)) as opened:
        yield opened


def ahead(
    archive: Archive, *videos: Video, odds: Odds = NOWHERE, project_id: str | None = "p", units: int = 3
) -> Forecast:
    archive.flush()
    listing = Listing("UC", "Old Songs", videos, "api", units, ("A note | with [markup](x).",))
    return forecast(archive, listing, "@old", PROFILE, project_id=project_id, now=NOON, odds=odds)


def heard(archive: Archive, run_id: str, video_id: str, *, device: str = "cuda:0", model: str = NAME) -> None:
    """A file of 60 s and 1,000,000 bytes, and its transcript by this run."""
    media = replace(a_media(video_id, sha256=f"{len(video_id):02x}" * 32), bytes=1_000_000)
    archive.put_media(media)
    fingerprint = expected_fingerprint(PROFILE, media.sha256)
    how = Provenance("whisper", model, "rev", {}, device, "float16", 16, {})
    archive.put_transcript(replace(a_transcript(fingerprint, video_id), provenance=how), run_id)
    archive.put_upload(an_upload(fingerprint, document_key(media.stem), video_id=video_id))


def ran(archive: Archive, run_id: str, began: datetime, energy_j: float | None, *spans: tuple[float, float]) -> None:
    """A run that transcribed 60 s of sound in each of these spans (seconds since it began)."""
    archive.put_run(Run(run_id, "", "@old", "Completed", {}, {}, began, energy_j=energy_j, quota_units=7))
    for i, (start_s, end_s) in enumerate(spans):
        outcome = an_outcome(OutcomeState.DONE, run_id=run_id, stage=Stage.TRANSCRIBE, video_id=f"{run_id}-{i}")
        at = began + timedelta(seconds=end_s)
        archive.put_outcome(replace(outcome, seconds=end_s - start_s, audio_s=60.0, at=at))


def measured(archive: Archive) -> None:
    """On the card: 120 s of sound in 6 s with 600 J, then 60 s in 6 s with 900 J; before that a slow CPU."""
    for number, (run_id, device) in enumerate((("cpu", "cpu"), ("fast", "cuda:0"), ("slow", "cuda:0"))):
        heard(archive, run_id, "x" * (number + 1), device=device)
    ran(archive, "cpu", NOON - timedelta(days=3), None, (0, 600))
    ran(archive, "fast", NOON - timedelta(days=2), 600.0, (0, 4), (2, 6))
    ran(archive, "slow", NOON - timedelta(hours=1), 900.0, (0, 6))


def test_an_empty_archive_promises_nothing_that_was_not_measured(archive: Archive) -> None:
    videos = [a_video(f"v{i}", duration_s=3600.0) for i in range(4)]
    f = ahead(archive, *videos, a_video("v4", duration_s=None))
    assert (f.videos, f.todo, f.done, f.audio_s, f.unknown_length) == (5, 5, 0, 14_400.0, 1)
    for unknown in (f.card_h, f.energy_wh, f.cost):
        assert (unknown.value, unknown.low, unknown.high) == (None, None, None)
        assert unknown.basis
    assert f.disk_bytes.value == 14_400 * ASSUMED_BYTES_PER_S and "assumed" in f.disk_bytes.basis
    assert f.sentence == "5 videos: 5 to do, 0 already done, 0 parked."
    assert [much for what, much, _ in lines(f) if what in ("card", "energy of the card", "money")] == ["unknown"] * 3


def test_a_speed_that_was_given_makes_a_range_where_none_was_measured(archive: Archive) -> None:
    f = ahead(archive, a_video(duration_s=36_000.0), odds=Odds(speed="40-80"))
    assert (f.card_h.low, f.card_h.value, f.card_h.high) == (0.125, None, 0.25)
    assert "0.125 to 0.25 h" in markdown(f)
    alone = ahead(archive, a_video(duration_s=36_000.0), odds=Odds(speed="100")).card_h
    assert (alone.low, alone.value, alone.high) == (0.1, 0.1, 0.1)


def test_hours_energy_money_and_disk_are_what_past_runs_took(archive: Archive) -> None:
    measured(archive)
    done = [a_video("x" * n) for n in (1, 2, 3)]
    new = [a_video(f"new {i}", duration_s=1800.0) for i in range(2)]
    f = ahead(archive, *done, *new, odds=Odds(speed="1", price_per_kwh=0.4))
    assert (f.todo, f.done, f.to_download, f.to_transcribe, f.audio_s) == (2, 3, 2, 2, 3600.0)
    # The card: 180 s of sound in 12 s, the fast run 20 times as fast as sound, the slow one 10 times.
    assert (f.card_h.value, f.card_h.low, f.card_h.high) == pytest.approx((1 / 15, 1 / 20, 1 / 10))
    assert f.card_h.basis == "measured in 2 runs on cuda:0, 0.05 h of sound"
    # 1500 J for 180 s of sound; 5 and 15 J for a second of it.
    assert (f.energy_wh.value, f.energy_wh.low, f.energy_wh.high) == pytest.approx((1500 / 180, 5, 15))
    assert f.cost.value == pytest.approx(1500 / 180 / 1000 * 0.4)
    assert f.disk_bytes.value == pytest.approx(3600 * 1_000_000 / 60)
    assert f.quota_used == 7, "of the three runs, one was on this day of Los Angeles"
    assert (f.quota_listing, f.quota_budget) == (3, 10_000)
    assert ahead(archive, *done, units=0).quota_budget == 0


def test_only_runs_of_the_same_model_on_the_newest_device_count(archive: Archive) -> None:
    measured(archive)
    heard(archive, "other", "xxxx", model="another model")
    ran(archive, "other", NOON, 1.0, (0, 1))
    rate = speed(past_runs(archive, NAME))
    assert rate is not None and rate.typical == pytest.approx(15.0)
    assert [run.run_id for run in past_runs(archive, "another model")] == ["other"]
    assert past_runs(archive, "no model'; --") == []


def test_finished_steps_are_not_planned_again(archive: Archive) -> None:
    heard(archive, "run", "x")
    elsewhere = ahead(archive, a_video("x"), project_id="another")
    assert (elsewhere.todo, elsewhere.to_download, elsewhere.to_transcribe) == (1, 0, 0)
    assert (elsewhere.card_h.value, elsewhere.disk_bytes.value) == (0.0, 0.0)
    archive.put_media(a_media("y", sha256="ff" * 32))
    fetched = ahead(archive, a_video("y", duration_s=1.0))
    assert (fetched.to_download, fetched.to_transcribe, fetched.audio_s) == (0, 1, 60.0), "the file's own length counts"


def test_what_would_be_skipped_is_named_with_its_reason(archive: Archive) -> None:
    archive.put_outcome(an_outcome(OutcomeState.FAILED, "permanent", video_id="gone"))
    soon = a_video("soon", availability=Availability.UPCOMING, scheduled_at=NOON)
    f = ahead(archive, a_video("gone"), soon, a_video("open"))
    assert [(s.video_id, s.state, s.reason) for s in f.skipped] == [
        ("gone", "parked", "It is permanent."),
        ("soon", "doubtful", "It is not yet published, says the listing."),
    ]
    assert f.sentence == "3 videos: 1 to do, 0 already done, 1 parked, 1 that will probably fail."
    insisting = ahead(archive, a_video("gone"), odds=Odds(retry_parked=True))
    assert (insisting.todo, insisting.skipped) == (1, ())


def test_a_disk_that_is_too_small_is_told(archive: Archive) -> None:
    free = archive.root.free_bytes()
    assert free is not None
    f = ahead(archive, a_video(duration_s=2 * free / ASSUMED_BYTES_PER_S))
    assert f.fits is False
    assert "too little room" in markdown(f) and any("TOO LITTLE" in basis for _, _, basis in lines(f))


def test_hostile_titles_and_huge_listings_stay_a_table(archive: Archive) -> None:
    videos = [
        a_video(f"v{i}", "| <script> [x](y) \n # \x00", duration_s=1e12, availability=Availability.PRIVATE)
        for i in range(5000)
    ]
    f = ahead(archive, *videos)
    assert (f.todo, len(f.skipped), f.audio_s) == (0, 5000, 0.0)
    page = markdown(f)
    assert "<script>" not in page and len(page) < 100_000 and "and 4800 more" in page
    assert len(skip_rows(f.skipped)) == 5000
    assert json.loads(json.dumps(f.as_json(), default=str))["videos"] == 5000
    assert ahead(archive).sentence == "0 videos: 0 to do, 0 already done, 0 parked."


@pytest.mark.parametrize("wrong", ["0", "0-3", "-1", "5-4", "fast", "1e9", "9" * 400, "1,5", "inf"])
def test_a_speed_that_cannot_be_is_refused(archive: Archive, wrong: str) -> None:
    with pytest.raises(UsageError, match="seconds of sound per second, as 60 or 40-80"):
        ahead(archive, a_video(), odds=Odds(speed=wrong))


def test_a_speed_is_read_as_it_was_meant() -> None:
    assert parse_speed(" ") is None
    assert parse_speed("60") == (60, 60)
    assert parse_speed(" 40.5 - 80 ") == (40.5, 80)


SPANS = st.lists(st.tuples(st.integers(0, 300), st.integers(0, 60)), max_size=30)


@given(SPANS)
def test_covered_seconds_are_those_in_which_something_ran(spans: list[tuple[int, int]]) -> None:
    epoch = datetime(2026, 1, 1, tzinfo=UTC)
    moments = [(epoch + timedelta(seconds=a), epoch + timedelta(seconds=a + length)) for a, length in spans]
    ticks = {second for a, length in spans for second in range(a, a + length)}
    assert covered_s(moments) == len(ticks)

"""Which failed videos a wish chooses, what is left alone, and what letting a video out of quarantine means."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pytest

from channelscribe.core.errors import FailureClass, UsageError
from channelscribe.core.model import Outcome, OutcomeState, Run, Stage
from channelscribe.core.profile import TranscriptionProfile
from channelscribe.failed import Choice, Which, Wish, choose, rows
from channelscribe.ledger import plan, release
from channelscribe.store.archive import Archive
from channelscribe.store.root import DataRoot
from channelscribe.store.status import video_status
from tests.channelscribe.records import NOON, a_video, an_outcome

MODEL = Path(__file__).resolve().parents[1] / "speech_model" / "checkpoint"
PROFILE = TranscriptionProfile(model=str(MODEL), window_s=8.0)
FAILED, DONE = OutcomeState.FAILED, OutcomeState.DONE
ALWAYS = {"transient", "refused", "throttled", "blocked", "environment", "gpu", "bug"}
GIVEN_UP = {"permanent", "needs_access", "geo"}


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    with Archive(DataRoot.open(tmp_path)) as opened:
        yield opened


def fail(archive: Archive, video_id: str, kind: str, *, minutes: float = 0, stage: Stage = Stage.DOWNLOAD) -> Outcome:
    outcome = an_outcome(FAILED, kind, video_id=video_id, minutes=minutes, stage=stage, run_id=f"run {minutes}")
    archive.put_outcome(outcome)
    return outcome


def every_kind(archive: Archive) -> None:
    """One failed video of each kind, named after it, a quarantined one, and one that is done after a failure."""
    kinds = sorted(ALWAYS | GIVEN_UP)
    archive.put_videos([a_video(kind, f"Title of {kind}") for kind in (*kinds, "quarantined", "healed", "untried")])
    for kind in kinds:
        fail(archive, kind, kind)
    fail(archive, "quarantined", "poisoned")
    fail(archive, "quarantined", "poisoned", minutes=1)
    fail(archive, "healed", "transient")
    archive.put_outcome(an_outcome(DONE, video_id="healed", minutes=5))


def ids(choice: Choice) -> set[str]:
    return {f.video.video_id for f in choice.chosen}


def held(choice: Choice) -> dict[str, str]:
    return {f.video.video_id: f.standing for f in choice.held}


def test_an_archive_without_failures_says_so(archive: Archive) -> None:
    archive.put_videos([a_video()])
    choice = choose(archive, Wish(), NOON)
    assert (choice.chosen, choice.held) == ((), ())
    assert choice.sentence == "No video of this archive stands as failed."
    assert rows(choice) == []


def test_each_preset_goes_further_than_the_one_before(archive: Archive) -> None:
    every_kind(archive)
    timely, access, everything = (choose(archive, Wish(which=which), NOON) for which in Which)
    assert ids(timely) == ALWAYS
    assert held(timely) == {**dict.fromkeys(GIVEN_UP, "given up"), "quarantined": "in quarantine"}
    assert ids(access) == ALWAYS | {"needs_access", "geo"}
    assert ids(everything) == ALWAYS | GIVEN_UP | {"quarantined"}
    assert not everything.held


def test_what_is_left_alone_is_taken_when_asked_for(archive: Archive) -> None:
    every_kind(archive)
    assert ids(choose(archive, Wish(failure_classes=(FailureClass.PERMANENT,)), NOON)) == {"permanent"}
    assert ids(choose(archive, Wish(videos=("quarantined", "healed", "never seen")), NOON)) == {"quarantined"}
    assert ids(choose(archive, Wish(release=True), NOON)) == ALWAYS | {"quarantined"}


def test_the_sentence_counts_every_failed_video(archive: Archive) -> None:
    every_kind(archive)
    choice = choose(archive, Wish(failure_classes=(FailureClass.GEO, FailureClass.BUG)), NOON)
    assert choice.sentence == "2 of 11 failed videos chosen: 1 bug, 1 geo."
    assert "Left alone: 3 given up, 1 in quarantine; ask for them" in choose(archive, Wish(), NOON).sentence
    for which in Which:
        found = choose(archive, Wish(which=which, stage=Stage.UPLOAD), NOON)
        assert (found.chosen, found.held, found.others) == ((), (), 11)


def test_a_premiere_waits_for_its_moment(archive: Archive) -> None:
    later = NOON + timedelta(hours=1)
    archive.put_outcome(an_outcome(FAILED, "not_ready", video_id="premiere", retry_after=later))
    assert held(choose(archive, Wish(), NOON)) == {"premiere": "not yet due"}
    assert ids(choose(archive, Wish(), later)) == {"premiere"}


def test_time_step_and_number_of_attempts_restrict(archive: Archive) -> None:
    for day in range(3):
        fail(archive, f"day {day}", "transient", minutes=-day * 1440.0)
        fail(archive, "often", "transient", minutes=-day - 60.0, stage=Stage.UPLOAD)
    assert ids(choose(archive, Wish(since_days=0), NOON)) == {"day 0"}
    assert ids(choose(archive, Wish(since_days=1), NOON)) == {"day 0", "day 1", "often"}
    assert ids(choose(archive, Wish(since=date(2026, 11, 21)), NOON)) == {"day 0", "often"}
    assert ids(choose(archive, Wish(since=date.max), NOON)) == set()
    assert ids(choose(archive, Wish(since=date.min, stage=Stage.UPLOAD), NOON)) == {"often"}
    assert ids(choose(archive, Wish(most_attempts=2), NOON)) == {"day 0", "day 1", "day 2"}
    assert ids(choose(archive, Wish(most_attempts=3), NOON)) == {"day 0", "day 1", "day 2", "often"}


def a_run(run_id: str, source: str) -> Run:
    return Run(run_id, "", source, "Failed", {}, {}, NOON)


def test_channels_are_known_by_id_title_and_the_source_of_a_run(archive: Archive) -> None:
    other = "UC" + "y" * 22
    archive.put_videos([a_video("one"), a_video("two", channel_id=other, channel_title="New, Songs")])
    archive.put_videos([a_video("without", channel_id="", channel_title="")])
    fail(archive, "without", "transient", minutes=3)
    fail(archive, "one", "transient", minutes=1)
    fail(archive, "two", "transient", minutes=2)
    archive.put_run(a_run("run 1", "https://www.youtube.com/@OldSongs"))
    archive.put_run(a_run("run 2", "no source at all: \x00 \ud800"))
    for name in ("Old Songs", " old songs ", "UC" + "x" * 22, "@OldSongs", "https://youtube.com/@OldSongs/videos"):
        assert ids(choose(archive, Wish(channels=(name,)), NOON)) == {"one"}, name
    assert ids(choose(archive, Wish(channels=("New, Songs", other)), NOON)) == {"two"}
    assert ids(choose(archive, Wish(channels=("@OldSongs", "new, songs")), NOON)) == {"one", "two"}
    for name in ("@Nobody", "", "\x00", "x" * 100_000, "'; DROP TABLE videos; --"):
        with pytest.raises(UsageError, match=r"knows no channel .*it has New, Songs, Old Songs"):
            choose(archive, Wish(channels=("@OldSongs", name)), NOON)


def test_a_video_that_was_never_listed_is_not_lost(archive: Archive) -> None:
    fail(archive, "orphan", "bug")
    archive.put_outcome(replace(an_outcome(FAILED, "of tomorrow", video_id="future"), reason="| <b>[x](y) \x00"))
    choice = choose(archive, Wish(), NOON)
    assert ids(choice) == {"orphan", "future"}
    assert {row["class"] for row in rows(choice)} == {"bug", "of tomorrow"}


def test_letting_out_of_quarantine_forgets_what_was_counted(archive: Archive) -> None:
    archive.put_videos([a_video("noise")])
    for minute in range(3):
        fail(archive, "noise", "poisoned", minutes=minute)
    assert planned(archive) == ([], ["noise"])
    (found,) = choose(archive, Wish(release=True), NOON).chosen
    assert (found.quarantined, found.attempts) == (True, 3)

    assert release(archive, [found.outcome], "run-9", NOON + timedelta(minutes=10)) == 1
    assert planned(archive) == (["noise"], [])
    (status,) = video_status(archive)
    assert (status.state, status.attempts, status.reason) == ("failed", 3, "It is poisoned."), "it is still not done"
    (after,) = choose(archive, Wish(), NOON + timedelta(hours=1)).chosen
    assert (after.quarantined, after.attempts) == (False, 0)

    fail(archive, "noise", "poisoned", minutes=20)
    assert planned(archive) == (["noise"], [])
    fail(archive, "noise", "poisoned", minutes=21)
    assert planned(archive) == ([], ["noise"])


def planned(archive: Archive) -> tuple[list[str], list[str]]:
    """What a sync would do and leave alone; what it does, it does with media fetched afresh."""
    archive.flush()
    made = plan(archive, [a_video("noise")], PROFILE, project_id=None, run_id="sync", now=NOON + timedelta(days=1))
    assert set(made.afresh) == {v.video_id for v in made.todo}
    return [v.video_id for v in made.todo], [p.video.video_id for p in made.parked]


def test_many_failures_are_all_accounted_for(archive: Archive) -> None:
    count = 3000
    for i in range(count):
        fail(archive, f"video {i}", "transient" if i % 2 else "permanent", minutes=float(i))
    choice = choose(archive, Wish(), NOON + timedelta(days=3))
    assert (len(choice.chosen), len(choice.held), len(rows(choice))) == (count // 2, count // 2, count)
    assert choice.chosen[0].video.video_id == f"video {count - 1}", "newest failure first"

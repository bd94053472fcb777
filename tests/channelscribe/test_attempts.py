"""Every try is accounted for, whatever ends it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from channelscribe.attempts import Attempts, Cancelled, Control
from channelscribe.core.errors import (
    Blocked,
    ChannelscribeError,
    CoolingTimeout,
    EnvironmentFailure,
    Permanent,
    Transient,
)
from channelscribe.core.model import Outcome, OutcomeState, Stage
from channelscribe.core.redact import remember_secret
from channelscribe.store.archive import Archive
from channelscribe.store.root import DataRoot
from tests.channelscribe.records import NOON, a_video


@pytest.fixture
def attempts(tmp_path: Path) -> Iterator[Attempts]:
    with Archive(DataRoot.open(tmp_path)) as archive:
        yield Attempts(archive, "run-1", Control())


@dataclass
class Hours:
    """A clock that stands where the test puts it."""

    at_s: float = 0.0

    def now(self) -> datetime:
        return NOON + timedelta(seconds=self.at_s)

    def monotonic(self) -> float:
        return self.at_s

    def sleep(self, seconds: float) -> None:
        self.at_s += seconds


def recorded(attempts: Attempts) -> list[Outcome]:
    attempts.archive.flush()
    return sorted(attempts.archive.outcomes("run-1"), key=lambda o: (o.at or NOON, o.attempt))


def fail(attempts: Attempts, error: Exception) -> None:
    with attempts.attempt(a_video(), Stage.DOWNLOAD):
        raise error


def test_success_and_failure_are_both_written(attempts: Attempts) -> None:
    with attempts.attempt(a_video(), Stage.TRANSCRIBE) as note:
        note.audio_s, note.engine = 12.5, "whisper"
    with pytest.raises(Permanent):
        fail(attempts, Permanent("This video is private.", code="private", retry_after=NOON))
    done, lost = recorded(attempts)
    assert (done.state, done.stage, done.audio_s, done.engine) == (OutcomeState.DONE, Stage.TRANSCRIBE, 12.5, "whisper")
    assert (lost.state, lost.failure_class, lost.code) == (OutcomeState.FAILED, "permanent", "private")
    assert (lost.reason, lost.retry_after) == ("This video is private.", NOON)


def test_tries_are_counted(attempts: Attempts) -> None:
    for _ in range(3):
        with pytest.raises(Transient):
            fail(attempts, Transient("cut off"))
    assert [o.attempt for o in recorded(attempts)] == [1, 2, 3]


def test_a_broken_environment_stops_the_run_and_a_blocked_lane_does_not(attempts: Attempts) -> None:
    with pytest.raises(Blocked):
        fail(attempts, Blocked("YouTube asks for a login."))
    assert not attempts.control.stopped()
    assert attempts.control.failure is not None
    with pytest.raises(EnvironmentFailure):
        fail(attempts, EnvironmentFailure("The disk is full."))
    assert attempts.control.stopped()
    with pytest.raises(Cancelled), attempts.attempt(a_video(), Stage.DOWNLOAD):
        raise AssertionError("a stopped run begins nothing")


def test_what_ends_because_of_the_stop_is_not_the_videos_failure(attempts: Attempts) -> None:
    with pytest.raises(Cancelled), attempts.attempt(a_video(), Stage.DOWNLOAD):
        attempts.control.stop()
        raise Transient("cancelled on request")
    assert recorded(attempts) == []


def test_an_unknown_error_is_a_bug_and_carries_no_secret(attempts: Attempts) -> None:
    remember_secret("hunter2hunter2")
    with pytest.raises(ZeroDivisionError):
        fail(attempts, ZeroDivisionError("1/0 with hunter2hunter2"))
    (outcome,) = recorded(attempts)
    assert outcome.failure_class == "bug"
    assert "ZeroDivisionError" in outcome.reason and "hunter2" not in outcome.reason


def test_the_first_failure_for_the_operator_is_kept() -> None:
    control = Control()
    first: ChannelscribeError = EnvironmentFailure("first")
    control.heed(first)
    control.heed(EnvironmentFailure("second"))
    assert control.failure is first


def test_what_stops_the_run_outranks_what_only_stops_a_lane(attempts: Attempts) -> None:
    blocked, hot = Blocked("YouTube asks for a login."), CoolingTimeout("The card stayed hot.")
    attempts.control.heed(blocked)
    attempts.control.heed(hot)
    attempts.control.heed(EnvironmentFailure("The disk is full."))
    assert attempts.control.failure is hot
    attempts.control.heed(blocked)
    assert attempts.control.failure is hot


def test_a_pause_stands_on_the_transcriptions_that_it_touched_with_its_longest_cause(tmp_path: Path) -> None:
    clock, held = Hours(), {"temperature": 100.0}
    with Archive(DataRoot.open(tmp_path)) as archive:
        attempts = Attempts(archive, "run-1", Control(), clock, held_s=lambda: held)
        for stage in (Stage.DOWNLOAD, Stage.TRANSCRIBE):
            with attempts.attempt(a_video(), stage):
                clock.at_s += 60.0
                held = {"temperature": held["temperature"] + 5.0, "sensor": 30.0 if stage is Stage.TRANSCRIBE else 0.0}
        with attempts.attempt(a_video(), Stage.TRANSCRIBE):
            clock.at_s += 1.0
        download, paused, calm = sorted(recorded(attempts), key=lambda o: (o.stage, o.attempt))
    assert (download.paused_s, download.pause_cause) == (0.0, "")
    assert (paused.paused_s, paused.pause_cause, paused.seconds) == (35.0, "sensor", 60.0)
    assert (calm.paused_s, calm.pause_cause) == (0.0, "")


def test_a_failing_transcription_tells_its_pause_too(tmp_path: Path) -> None:
    clock, held = Hours(), {"temperature": 1.0}
    with Archive(DataRoot.open(tmp_path)) as archive:
        attempts = Attempts(archive, "run-1", Control(), clock, held_s=lambda: held)
        with pytest.raises(Permanent), attempts.attempt(a_video(), Stage.TRANSCRIBE):
            clock.at_s, held = 4.0, {"temperature": 9.0}
            raise Permanent("no sound")
        (failed,) = recorded(attempts)
    assert (failed.paused_s, failed.pause_cause) == (4.0, "temperature"), "never longer than the attempt itself"

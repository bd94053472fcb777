"""What to do next: concrete, at most five, the one that brings the most sound first, whatever went wrong."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from channelscribe.advice import MOST_STEPS, next_steps
from channelscribe.core.errors import FailureClass
from channelscribe.report import Fate, Line, RunReport
from tests.channelscribe.records import NOON, a_video

LINES = st.builds(
    lambda number, fate, kind, minutes, title: Line(
        a_video(f"video-{number:05d}", title, duration_s=minutes and 60.0 * minutes),
        fate,
        "download",
        kind,
        kind,
        "So.",
    ),
    st.integers(0, 99),
    st.sampled_from(list(Fate)),
    st.sampled_from([*map(str, FailureClass), "", "unheard of"]),
    st.sampled_from([None, 1, 5, 600]),
    st.text(max_size=80),
)


def a_report(*lines: Line, stopped_by: str = "") -> RunReport:
    return RunReport("run-1", "@songs", "Songs", lines, (), 10.0, 0.0, 0, 0, stopped_by)


def a_line(number: int, kind: str, minutes: float = 1.0, fate: Fate = Fate.FAILED, **more: object) -> Line:
    video = a_video(f"video-{number:05d}", f"Title {number}", duration_s=60.0 * minutes)
    return Line(video, fate, "download", kind, kind, "So it is.", **more)  # type: ignore[arg-type]


@given(st.lists(LINES, max_size=12), st.sampled_from(["", "The disk is full."]))
def test_whatever_failed_there_are_one_to_five_single_lines(lines: list[Line], stopped_by: str) -> None:
    steps = next_steps(a_report(*lines, stopped_by=stopped_by))
    assert 1 <= len(steps) <= MOST_STEPS
    assert all(step.strip() and len(step.splitlines()) == 1 for step in steps)
    assert len(set(steps)) == len(steps)


def test_what_brings_the_most_sound_comes_first_and_what_is_gone_last() -> None:
    steps = next_steps(
        a_report(
            a_line(1, "permanent", 900), a_line(2, "transient", 5), a_line(3, "needs_access", 60), a_line(4, "geo")
        )
    )
    told = [next(n for n in range(1, 5) if f"Title {n}" in step) for step in steps[:4]]
    assert told == [3, 2, 4, 1]
    assert "YOUTUBE_COOKIES" in steps[0] and "channelscribe retry --class needs_access" in steps[0]
    assert "**Retry**" in steps[1] and "watch?v=video-00002" in steps[1]


def test_a_moment_to_wait_for_and_a_quarantine_are_named() -> None:
    soon, late = NOON + timedelta(hours=1), NOON + timedelta(hours=30)
    waiting = [a_line(n, "not_ready", retry_after=at, fate=Fate.PARKED) for n, at in enumerate((soon, late))]
    told = "\n".join(next_steps(a_report(*waiting, a_line(9, "poisoned", fate=Fate.PARKED))))
    assert "2026-11-22 18:00 UTC" in told
    assert "channelscribe retry --class poisoned --release-quarantine" in told


def test_what_stopped_the_run_is_mended_before_anything_else() -> None:
    steps = next_steps(a_report(a_line(1, "transient", 900), a_line(2, "permanent"), stopped_by="The disk is full."))
    assert "The disk is full." in steps[0] and "**Retry**" in steps[0] and "2 videos" in steps[0]
    assert sum("**Retry** on this run, for" in step for step in steps) == 1


def test_hostile_titles_stay_inside_their_link() -> None:
    line = Line(a_video("video-00001", "x](http://evil) | <script>\n# y"), Fate.FAILED, "download", "transient")
    (step, *_) = next_steps(a_report(line))
    assert "<script>" not in step and "](http://evil)" not in step.replace("\\](", "")


def test_a_run_without_failures_has_something_left_to_do() -> None:
    assert any("daily" in step for step in next_steps(a_report(a_line(1, "", fate=Fate.DONE))))

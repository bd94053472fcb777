"""Every video of a listing has one line in the report, and the counts add up."""

from __future__ import annotations

from channelscribe.advice import next_steps
from channelscribe.core.model import OutcomeState, Stage
from channelscribe.ledger import Parked, Plan
from channelscribe.report import Fate, RunReport, draw_up
from channelscribe.summary import markdown, problem_rows
from tests.channelscribe.records import a_video, an_outcome

IDS = [f"video-{i:05d}" for i in range(6)]


def a_report(stopped_by: str = "") -> RunReport:
    fine, broken, before, waiting, untouched, healed = (a_video(i, f"Title | of <b>{i}</b>") for i in IDS)
    gone = an_outcome(OutcomeState.FAILED, "permanent", run_id="run-0", video_id=waiting.video_id)
    outcomes = [
        *(
            an_outcome(OutcomeState.DONE, stage=s, video_id=fine.video_id, minutes=1)
            for s in (Stage.DOWNLOAD, Stage.UPLOAD)
        ),
        an_outcome(OutcomeState.DONE, video_id=broken.video_id),
        an_outcome(OutcomeState.FAILED, "poisoned", stage=Stage.TRANSCRIBE, video_id=broken.video_id, minutes=2),
        an_outcome(OutcomeState.FAILED, "transient", video_id=healed.video_id),
        an_outcome(OutcomeState.DONE, video_id=healed.video_id, minutes=3),
    ]
    return draw_up(
        run_id="run-1",
        source="@old_songs",
        channel_title="Old Songs",
        plan=Plan((fine, broken, untouched, healed), (before,), (Parked(waiting, gone),), frozenset()),
        outcomes=outcomes,
        notes=["Listed without a key."],
        wall_s=10.0,
        words=42,
        documents=2,
        finished=frozenset({fine.video_id, healed.video_id}),
        stopped_by=stopped_by,
    )


def test_every_video_has_one_fate() -> None:
    report = a_report()
    assert sorted(line.video.video_id for line in report.lines) == IDS
    assert report.count(*Fate) == len(IDS)
    assert {f: report.count(f) for f in Fate} == {
        Fate.DONE: 2, Fate.ALREADY_DONE: 1, Fate.FAILED: 1, Fate.PARKED: 1, Fate.NOT_STARTED: 1,
    }  # fmt: skip
    assert not report.complete
    assert "6 videos" in report.sentence and "1 failed" in report.sentence


def test_the_last_failure_is_the_reason_given() -> None:
    failed = next(line for line in a_report().lines if line.fate is Fate.FAILED)
    assert (failed.stage, failed.failure_class, failed.reason) == ("transcribe", "poisoned", "It is poisoned.")


def test_markdown_is_not_broken_by_titles() -> None:
    text = markdown(a_report(stopped_by="The disk is full."))
    rows = [line for line in text.splitlines() if line.startswith("| [")]
    assert len(rows) == len(problem_rows(a_report())) == 3
    assert all(row.replace("\\|", "").count("|") == 6 for row in rows)
    assert "<b>" not in text
    assert "The disk is full." in text and "Listed without a key." in text


def test_next_steps_are_few_and_lead_with_what_stops_everything() -> None:
    steps = next_steps(a_report(stopped_by="The disk is full."))
    assert 1 <= len(steps) <= 5
    assert "The disk is full." in steps[0]

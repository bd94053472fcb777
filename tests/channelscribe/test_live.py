"""The board knows every video once, its page stays small, and its end is the report's."""

from __future__ import annotations

import random
import threading
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from channelscribe.core.model import OutcomeState, Stage, Video
from channelscribe.live import MOST_ROWS, Board, Figures, page
from channelscribe.report import Fate, Line, RunReport
from tests.channelscribe.records import NOON, a_video, an_outcome

STEPS = (Stage.DOWNLOAD, Stage.TRANSCRIBE, Stage.UPLOAD)
MOST_BYTES = 60_000


def films(count: int, **changes: object) -> list[Video]:
    return [a_video(f"video-{i:05d}", f"Title {i}", **changes) for i in range(count)]


def step(board: Board, video: Video, stage: Stage, state: OutcomeState | None = OutcomeState.DONE) -> None:
    board.hear(video, stage, None)
    if state is not None:
        kind = "transient" if state is OutcomeState.FAILED else ""
        board.hear(video, stage, an_outcome(state, kind, stage=stage, video_id=video.video_id))


def shown(board: Board, **figures: float) -> str:
    return page(board.glance(), Figures(**figures), "Old | Songs", NOON)  # type: ignore[arg-type]


EVENTS = st.lists(st.tuples(st.integers(0, 7), st.integers(0, 2), st.sampled_from([None, *OutcomeState])), max_size=60)


@given(EVENTS, st.booleans())
def test_whatever_is_heard_every_video_is_counted_once(
    events: list[tuple[int, int, OutcomeState | None]], up: bool
) -> None:
    todo = films(6)
    board = Board(todo, upload=up)
    for number, stage, state in events:
        video = todo[number] if number < 6 else a_video("stranger-00", "Not of this run")
        step(board, video, STEPS[stage], state)
    seen = board.glance()
    assert seen.begun <= len(todo)
    assert len(seen.rows) + seen.more == seen.begun
    assert len({row.video.video_id for row in seen.rows}) == len(seen.rows)
    assert all(0 <= s.videos <= s.of_videos <= len(todo) and s.audio_s <= s.of_audio_s for s in seen.steps)
    assert "Title" in page(seen, Figures(), "x", NOON) or not seen.begun


def test_a_video_goes_from_step_to_step_and_a_new_try_wipes_the_failure() -> None:
    (video,) = films(1)
    board = Board([video], upload=True)
    step(board, video, Stage.DOWNLOAD, None)
    assert "| downloading |" in shown(board)
    board.hear(video, Stage.DOWNLOAD, an_outcome(OutcomeState.FAILED, "transient", video_id=video.video_id))
    assert "| failed | download | It is transient. |" in shown(board)
    step(board, video, Stage.DOWNLOAD)
    assert "| between steps |" in shown(board) and "transient" not in shown(board)
    for stage in STEPS[1:]:
        step(board, video, stage)
    assert "1 of 1 videos done" in shown(board)


def test_time_left_follows_from_the_runs_own_speed() -> None:
    todo = films(4, duration_s=600.0)
    board = Board(todo, upload=False)
    assert "The end is not known yet" in shown(board, elapsed_s=60)
    for video in todo[:2]:
        step(board, video, Stage.DOWNLOAD)
    step(board, todo[0], Stage.TRANSCRIBE)
    assert "About 3 min left, until 12:03 UTC" in shown(board, elapsed_s=60)
    assert "10.0 hours of sound per hour" in shown(board, elapsed_s=60)
    assert "About 60 s left" in shown(board, elapsed_s=60, heard_s=1200), "unfinished files count as far as heard"


def test_energy_costs_money_where_a_price_is_known() -> None:
    board = Board(films(1), upload=False)
    assert "money" not in shown(board, energy_j=7.2e6) + shown(board, price_per_kwh=0.3)
    text = shown(board, energy_j=7.2e6, price_per_kwh=0.3)
    assert "| energy | 7,200.0 kJ |" in text
    assert "| money for energy | 0.6000 at 0.3 a kWh, the card alone |" in text


@pytest.mark.parametrize("lengths", [None, 60.0])
def test_the_page_of_five_hundred_videos_is_small(lengths: float | None) -> None:
    todo = [replace(v, title="|[<b>" * 300, duration_s=lengths) for v in films(500)]
    board = Board(todo, upload=True)
    for number, video in enumerate(todo):
        for stage in STEPS[: number % 4]:
            step(board, video, stage)
        if number % 7 == 0:
            step(board, video, Stage.UPLOAD, OutcomeState.FAILED)
    text = shown(board, elapsed_s=60)
    rows = [line for line in text.splitlines() if "watch?v=" in line]
    assert len(rows) == MOST_ROWS and len(text.encode()) < MOST_BYTES
    assert "more that have begun" in text and "<b>" not in text


def test_at_the_end_what_is_open_ends_as_the_report_says() -> None:
    todo = films(3)
    board = Board(todo, upload=True)
    for video in todo:
        step(board, video, Stage.DOWNLOAD)
    fates = (Fate.ALREADY_DONE, Fate.FAILED, Fate.NOT_STARTED)
    lines = tuple(Line(v, fate, reason=f"It is {fate}.") for v, fate in zip(todo, fates, strict=True))
    report = RunReport("run-1", "@songs", "", lines, (), 10.0, 0.0, 0, 0)
    board.settle(report)
    text = shown(board)
    assert f"The run is over: {report.sentence}" in text
    assert "| failed | download | It is failed. |" in text and "| not started |" in text
    assert board.glance().done == 1


def test_many_threads_tell_one_board() -> None:
    todo = films(200)
    board = Board(todo, upload=True)

    def work(part: list[Video]) -> None:
        for video in part:
            for stage in STEPS:
                step(board, video, stage)
                board.glance()

    shuffled = random.Random(5).sample(todo, len(todo))
    threads = [threading.Thread(target=work, args=(shuffled[i::8],)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seen = board.glance()
    assert (seen.done, seen.failed, seen.between) == (200, 0, 0)

"""The choice of failed videos as a task, frozen for the run like a listing, and shown as a table on its page."""

from __future__ import annotations

from typing import Any

from prefect import get_run_logger, task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import INPUTS, RUN_ID

from channelscribe.failed import Choice, Wish, choose, rows
from channelscribe.ledger import release
from tasks.scope import scope

SHOWN_ROWS = 1000  # the page of an artifact holds all rows at once


@task(
    task_run_name="choose failed videos",
    cache_policy=INPUTS + RUN_ID,
    persist_result=True,
    result_serializer="json",
    tags=["stage:choose"],
)
def choose_failed(wish: Wish) -> dict[str, Any]:
    """Chooses, shows and lets out of quarantine; returns the ids of the chosen and notes for the report."""
    s = scope()
    choice = choose(s.archive, wish, s.clock.now())
    show_choice(choice)
    notes = [choice.sentence]
    if wish.release:
        released = release(s.archive, (f.outcome for f in choice.chosen if f.quarantined), s.run_id, s.clock.now())
        notes += [f"{released} videos let out of quarantine for good."] if released else []
    return {"video_ids": [f.video.video_id for f in choice.chosen], "notes": notes}


def show_choice(choice: Choice) -> None:
    """The table of what is tried again and what is left alone; nothing where nothing failed."""
    get_run_logger().info(choice.sentence)
    shown = rows(choice)
    if shown:
        more = f" The first {SHOWN_ROWS} of {len(shown)} rows." if len(shown) > SHOWN_ROWS else ""
        create_table_artifact(shown[:SHOWN_ROWS], key="failed-videos", description=choice.sentence + more)

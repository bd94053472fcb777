"""What an upkeep flow shows on its page: one sentence and one table."""

from __future__ import annotations

from collections.abc import Sequence

from prefect import task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE

MOST_ROWS = 1000


@task(task_run_name="show {key}", cache_policy=NO_CACHE, persist_result=False)
def show(key: str, sentence: str, rows: Sequence[dict[str, str]] = ()) -> None:
    """The rows as they come; what a page cannot show any more is counted."""
    create_markdown_artifact(sentence, key=key, description=sentence)
    if rows:
        more = f" The first {MOST_ROWS} of them." if len(rows) > MOST_ROWS else ""
        create_table_artifact(list(rows[:MOST_ROWS]), key=f"{key}-table", description=sentence + more)

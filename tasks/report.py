"""What a run shows on its page in the Prefect UI: a summary, a table of what is not done, and progress on the way."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from prefect import task
from prefect.artifacts import (
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.cache_policies import NO_CACHE
from prefect.futures import PrefectFuture

from channelscribe.report import RunReport
from channelscribe.summary import markdown, problem_rows


class Progress:
    """A progress bar on the run's page, over the videos that need work; told only when it has moved."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._shown = 0
        described = f"of {total} videos that need work"
        made = create_progress_artifact(0.0, key="videos-done", description=described) if total else None
        self._artifact = made if isinstance(made, UUID) else None

    def show(self, futures: Sequence[PrefectFuture[str]]) -> None:
        finished = sum(future.state.is_final() for future in futures)
        if self._artifact is not None and finished != self._shown:
            self._shown = finished
            update_progress_artifact(self._artifact, progress=100.0 * finished / self._total)


@task(task_run_name="report", cache_policy=NO_CACHE, persist_result=False)
def publish_report(report: RunReport) -> None:
    """Writes the summary and the table of failures as artifacts of the run."""
    create_markdown_artifact(markdown(report), key="run-summary", description=report.sentence)
    rows = problem_rows(report)
    if rows:
        create_table_artifact(rows, key="not-done", description=f"{len(rows)} videos that are not done, and why")

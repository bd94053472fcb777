"""What a run shows on its page in the Prefect UI: a summary, a table of what is not done, and progress on the way."""

from __future__ import annotations

from uuid import UUID

from prefect import task
from prefect.artifacts import (
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.cache_policies import NO_CACHE

from channelscribe.report import RunReport, markdown, problem_rows


def start_progress(total: int) -> UUID | None:
    """A progress bar on the run's page; None when there is nothing to do."""
    if not total:
        return None
    made = create_progress_artifact(0.0, key="videos-done", description=f"of {total} videos that need work")
    return made if isinstance(made, UUID) else None


def show_progress(artifact: UUID | None, finished: int, total: int) -> None:
    if artifact is not None:
        update_progress_artifact(artifact, progress=100.0 * finished / max(total, 1))


@task(task_run_name="report", cache_policy=NO_CACHE, persist_result=False)
def publish_report(report: RunReport) -> None:
    """Writes the summary and the table of failures as artifacts of the run."""
    create_markdown_artifact(markdown(report), key="run-summary", description=report.sentence)
    rows = problem_rows(report)
    if rows:
        create_table_artifact(rows, key="not-done", description=f"{len(rows)} videos that are not done, and why")

"""What a run shows on its page in the Prefect UI: a summary, a table of what is not done, and progress on the way."""

from __future__ import annotations

import logging
from collections.abc import Callable
from uuid import UUID

from prefect import task
from prefect.artifacts import (
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.cache_policies import NO_CACHE
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from channelscribe.core.clock import Clock
from channelscribe.report import RunReport
from channelscribe.summary import markdown, problem_rows

log = logging.getLogger(__name__)
EVERY_S = 5.0


class Progress:
    """A progress bar on the run's page, over the videos that need work; told when it has moved, and seldom enough.

    The run goes on without it when the server does not take it.
    """

    def __init__(self, total: int, clock: Clock) -> None:
        self._total, self._clock = total, clock
        self._shown, self._shown_s = 0, clock.monotonic()
        self._artifact: UUID | None = None
        if total:
            self._try(self._create)

    def show(self, over: int, *, last: bool = False) -> None:
        """`over` videos have ended, well or not; the `last` word is always told."""
        due = last or self._clock.monotonic() - self._shown_s >= EVERY_S
        if self._artifact is not None and over != self._shown and due:
            self._shown_s = self._clock.monotonic()
            self._try(lambda: self._update(over))

    def _create(self) -> None:
        described = f"of {self._total} videos that need work"
        made = create_progress_artifact(0.0, key="videos-done", description=described)
        self._artifact = made if isinstance(made, UUID) else None

    def _update(self, over: int) -> None:
        assert self._artifact is not None
        update_progress_artifact(self._artifact, progress=100.0 * over / self._total)
        self._shown = over

    def _try(self, act: Callable[[], None]) -> None:
        try:
            with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}):
                act()
        except Exception as error:  # noqa: BLE001 - whatever the server says, a bar must never harm the run
            log.debug("The progress bar could not be brought to the server: %s: %s", type(error).__name__, error)


@task(
    task_run_name="report",
    cache_policy=NO_CACHE,
    persist_result=False,
    retries=6,
    retry_delay_seconds=10,  # a server that is just restarting takes the report a little later
)
def publish_report(report: RunReport) -> None:
    """Writes the summary and the table of failures as artifacts of the run."""
    create_markdown_artifact(markdown(report), key="run-summary", description=report.sentence)
    rows = problem_rows(report)
    if rows:
        create_table_artifact(rows, key="not-done", description=f"{len(rows)} videos that are not done, and why")

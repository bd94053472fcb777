"""Plan a sync before it runs: how much there is to do, what it would take, what would be skipped and why.

Behind the deployment `plan`; `channelscribe plan` makes the same forecast without a server. Changes nothing.
"""

from __future__ import annotations

from typing import Any

from prefect import flow, get_run_logger
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.client.schemas.objects import State
from prefect.states import Completed

from blocks.odin import OdinCredentials
from blocks.transcription import TranscriptionSettings
from blocks.youtube import YouTubeKeys
from channelscribe.core.clock import SystemClock
from channelscribe.core.errors import EnvironmentFailure
from channelscribe.core.settings import Settings, complete_network_environment
from channelscribe.forecast_text import SHOWN_SKIPS, markdown, skip_rows
from channelscribe.planning import Forecast, Odds, look_ahead
from channelscribe.store.archive import Archive
from flows.fields import AlsoParked, ArchivePlace, Given, Selected, Source, ToOdin, Transcribing
from flows.forms import PlanForm, SelectionForm
from flows.ingesting import AS_CONFIGURED, data_root
from tasks.marking import mark_run

NO_SELECTION = SelectionForm()
NOTHING_GIVEN = PlanForm()


@flow(
    name="plan",
    flow_run_name="plan {source}",
    retries=0,
    persist_result=False,
    validate_parameters=True,
)
def plan(
    source: Source,
    selection: Selected = NO_SELECTION,
    upload: ToOdin = True,
    retry_parked: AlsoParked = False,
    transcription: Transcribing = AS_CONFIGURED,
    given: Given = NOTHING_GIVEN,
    data: ArchivePlace = "",
) -> State[Any]:
    """Says what a sync of the source would take; lists it, and changes nothing.

    Args:
        source: Channel (id, URL, @handle), playlist, or video ids and URLs separated by commas.
        selection: Which videos of the source.
        upload: Plan for transcripts that are sent to ODIN.
        retry_parked: As if the sync also tried what earlier runs gave up.
        transcription: How to transcribe.
        given: What only you know: a speed where none was measured yet, the price of energy.
        data: Folder or URL of the archive. Empty: as configured.
    """
    complete_network_environment()
    odds = Odds(given.speed, _price(given), retry_parked)
    with Archive(data_root(data)) as archive:
        ahead = look_ahead(
            archive,
            YouTubeKeys.resolve().config(),
            source,
            selection.selection(),
            TranscriptionSettings.resolve().profile(**transcription.changes()),
            project_id=_project() if upload else None,
            odds=odds,
            clock=SystemClock(),
        )
    show(ahead)
    mark_run(channel=ahead.channel_title)
    return Completed(message=ahead.sentence)


def show(ahead: Forecast) -> None:
    """The page of the plan and, when something would be skipped, its table."""
    get_run_logger().info(ahead.sentence)
    create_markdown_artifact(markdown(ahead), key="plan", description=ahead.sentence)
    if ahead.skipped:
        rows = skip_rows(ahead.skipped[:SHOWN_SKIPS])
        create_table_artifact(rows, key="would-be-skipped", description=f"{len(ahead.skipped)} videos, and why")


def _price(given: PlanForm) -> float | None:
    return given.price_per_kwh or Settings().price_per_kwh


def _project() -> str:
    """Where transcripts would go; somebody who has no credentials yet may plan all the same."""
    try:
        return OdinCredentials.resolve().config().project_id
    except EnvironmentFailure as missing:
        get_run_logger().warning("Planned as for a new ODIN project: %s", missing.reason)
        return ""

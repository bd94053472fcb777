"""`channelscribe plan`: what a sync of a source would take, without a server and without changing anything."""

from __future__ import annotations

from dataclasses import dataclass

from rich.markup import escape
from rich.table import Table

from channelscribe.core.clock import SystemClock
from channelscribe.core.errors import EnvironmentFailure, UsageError
from channelscribe.core.settings import Settings
from channelscribe.forecast_text import SHOWN_SKIPS, lines
from channelscribe.odin.config import OdinConfig
from channelscribe.planning import Forecast, Odds, look_ahead
from channelscribe.store.archive import Archive
from channelscribe.store.root import DataRoot
from channelscribe.youtube.config import YouTubeConfig
from deployments.session import Session
from deployments.sync import SyncRequest, check_selection, profile


@dataclass(frozen=True)
class PlanRequest:
    """`sync` as it would be called, and what only the user knows."""

    sync: SyncRequest
    speed: str = ""
    price_per_kwh: float | None = None


def plan(session: Session, request: PlanRequest) -> int:
    """Prints the forecast; the exit code is 0 whatever it says."""
    from flows.forms import SelectionForm

    sync, settings = request.sync, Settings()
    check_selection(sync.since, sync.until, sync.latest)
    price = settings.price_per_kwh if request.price_per_kwh is None else request.price_per_kwh
    if price is not None and not 0 <= price <= 1000:
        raise UsageError("--price-per-kwh is no price of a kWh; write it as 0.30", code="bad_option")
    with Archive(DataRoot.open(session.data)) as archive:
        ahead = look_ahead(
            archive,
            YouTubeConfig.from_settings(settings),
            sync.source,
            SelectionForm(since=sync.since, until=sync.until, latest=sync.latest).selection(),
            profile(sync),
            project_id=_project(session, settings) if sync.upload else None,
            odds=Odds(request.speed, price, sync.retry_parked),
            clock=SystemClock(),
        )
    if session.as_json:
        session.emit({"exit_code": 0, **ahead.as_json(), "data": session.shown_data})
    else:
        _show(session, ahead)
    return 0


def _project(session: Session, settings: Settings) -> str:
    try:
        return OdinConfig.from_settings(settings).project_id
    except EnvironmentFailure as missing:
        session.say(f"Planned as for a new ODIN project: {missing.reason}")
        return ""


def _show(session: Session, ahead: Forecast) -> None:
    table = Table(title=escape(f"plan {ahead.channel_title or ahead.source}"), show_header=False, title_justify="left")
    table.add_column()
    table.add_column(justify="right")
    table.add_column()
    for line in lines(ahead):
        table.add_row(*map(escape, line))
    session.results.print(table)
    if ahead.skipped:
        skipped = Table("video", "state", "why", title="What would not be done, and why", title_justify="left")
        for skip in ahead.skipped[:SHOWN_SKIPS]:
            skipped.add_row(escape(skip.title), skip.state, escape(skip.reason))
        session.results.print(skipped)
    for note in ahead.notes:
        session.say(note)
    session.say(ahead.sentence + (" The disk has too little room." if ahead.fits is False else ""))

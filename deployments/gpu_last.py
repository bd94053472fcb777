"""`channelscribe gpu --last` and `--run ID`: the curve and the totals of a run's card, from the archive.

Also writes the picture to a file. Reads Parquet only; needs no card.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from channelscribe.core.curve import Moment
from channelscribe.core.errors import EnvironmentFailure, UsageError
from channelscribe.core.model import Run
from channelscribe.export.gpu_chart import gpu_chart
from channelscribe.gpu_figures import ceilings, figure_rows
from channelscribe.metrics import by_card, totals
from channelscribe.store.archive import Archive
from channelscribe.store.root import DataRoot
from deployments.gpu_view import curves
from deployments.session import Session


def gpu_last(session: Session, run_id: str = "", picture: str = "") -> int:
    """Shows the run `run_id`, or the last one with readings. UsageError or EnvironmentFailure where there is none."""
    if "://" not in session.data and not Path(session.data).is_dir():
        reason = f"there is no archive at {session.shown_data}; run `channelscribe sync` first or give --data"
        raise EnvironmentFailure(reason, code="no_archive")
    with Archive(DataRoot.open(session.data)) as archive:
        chosen = run_id or last_watched(archive)
        moments = archive.moments(chosen) if chosen else []
        run = next((r for r in archive.runs() if r.run_id == chosen), None)
    if not moments:
        about = f"the run {chosen}" if run_id else "any run"
        raise UsageError(f"No card was watched during {about} of {session.shown_data}.", code="no_readings")
    _show(session, chosen, run, moments)
    if picture:
        write_picture(Path(picture), chosen, run, moments)
        session.say(f"picture: {picture}")
    return 0


def last_watched(archive: Archive) -> str:
    """The run with the newest reading; empty when there is none."""
    found = archive.ask('SELECT run_id FROM raw_gpu_metrics ORDER BY "at" DESC LIMIT 1')
    return str(found["run_id"][0]) if len(found) else ""


def write_picture(file: Path, run_id: str, run: Run | None, moments: list[Moment]) -> None:
    """One SVG for the card with the most readings. EnvironmentFailure where it cannot be written."""
    own = max(by_card(moments).values(), key=len)
    limits = ceilings(run.guard if run else None)
    try:
        file.write_text(gpu_chart(own, limits, title=run.source if run else run_id), encoding="utf-8")
    except OSError as error:
        raise EnvironmentFailure(
            f"the picture {file} cannot be written: {error.strerror}", code="not_writable"
        ) from error


def _show(session: Session, run_id: str, run: Run | None, moments: list[Moment]) -> None:
    found = totals(moments)
    audio_s = run.audio_s if run else 0.0
    if session.as_json:
        per_joule = found.audio_s_per_joule(audio_s)
        session.emit(
            {"run_id": run_id, "audio_s": audio_s, "audio_s_per_joule": per_joule, **dataclasses.asdict(found)}
        )
        return
    limits = ceilings(run.guard if run else None)
    for uuid, own in by_card(moments).items():
        session.results.print(f"card {escape(uuid)}")
        for part in curves(own, limits, min(100, session.results.width)):
            session.results.print(part)
    named = escape(f"{run.source if run else 'run'} {run_id}")
    table = Table(title=named, show_header=False, title_justify="left", min_width=44)
    table.add_column()
    table.add_column(justify="right")
    for name, value in figure_rows(found, audio_s):
        table.add_row(name, value)
    session.results.print(table)

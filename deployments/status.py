"""`channelscribe status`: where every video stands, from Parquet alone, with nothing running.

Reads the store only; Prefect is never imported.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from channelscribe.core.errors import EnvironmentFailure
from channelscribe.store.archive import Archive
from channelscribe.store.root import DataRoot
from channelscribe.store.status import Totals, VideoStatus, totals, video_status
from deployments.session import Session

_STYLES = {"done": "green", "failed": "red", "pending": "yellow"}


def status(session: Session, *, failed_only: bool) -> None:
    """Prints a table, or one JSON object with `videos` and `totals`."""
    if "://" not in session.data and not Path(session.data).is_dir():
        raise EnvironmentFailure(
            f"there is no archive at {session.shown_data}; run `channelscribe sync` first or give --data",
            code="no_archive",
        )
    with Archive(DataRoot.open(session.data)) as archive:
        videos, total = video_status(archive, failed_only=failed_only), totals(archive)
    if session.as_json:
        session.emit({"data": session.shown_data, "totals": asdict(total), "videos": [asdict(v) for v in videos]})
        return
    if videos:
        session.results.print(_table(videos))
    session.say(_sentence(total))


def _table(videos: list[VideoStatus]) -> Table:
    table = Table("published", "video", "minutes", "state", "reached", "words", "why not")
    for v in videos:
        style = _STYLES.get(str(v.state), "")
        table.add_row(
            v.published_at.date().isoformat() if v.published_at else "",
            escape(v.title or v.video_id),
            f"{v.duration_s / 60:.1f}" if v.duration_s else "",
            f"[{style}]{v.state}[/]" if style else str(v.state),
            str(v.stage),
            f"{v.words:,}" if v.words else "",
            escape(v.reason or ""),
        )
    return table


def _sentence(total: Totals) -> str:
    return (
        f"{total.videos} videos: {total.done} done, {total.failed} failed, {total.pending} pending; "
        f"{total.audio_s / 3600:.1f} h of sound, {total.words:,} words, {total.documents} documents in ODIN"
    )

"""What a run came to, read from the archive: for the table a person sees and the object a machine reads.

Used by `sync` and `demo` after their run has ended.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from channelscribe.core.model import Outcome, OutcomeState, Run
from channelscribe.store.archive import Archive


@dataclass(frozen=True)
class NotDone:
    """A video that this run could not finish, and why."""

    video_id: str
    title: str
    stage: str
    failure_class: str
    code: str
    reason: str
    retry_after: datetime | None = None


@dataclass(frozen=True)
class RunFigures:
    """One run in numbers; `documents` are those verified in ODIN for its videos."""

    run_id: str
    source: str
    state: str
    videos: int = 0
    done: int = 0
    skipped: int = 0
    failed: int = 0
    words: int = 0
    audio_s: float = 0.0
    wall_s: float = 0.0
    documents: int = 0
    not_done: tuple[NotDone, ...] = field(default=())

    @property
    def rtfx(self) -> float:
        """Seconds of sound per second of the run."""
        return self.audio_s / self.wall_s if self.wall_s > 0 else 0.0

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"rtfx": round(self.rtfx, 2)}


def figures(archive: Archive, run_id: str) -> RunFigures:
    """From `runs/` and `outcomes/`; a run that never opened its account has only its id."""
    run = next((r for r in reversed(archive.runs()) if r.run_id == run_id), None)
    if run is None:
        return RunFigures(run_id, "", "unknown")
    last = last_outcomes(archive.outcomes(run_id))
    return _figures(run, last, _verified(archive, set(last)))


def last_outcomes(outcomes: list[Outcome]) -> dict[str, Outcome]:
    """The newest outcome of each video."""
    dated = [o for o in outcomes if o.at is not None and o.video_id]
    return {o.video_id: o for o in sorted(dated, key=lambda o: (o.at, o.attempt))}


def _verified(archive: Archive, video_ids: set[str]) -> int:
    uploads = archive.uploads().values()
    return len({u.video_id for u in uploads if u.verified_at is not None and u.video_id in video_ids})


def _figures(run: Run, last: dict[str, Outcome], documents: int) -> RunFigures:
    bad = [o for o in last.values() if o.state is OutcomeState.FAILED]
    return RunFigures(
        run_id=run.run_id,
        source=run.source,
        state=run.state,
        videos=run.videos,
        done=run.done,
        skipped=run.skipped,
        failed=run.failed,
        words=run.words,
        audio_s=run.audio_s,
        wall_s=run.wall_s,
        documents=documents,
        not_done=tuple(
            NotDone(o.video_id, o.title, str(o.stage), o.failure_class, o.code, o.reason, o.retry_after) for o in bad
        ),
    )


def show(console: Console, title: str, rows: list[tuple[str, str]], not_done: tuple[NotDone, ...]) -> None:
    """Two tables: the figures, and what was not done."""
    table = Table(title=escape(title), show_header=False, title_justify="left", min_width=44)
    table.add_column()
    table.add_column(justify="right")
    for name, value in rows:
        table.add_row(name, escape(value))
    console.print(table)
    if not_done:
        console.print(not_done_table(not_done))


def not_done_table(not_done: tuple[NotDone, ...]) -> Table:
    table = Table("video", "step", "class", "reason", title="Not done, and why", title_justify="left")
    for entry in not_done:
        table.add_row(escape(entry.title or entry.video_id), entry.stage, entry.failure_class, escape(entry.reason))
    return table


def figure_rows(run: RunFigures) -> list[tuple[str, str]]:
    return [
        ("videos", f"{run.videos}"),
        ("done", f"{run.done}"),
        ("already done or parked", f"{run.skipped}"),
        ("failed", f"{run.failed}"),
        ("minutes transcribed", f"{run.audio_s / 60:.1f}"),
        ("words", f"{run.words:,}"),
        ("documents verified in ODIN", f"{run.documents}"),
        ("RTFx (sound per wall second)", f"{run.rtfx:.1f}"),
    ]

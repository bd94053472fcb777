"""Report: what one run did to every video it was asked for, as data. summary.py shows it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from channelscribe.core.model import Outcome, OutcomeState, Stage, Video
from channelscribe.ledger import Plan

BY_ANOTHER_RUN = "Another run finished it meanwhile."


class Fate(StrEnum):
    """How a run left a video; every video of the listing has exactly one."""

    DONE = "done"
    ALREADY_DONE = "already done"
    FAILED = "failed"
    PARKED = "parked"
    NOT_STARTED = "not started"


@dataclass(frozen=True)
class Line:
    """One video of the report."""

    video: Video
    fate: Fate
    stage: str = ""
    failure_class: str = ""
    code: str = ""
    reason: str = ""
    retry_after: datetime | None = None


@dataclass(frozen=True)
class RunReport:
    """One run: a line for every video, and the totals that the table in `runs/` keeps."""

    run_id: str
    source: str
    channel_title: str
    lines: tuple[Line, ...]
    notes: tuple[str, ...]
    wall_s: float
    audio_s: float
    words: int
    documents: int
    stopped_by: str = ""
    gpu: str = ""

    def count(self, *fates: Fate) -> int:
        return sum(line.fate in fates for line in self.lines)

    @property
    def rtfx(self) -> float:
        """Seconds of sound transcribed per second of the run."""
        return self.audio_s / self.wall_s if self.wall_s > 0 else 0.0

    @property
    def complete(self) -> bool:
        """True when nothing failed and nothing was left standing."""
        return self.count(Fate.FAILED, Fate.NOT_STARTED) == 0 and not self.stopped_by

    @property
    def sentence(self) -> str:
        """The run in one sentence, as its state message says it."""
        total, parts = len(self.lines), Counter(str(line.fate) for line in self.lines)
        counted = ", ".join(f"{parts[fate]} {fate}" for fate in map(str, Fate) if parts[fate]) or "nothing to do"
        end = f" Stopped: {self.stopped_by}" if self.stopped_by else ""
        return f"{total} videos: {counted}.{end}"


def draw_up(
    *,
    run_id: str,
    source: str,
    channel_title: str,
    plan: Plan,
    outcomes: Iterable[Outcome],
    notes: Iterable[str],
    wall_s: float,
    words: int,
    documents: int,
    finished: frozenset[str],
    meanwhile: frozenset[str] = frozenset(),
    stopped_by: str = "",
) -> RunReport:
    """The report of a run from its plan and its `outcomes/`. `finished` are the ids whose whole chain stands.

    `meanwhile` are those for which another run did something while this one was at work; where this one then found
    nothing left to do, the work counts as the other's.
    `documents` counts those of this run whose upload was proven (indexed, with chunks).
    """
    last = _last_outcomes(outcomes)
    lines = [_line(video, last.get(video.video_id, []), finished, meanwhile) for video in plan.todo]
    others = sum(line.reason == BY_ANOTHER_RUN for line in lines)
    lines += [_done_line(video, last.get(video.video_id, [])) for video in plan.done]
    lines += [_parked_line(p.video, p.outcome) for p in plan.parked]
    flat = [o for past in last.values() for o in past if o.state is not OutcomeState.FAILED]
    fresh = [o for o in flat if o.state is OutcomeState.DONE]
    return RunReport(
        run_id=run_id,
        source=source,
        channel_title=channel_title,
        lines=tuple(lines),
        notes=(*notes, *([f"{others} videos were finished by another run meanwhile."] if others else [])),
        wall_s=wall_s,
        audio_s=sum(o.audio_s for o in fresh if o.stage is Stage.TRANSCRIBE),
        words=words,
        documents=documents,
        stopped_by=stopped_by,
    )


def _last_outcomes(outcomes: Iterable[Outcome]) -> Mapping[str, list[Outcome]]:
    by_video: dict[str, list[Outcome]] = {}
    for outcome in sorted(outcomes, key=lambda o: (o.at is not None, o.at, o.attempt)):
        by_video.setdefault(outcome.video_id, []).append(outcome)
    return by_video


def _line(video: Video, past: list[Outcome], finished: frozenset[str], meanwhile: frozenset[str]) -> Line:
    if video.video_id in finished:
        if video.video_id in meanwhile and not any(o.state is OutcomeState.DONE for o in past):
            return Line(video, Fate.ALREADY_DONE, reason=BY_ANOTHER_RUN)
        return Line(video, Fate.DONE)
    if not past or past[-1].state is not OutcomeState.FAILED:
        return Line(video, Fate.NOT_STARTED, reason="The run ended before this video was finished.")
    return _failure(video, Fate.FAILED, past[-1])


def _done_line(video: Video, past: list[Outcome]) -> Line:
    ours = any(o.state is OutcomeState.DONE for o in past)
    return Line(video, Fate.DONE if ours else Fate.ALREADY_DONE)


def _parked_line(video: Video, outcome: Outcome) -> Line:
    return _failure(video, Fate.PARKED, outcome)


def _failure(video: Video, fate: Fate, o: Outcome) -> Line:
    return Line(video, fate, str(o.stage), o.failure_class, o.code, o.reason, o.retry_after)

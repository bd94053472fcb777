"""Live: what the videos of a run are doing, heard from its attempts, and the page of it with speed and time left.

Beside the report, which tells the same at the end. Any thread may tell a board, any thread may look.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from channelscribe.core.model import Outcome, OutcomeState, Stage, Video
from channelscribe.core.text import cell
from channelscribe.gpu_figures import price
from channelscribe.report import Fate, RunReport

MOST_ROWS = 120
TITLE_LENGTH, REASON_LENGTH = 90, 200
AT_WORK, BETWEEN, FAILED, DONE = "at work", "between steps", "failed", "done"
_STEPS = (Stage.DOWNLOAD, Stage.TRANSCRIBE, Stage.UPLOAD)
_DOING = {Stage.DOWNLOAD: "downloading", Stage.TRANSCRIBE: "transcribing", Stage.UPLOAD: "uploading"}
_UNKNOWN = "not known yet"


@dataclass(frozen=True, slots=True)
class Row:
    """One video that has begun. `standing` is one of the four above, or how the report says it ended."""

    video: Video
    standing: str
    stage: Stage | None = None
    reason: str = ""
    paused_s: float = 0.0

    @property
    def state(self) -> str:
        return _DOING[self.stage] if self.standing == AT_WORK and self.stage in _DOING else self.standing


@dataclass(frozen=True, slots=True)
class Step:
    """How far one step is: videos, and seconds of their sound as far as the listing gave it."""

    stage: Stage
    videos: int
    of_videos: int
    audio_s: float
    of_audio_s: float

    def speed(self, elapsed_s: float) -> float:
        """Seconds of sound per second of this run."""
        return self.audio_s / elapsed_s if elapsed_s > 0 else 0.0

    def left_s(self, elapsed_s: float) -> float | None:
        """By the speed so far; by counted videos where lengths are unknown; None before the first is through."""
        if self.videos >= self.of_videos:
            return 0.0
        share = self.audio_s / self.of_audio_s if self.of_audio_s else self.videos / self.of_videos
        return elapsed_s * (1.0 - share) / share if share > 0 else None


@dataclass(frozen=True, slots=True)
class Figures:
    """What engine, lane and guard say of themselves. None: not known, or there is none."""

    elapsed_s: float = 0.0
    heard_s: float = 0.0
    windows_waiting: int = 0
    slots: int = 0
    occupancy: float = 0.0
    downloads_waiting: int = 0
    lane: str = ""
    card: str = ""
    energy_j: float | None = None
    price_per_kwh: float | None = None
    paused_s: float | None = None


@dataclass(frozen=True, slots=True)
class Glance:
    """A board at one moment. `rows` are at most MOST_ROWS, those at work first, then failed, then newest ended."""

    rows: tuple[Row, ...]
    more: int
    steps: tuple[Step, ...]
    videos: int
    begun: int
    between: int
    done: int
    failed: int
    cost_usd: float | None
    sentence: str = ""


class Board:
    """The videos that a run works on. Memory grows with what is unfinished, not with what is done."""

    def __init__(self, todo: Iterable[Video], *, upload: bool) -> None:
        self._videos = {video.video_id: video for video in todo}
        self._stages = _STEPS if upload else _STEPS[:-1]
        self._passed: dict[Stage, set[str]] = {stage: set() for stage in self._stages}
        self._open: dict[str, Row] = {}
        self._done: deque[Row] = deque(maxlen=MOST_ROWS)
        self._cost_usd: float | None = None
        self._sentence = ""
        self._lock = threading.Lock()

    def hear(self, video: Video, stage: Stage, outcome: Outcome | None) -> None:
        """From a run's attempts: a step begins (None), or has ended like this."""
        if stage not in self._passed or video.video_id not in self._videos:
            return
        with self._lock:
            if video.video_id in self._passed[self._stages[-1]]:
                return
            before = self._open.pop(video.video_id, Row(self._videos[video.video_id], BETWEEN))
            row = replace(before, stage=stage, standing=AT_WORK, reason="")
            if outcome is not None:
                row = self._ended(row, outcome)
            if row.standing == DONE:
                self._done.append(row)
            else:
                self._open[video.video_id] = row

    def _ended(self, row: Row, outcome: Outcome) -> Row:
        row = replace(row, paused_s=row.paused_s + outcome.paused_s)
        if outcome.cost_usd is not None:
            self._cost_usd = (self._cost_usd or 0.0) + outcome.cost_usd
        if outcome.state is OutcomeState.FAILED:
            return replace(row, standing=FAILED, reason=outcome.reason)
        self._passed[outcome.stage].add(outcome.video_id)
        return replace(row, standing=DONE if outcome.stage is self._stages[-1] else BETWEEN)

    def settle(self, report: RunReport) -> None:
        """The run is over: what is still open ended as the report says."""
        fates = {line.video.video_id: line for line in report.lines}
        with self._lock:
            self._sentence = report.sentence
            for video_id, row in list(self._open.items()):
                if (line := fates.get(video_id)) is None:
                    continue
                if line.fate in (Fate.DONE, Fate.ALREADY_DONE):
                    self._done.append(replace(self._open.pop(video_id), standing=DONE, reason=line.reason))
                    self._passed[self._stages[-1]].add(video_id)
                else:
                    self._open[video_id] = replace(row, standing=str(line.fate), reason=line.reason)

    def glance(self) -> Glance:
        with self._lock:
            rows = list(self._open.values())
            at_work = [row for row in rows if row.standing == AT_WORK]
            between = [row for row in rows if row.standing == BETWEEN]
            bad = [row for row in rows if row.standing not in (AT_WORK, BETWEEN)]
            failed = {row.video.video_id for row in bad}
            done = self._passed[self._stages[-1]]
            ordered = (at_work + bad[::-1] + between + list(self._done)[::-1])[:MOST_ROWS]
            return Glance(
                rows=tuple(ordered),
                more=len(rows) + len(done) - len(ordered),
                steps=tuple(self._step(stage, failed) for stage in self._stages),
                videos=len(self._videos),
                begun=len(rows) + len(done),
                between=len(between),
                done=len(done),
                failed=len(bad),
                cost_usd=self._cost_usd,
                sentence=self._sentence,
            )

    def _step(self, stage: Stage, failed: set[str]) -> Step:
        passed = self._passed[stage]
        wanted = [video for video_id, video in self._videos.items() if video_id in passed or video_id not in failed]
        through = [self._videos[video_id] for video_id in passed]
        return Step(stage, len(through), len(wanted), _sound_s(through), _sound_s(wanted))


def _sound_s(videos: Sequence[Video]) -> float:
    return sum(video.duration_s or 0.0 for video in videos)


def page(glance: Glance, figures: Figures, title: str, now: datetime) -> str:
    """Markdown of bounded size, whatever the number of videos."""
    failed = f", {glance.failed} {'not' if glance.sentence else 'failed so far'}" if glance.failed else ""
    lines = [f"# {cell(title)}: {glance.done} of {glance.videos} videos done{failed}", ""]
    lines += [_moment(glance, figures, now), ""]
    lines += ["| step | videos | minutes of sound | sound per second | time left |", "|---|---:|---:|---:|---:|"]
    lines += [_step_row(step, figures) for step in glance.steps]
    lines += ["", "| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in _figure_rows(glance, figures))]
    lines += ["", "## Videos at work and ended", ""]
    if not glance.rows:
        return "\n".join([*lines, "None has begun yet."]) + "\n"
    lines += ["| video | state | step | reason | sound | paused |", "|---|---|---|---|---:|---:|"]
    lines += [_video_row(row) for row in glance.rows]
    lines += ["", f"... and {glance.more} more that have begun."] if glance.more else []
    waiting = glance.videos - glance.begun
    lines += ["", f"{waiting} have not begun."] if waiting else []
    return "\n".join(lines) + "\n"


def _moment(glance: Glance, figures: Figures, now: datetime) -> str:
    begin = f"{now:%Y-%m-%d %H:%M:%S} UTC, {_span(figures.elapsed_s)} after the list was planned."
    if glance.sentence:
        return f"{begin} The run is over: {glance.sentence}"
    left = [_heard(step, figures).left_s(figures.elapsed_s) for step in glance.steps]
    known = [seconds for seconds in left if seconds is not None]
    if len(known) < len(left):
        return f"{begin} The end is {_UNKNOWN}: not every step has a finished video."
    end = now + timedelta(seconds=max(known, default=0.0))
    return f"{begin} About {_span(max(known, default=0.0))} left, until {end:%H:%M} UTC, by this run's own speed."


def _heard(step: Step, figures: Figures) -> Step:
    """Transcription with the part of unfinished files that is behind the engine."""
    if step.stage is not Stage.TRANSCRIBE or step.videos >= step.of_videos:
        return step
    return replace(step, audio_s=min(step.of_audio_s, max(step.audio_s, figures.heard_s)))


def _step_row(step: Step, figures: Figures) -> str:
    step = _heard(step, figures)
    left_s = step.left_s(figures.elapsed_s)
    sound = f"{step.audio_s / 60:.1f} of {step.of_audio_s / 60:.1f}" if step.of_audio_s else "lengths not listed"
    speed = f"{step.speed(figures.elapsed_s):.1f} s" if step.audio_s else ""
    left = _UNKNOWN if left_s is None else _span(left_s)
    return f"| {step.stage} | {step.videos} of {step.of_videos} | {sound} | {speed} | {left} |"


def _figure_rows(glance: Glance, figures: Figures) -> list[tuple[str, str]]:
    heard_s = next((_heard(s, figures).audio_s for s in glance.steps if s.stage is Stage.TRANSCRIBE), 0.0)
    per_hour = heard_s / figures.elapsed_s if figures.elapsed_s > 0 else 0.0
    queues = f"{figures.downloads_waiting} in line to download, {glance.between} between two steps"
    queues += f", {figures.windows_waiting} windows waiting for the engine"
    rows = [("throughput", f"{per_hour:.1f} hours of sound per hour"), ("queues", queues)]
    if figures.slots:
        rows.append(("engine", f"{figures.slots} places, {figures.occupancy:.0%} of them taken on average"))
    rows += [("YouTube", cell(figures.lane))] if figures.lane else []
    rows += [("card", cell(figures.card))] if figures.card else []
    rows += [("paused by the guard", _span(figures.paused_s))] if figures.paused_s is not None else []
    rows += [("energy", f"{figures.energy_j / 1000:,.1f} kJ")] if figures.energy_j is not None else []
    if figures.energy_j is not None and figures.price_per_kwh is not None:
        rows.append(("money for energy", price(figures.energy_j, figures.price_per_kwh)))
    rows += [("money for services", f"{glance.cost_usd:,.4f} USD")] if glance.cost_usd is not None else []
    return rows


def _video_row(row: Row) -> str:
    video, stage = row.video, row.stage or ""
    title = cell(_cut(video.title or video.video_id, TITLE_LENGTH))
    sound = f"{video.duration_s / 60:.1f} min" if video.duration_s else ""
    paused = f"{row.paused_s:.0f} s" if row.paused_s >= 0.5 else ""
    reason = cell(_cut(row.reason, REASON_LENGTH))
    return f"| [{title}]({video.url}) | {row.state} | {stage} | {reason} | {sound} | {paused} |"


def _cut(text: str, most: int) -> str:
    text = " ".join(text.split())
    return text if len(text) <= most else text[: most - 1] + "…"


def _span(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"

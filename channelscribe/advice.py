"""Advice: at most five things to do after a run, each with its command, the one that brings the most sound first.

Read from the report; the last part of a run's summary.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence

from channelscribe.core.errors import FailureClass
from channelscribe.core.text import cell
from channelscribe.report import Fate, Line, RunReport

MOST_STEPS, MOST_NAMES = 5, 3
_LENGTH = 60
_GOES_AGAIN, _RELEASE = "again", "release"
_STANDING = {
    FailureClass.PERMANENT,
    FailureClass.NEEDS_ACCESS,
    FailureClass.GEO,
    FailureClass.NOT_READY,
    FailureClass.THROTTLED,
    FailureClass.BLOCKED,
    FailureClass.BUG,
}


def next_steps(report: RunReport) -> list[str]:
    """What a person can do now, most useful first; one to five sentences of markdown."""
    steps = []
    if report.stopped_by:
        waiting = [line for line in report.lines if line.fate in (Fate.FAILED, Fate.NOT_STARTED)]
        left = f" Then press **Retry** on this run, for {_videos(waiting)}." if waiting else ""
        steps.append(f"Mend this first: {cell(report.stopped_by)}{left}")
    needs = _needs(report.lines)
    for need in sorted(needs, key=lambda need: _gain(need, needs[need]), reverse=True):
        if not (report.stopped_by and need == _GOES_AGAIN):
            steps.append(f"{_TELL[need](needs[need])} {_names(needs[need])}")
    if report.count(Fate.FAILED, Fate.PARKED, Fate.NOT_STARTED):
        steps.append("See every troubled video of the archive: `channelscribe status --failed`.")
    if report.count(Fate.DONE, Fate.ALREADY_DONE):
        steps.append("Read the transcripts: beside the sound under `archive/`, as rows in `transcripts/`.")
    if report.complete:
        steps.append("Leave the rest to the night: switch on the schedule of the deployment `daily`.")
    return steps[:MOST_STEPS] or ["Nothing: the source holds no video that the selection takes."]


def _needs(lines: Iterable[Line]) -> dict[str, list[Line]]:
    """The videos that are not done, by what would help them."""
    needs: defaultdict[str, list[Line]] = defaultdict(list)
    for line in lines:
        if line.fate in (Fate.FAILED, Fate.PARKED, Fate.NOT_STARTED):
            needs[_need(line)].append(line)
    return needs


def _need(line: Line) -> str:
    if line.failure_class in _STANDING:
        return line.failure_class
    return _RELEASE if line.fate is Fate.PARKED else _GOES_AGAIN


def _gain(need: str, lines: Sequence[Line]) -> tuple[bool, float, int]:
    """What is gone for good gains nothing; else the seconds of sound that the listing gave, then the videos."""
    return need != FailureClass.PERMANENT, sum(line.video.duration_s or 0.0 for line in lines), len(lines)


def _again(lines: Sequence[Line]) -> str:
    return f"Press **Retry** on this run, for {_videos(lines)}: each goes on at the step where it stands."


def _release(lines: Sequence[Line]) -> str:
    return (
        f"In quarantine, {_videos(lines)} (media that failed twice). When the source is mended: `channelscribe retry "
        "--class poisoned --release-quarantine`, or Release from quarantine in the form of `retry-failed`."
    )


def _wait(lines: Sequence[Line]) -> str:
    moments = [line.retry_after for line in lines if line.retry_after]
    when = f"after {max(moments):%Y-%m-%d %H:%M} UTC" if moments else "later"
    return f"Not there yet, {_videos(lines)}: {when} the next sync takes them, or {_retry(FailureClass.NOT_READY)}."


def _access(lines: Sequence[Line]) -> str:
    return (
        f"Renew access, for {_videos(lines)}: set `YOUTUBE_COOKIES` to a fresh cookie file of somebody who may see "
        f"them, then {_retry(FailureClass.NEEDS_ACCESS)}."
    )


def _region(lines: Sequence[Line]) -> str:
    return (
        f"Closed to the country of this address, {_videos(lines)}: work from where they are open (`HTTPS_PROXY`), "
        f"then {_retry(FailureClass.GEO)}."
    )


def _throttled(lines: Sequence[Line]) -> str:
    moments = [line.retry_after for line in lines if line.retry_after]
    when = f"after {max(moments):%Y-%m-%d %H:%M} UTC" if moments else "in an hour or so"
    return f"A service asked for a rest: {when} press **Retry** on this run, for {_videos(lines)}."


def _blocked(lines: Sequence[Line]) -> str:
    return (
        f"YouTube no longer believes this address: rest some hours, or use another address or `YOUTUBE_COOKIES`, then "
        f"press **Retry** on this run, for {_videos(lines)}."
    )


def _bug(lines: Sequence[Line]) -> str:
    return f"Report the log of this run: failed in a way that channelscribe does not know, {_videos(lines)}."


def _gone(lines: Sequence[Line]) -> str:
    return (
        f"Private, deleted or without sound, {_videos(lines)}: left alone from now on; should they come back, "
        f"{_retry(FailureClass.PERMANENT)}."
    )


_TELL: dict[str, Callable[[Sequence[Line]], str]] = {
    _GOES_AGAIN: _again,
    _RELEASE: _release,
    FailureClass.NOT_READY: _wait,
    FailureClass.NEEDS_ACCESS: _access,
    FailureClass.GEO: _region,
    FailureClass.THROTTLED: _throttled,
    FailureClass.BLOCKED: _blocked,
    FailureClass.BUG: _bug,
    FailureClass.PERMANENT: _gone,
}


def _retry(kind: FailureClass) -> str:
    return f"run `channelscribe retry --class {kind}` (or the deployment `retry-failed` with this kind)"


def _videos(lines: Sequence[Line]) -> str:
    return "1 video" if len(lines) == 1 else f"{len(lines)} videos"


def _names(lines: Sequence[Line]) -> str:
    """Links to the longest of them."""
    longest = sorted(lines, key=lambda line: line.video.duration_s or 0.0, reverse=True)[:MOST_NAMES]
    links = [f"[{cell(line.video.title[:_LENGTH] or line.video.video_id)}]({line.video.url})" for line in longest]
    return ", ".join(links) + (", ..." if len(lines) > MOST_NAMES else "")

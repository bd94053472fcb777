"""Summary: the report of a run as its page in the Prefect UI shows it, as markdown and as rows of a table.

After report.py, with the advice of advice.py at its end.
"""

from __future__ import annotations

from channelscribe.advice import next_steps
from channelscribe.core.text import cell
from channelscribe.report import Fate, RunReport


def markdown(report: RunReport) -> str:
    """The summary as the run's page in the Prefect UI shows it."""
    rows = [
        ("videos", f"{len(report.lines)}"),
        *((str(fate), f"{n}") for fate in Fate if (n := report.count(fate))),
        ("sound transcribed", f"{report.audio_s / 60:.1f} min"),
        ("words", f"{report.words:,}"),
        ("documents verified", f"{report.documents}"),
        ("wall time", f"{report.wall_s / 60:.1f} min"),
        ("RTFx (sound per wall second)", f"{report.rtfx:.1f}"),
    ]
    parts = [f"# {cell(report.channel_title or report.source)}", "", report.sentence, "", "| | |", "|---|---:|"]
    parts += [f"| {name} | {value} |" for name, value in rows]
    parts += ["", f"Graphics card: {report.gpu} Its curve is the artifact `gpu`."] if report.gpu else []
    parts += _problems(report)
    parts += ["", *(f"* {note}" for note in report.notes)]
    parts += ["", "## What next", "", *(f"{i}. {step}" for i, step in enumerate(next_steps(report), 1))]
    return "\n".join(parts) + "\n"


def _problems(report: RunReport) -> list[str]:
    bad = [line for line in report.lines if line.fate in (Fate.FAILED, Fate.PARKED, Fate.NOT_STARTED)]
    if not bad:
        return []
    head = ["", "## Not done, and why", "", "| video | reason | state | step | class |", "|---|---|---|---|---|"]
    return head + [
        f"| [{cell(b.video.title)}]({b.video.url}) | {cell(b.reason)} | {b.fate} | {b.stage} | {b.failure_class} |"
        for b in bad
    ]


def problem_rows(report: RunReport) -> list[dict[str, str]]:
    """Rows of the table artifact: every video that was not done, and why."""
    return [
        {
            "video": line.video.title,
            "reason": line.reason,
            "state": str(line.fate),
            "step": line.stage,
            "class": line.failure_class,
            "code": line.code,
            "try again after": line.retry_after.isoformat(timespec="minutes") if line.retry_after else "",
            "link": line.video.url,
        }
        for line in report.lines
        if line.fate in (Fate.FAILED, Fate.PARKED, Fate.NOT_STARTED)
    ]

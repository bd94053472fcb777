"""A forecast in words: the lines of its table and its page, the same on the command line and in the Prefect UI.

After `planning`. Pure: a forecast in, texts out.
"""

from __future__ import annotations

from channelscribe.core.text import cell
from channelscribe.planning import Estimate, Forecast, Skip

UNKNOWN = "unknown"
SHOWN_SKIPS = 200
_GIB = 1 << 30


def lines(f: Forecast) -> list[tuple[str, str, str]]:
    """(what, how much, where the figure comes from) for people."""
    return [
        ("videos", f"{f.videos:,}", f"listed by {f.listed_by}"),
        ("to do", f"{f.todo:,}", f"{f.to_download:,} to download, {f.to_transcribe:,} to transcribe"),
        ("already done", f"{f.done:,}", ""),
        ("skipped or doubtful", f"{len(f.skipped):,}", "see below" if f.skipped else ""),
        ("sound to do", f"{f.audio_s / 3600:,.2f} h", _lengths(f)),
        ("card", _figure(f.card_h, "h"), f.card_h.basis),
        ("energy of the card", _figure(f.energy_wh, "Wh"), f.energy_wh.basis),
        ("money", _figure(f.cost, ""), f.cost.basis),
        ("disk", _figure(f.disk_bytes.times(1 / _GIB), "GiB"), f"{_room(f)}{f.disk_bytes.basis}"),
        ("YouTube quota", f"{f.quota_listing:,} units", _quota(f)),
    ]


def markdown(f: Forecast) -> str:
    """The page of a plan."""
    parts = [f"# Plan: {cell(f.channel_title or f.source)}", "", f.sentence, "", "| | | |", "|---|---:|---|"]
    parts += [f"| {what} | {much} | {cell(basis)} |" for what, much, basis in lines(f)]
    if f.fits is False:
        parts += ["", "**The disk has too little room:** free some, or choose fewer videos."]
    if f.skipped:
        parts += ["", "## What would not be done, and why", "", "| video | why | state |", "|---|---|---|"]
        parts += [f"| [{cell(s.title)}]({s.url}) | {cell(s.reason)} | {s.state} |" for s in f.skipped[:SHOWN_SKIPS]]
        rest = len(f.skipped) - SHOWN_SKIPS
        parts += ["", f"... and {rest} more."] if rest > 0 else []
    parts += ["", *(f"* {cell(note)}" for note in f.notes)]
    return "\n".join(parts) + "\n"


def skip_rows(skipped: tuple[Skip, ...]) -> list[dict[str, str]]:
    return [
        {
            "video": s.title,
            "why": s.reason,
            "state": s.state,
            "try again after": s.retry_after.isoformat(timespec="minutes") if s.retry_after else "",
            "link": s.url,
        }
        for s in skipped
    ]


def _figure(e: Estimate, unit: str) -> str:
    if e.low is None or e.high is None:
        return UNKNOWN
    between = f"{_number(e.low)} to {_number(e.high)}"
    shown = between if e.value is None else _number(e.value)
    ranged = e.value is not None and _number(e.low) != _number(e.high)
    return " ".join(filter(None, [shown, unit, f"({between})" if ranged else ""]))


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _lengths(f: Forecast) -> str:
    return f"without {f.unknown_length} of unknown length" if f.unknown_length else ""


def _room(f: Forecast) -> str:
    if f.free_bytes is None:
        return ""
    return f"{_number(f.free_bytes / _GIB)} GiB free{'' if f.fits is not False else ', TOO LITTLE'}; "


def _quota(f: Forecast) -> str:
    if not f.quota_budget:
        return "listed without a key, which costs no quota"
    return f"this listing; {f.quota_used:,} of the day's {f.quota_budget:,} recorded by runs of this archive before it"

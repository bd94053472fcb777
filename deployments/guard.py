"""`channelscribe guard backtest`: policies beside each other, as a table, as JSON, as curves.

Thin: the runs are made by channelscribe/gpu/backtest.py; imported by `cli` when the command line starts.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from channelscribe.core.guard import GuardPolicy
    from channelscribe.gpu.backtest import Backtest, Row
    from deployments.session import Session

guard_app = typer.Typer(help="The guard of the card: try its ceilings before a night does.", no_args_is_help=True)

_COLORS = ("#9aa0a6", "#e8710a", "#f9ab00", "#a142f4", "#d01884", "#129eaf", "#7cb342", "#1a73e8", "#174ea6")


@guard_app.callback()
def _guard() -> None:
    """Keeps `backtest` a word of its own while it is the only one."""


@guard_app.command()
def backtest(
    subjects: Annotated[
        list[str] | None,
        typer.Argument(help="Scenarios by name, Parquet traces, or folders such as data/gpu_metrics [peers hot]."),
    ] = None,
    temp_c: Annotated[float, typer.Option(min=40, max=110, help="Temperature ceiling (°C).")] = 75.0,
    power_w: Annotated[
        float, typer.Option(min=0, max=2000, help="Ceiling of average power (W); 0: the GPU's own limit.")
    ] = 0.0,
    svg: Annotated[Path | None, typer.Option("--svg", help="Write the temperature curves into this file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")] = False,
) -> None:
    """Run our policy and those of other programs over simulated days and recorded traces."""
    from channelscribe.gpu.backtest import backtest
    from deployments.session import Session

    session = Session("", as_json)
    policy, found = _policy(temp_c, power_w), []
    for subject in subjects or ["peers", "hot"]:
        session.say(f"running {subject} ...")
        found.append(backtest(subject, policy))
    if svg is not None:
        _write(svg, found)
    if as_json:
        session.emit({"ceiling_c": temp_c, "backtests": [_plain(b) for b in found]})
        return
    for one in found:
        _show(session, one)


def _policy(temp_c: float, power_w: float) -> GuardPolicy:
    from pydantic import ValidationError

    from channelscribe.core.errors import UsageError
    from channelscribe.core.guard import GuardPolicy
    from channelscribe.core.settings import first_problem

    try:
        return GuardPolicy(temp_c=temp_c, power_w=power_w)
    except ValidationError as error:
        raise UsageError(first_problem(error), code="bad_guard") from error


def _plain(found: Backtest) -> dict[str, Any]:
    rows = [{k: v for k, v in dataclasses.asdict(row).items() if k != "curve"} for row in found.rows]
    return {**dataclasses.asdict(found), "rows": rows}


def _show(session: Session, found: Backtest) -> None:
    from rich.table import Table

    title = f"{found.name}: {found.about} Ceiling {found.ceiling_c:g} °C, {found.duration_s / 3600:.1f} h."
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column("policy", no_wrap=True)
    for name in ("work/s", "of allowed", "max °C", "s above", "over °C", "swing °C", "pauses", "held s", "kJ/work min"):
        table.add_column(name, justify="right")
    for row in found.rows:
        table.add_row(*_cells(row))
    session.results.print(table)
    if not found.closed_loop:
        session.results.print("A trace does not answer back: 'work/s' is the share of time that a policy would allow.")


def _cells(row: Row) -> list[str]:
    stopped = f" ({row.stopped})" if row.stopped else ""
    return [
        row.name + stopped,
        f"{row.throughput:.3f}",
        "" if row.of_allowed is None else f"{row.of_allowed:.0%}",
        f"{row.max_c:.1f}",
        f"{row.above_s:.0f}",
        f"{row.above_c:.1f}",
        f"{row.swing_c:.1f}",
        f"{row.pauses}",
        f"{row.held_s:.0f}",
        "" if row.kj_per_work_minute is None else f"{row.kj_per_work_minute:.1f}",
    ]


def _write(path: Path, found: list[Backtest]) -> None:
    from channelscribe.core.errors import UsageError

    try:
        path.write_text(curves_svg(found), encoding="utf-8")
    except OSError as error:
        raise UsageError(f"The curves cannot be written to {path}: {error.strerror}.", code="bad_svg") from error


def curves_svg(found: list[Backtest]) -> str:
    """One panel per backtest: temperature over time of every policy, and the ceiling."""
    wide, high, left = 960, 300, 50
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {high * len(found)}" '
        f'font-family="sans-serif" font-size="12"><rect width="100%" height="100%" fill="#fff"/>'
    ]
    for index, one in enumerate(found):
        parts.append(f'<g transform="translate({left},{index * high + 24})">{_panel(one, 680, high - 60)}</g>')
    return "".join(parts) + "</svg>\n"


def _panel(found: Backtest, wide: int, high: int) -> str:
    from html import escape

    temps = [c for row in found.rows for _, c in row.curve] or [found.ceiling_c]
    low, top = min(*temps, found.ceiling_c) - 2, max(*temps, found.ceiling_c) + 2
    across, up = wide / max(found.duration_s, 1e-9), high / (top - low)
    line = high - (found.ceiling_c - low) * up
    parts = [
        f'<text y="-8" font-weight="bold">{escape(found.name)}</text>',
        f'<line x2="{wide}" y1="{line:.1f}" y2="{line:.1f}" stroke="#c5221f" stroke-dasharray="6 4"/>',
        f'<text x="-8" y="{line + 4:.1f}" text-anchor="end">{found.ceiling_c:g} °C</text>',
    ]
    for i, row in enumerate(found.rows):
        color = _COLORS[i % len(_COLORS)]
        points = " ".join(f"{at * across:.1f},{high - (c - low) * up:.1f}" for at, c in row.curve)
        parts.append(f'<polyline points="{points}" fill="none" stroke="{color}" stroke-opacity="0.8"/>')
        parts.append(f'<text x="{wide + 12}" y="{i * 18 + 12}" fill="{color}">{escape(row.name)}</text>')
    return "".join(parts)

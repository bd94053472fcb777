"""How a card looks in a terminal: bars, zone and cause, throttle reasons, processes, and curves of the last minutes.

Pure: what is known goes in, something that rich can print comes out. The curves are uniplot's (braille dots).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from channelscribe.core.curve import THROTTLE_WORDS, THROTTLING, Ceilings, Moment
from channelscribe.core.gpu import Card, GpuProcess, GpuSample, Reading, Zone
from channelscribe.core.guard import GIB
from channelscribe.export.curves import Track

ZONE_STYLES = {Zone.RUN: "green", Zone.SLOW: "yellow", Zone.PAUSE: "blue", Zone.STOP: "red"}
NEAR = 0.93  # of a ceiling, from which a bar is yellow
BAR_WIDTH = 30
CURVE_HEIGHT = 6
MOST_PROCESSES = 6


@dataclass(frozen=True)
class View:
    """All that one picture of the terminal shows. `doing` says whose decision and load it is, `held_to` what the
    guard holds this GPU to."""

    card: Card
    reading: Reading
    moments: Sequence[Moment]
    ceilings: Ceilings
    doing: str
    held_to: str = ""


def draw(view: View, width: int) -> RenderableType:
    """The whole view, at most `width` columns wide."""
    sample = view.reading.sample
    parts: list[RenderableType] = [_zone(view.reading), Text(view.doing, style="dim")]
    parts += [Text(f"ceilings: {view.held_to}", style="dim")] if view.held_to else []
    parts += [Text("")]
    parts += [_bars(view), Text(""), *curves(view.moments, view.ceilings, width - 4)]
    if sample.processes:
        parts.append(_processes(sample.processes))
    if sample.errors:
        parts.append(Text("cannot be read: " + ", ".join(sample.errors), style="yellow"))
    driver = f", driver {view.card.driver}" if view.card.driver else ""
    return Panel(Group(*parts), title=escape(f"{view.card.name}{driver}"), subtitle=escape(view.card.uuid), width=width)


def curves(moments: Sequence[Moment], ceilings: Ceilings, width: int) -> list[RenderableType]:
    """Temperature and power over time."""
    return [
        *_curve(moments, "temperature, °C", lambda m: m.temp_c, (20.0, 150.0), width, ceilings.temp_c),
        *_curve(moments, "power, W", lambda m: m.power_w, (0.0, 10_000.0), width, ceilings.power_w),
    ]


def _zone(reading: Reading) -> RenderableType:
    decision, sample = reading.decision, reading.sample
    if sample.lost:
        return Text(" THE CARD IS LOST ", style="bold white on red")
    line = Text(f" {decision.zone.upper()} ", style=f"bold white on {ZONE_STYLES[decision.zone]}")
    line.append(f"  {decision.reason}" if decision.reason else "  nothing holds the work", style="default")
    return line


def _bars(view: View) -> Table:
    sample, top, load = view.reading.sample, view.ceilings, view.reading.load
    table = Table.grid(padding=(0, 1))
    own = f" (own limit {sample.slowdown_c:.0f})" if sample.slowdown_c else ""
    _bar(table, "temperature", sample.temp_c, top.temp_c or sample.slowdown_c, "{:.0f} °C", own)
    _bar(table, "memory chips", sample.mem_temp_c, None, "{:.0f} °C")
    _bar(table, "power", sample.power_w, sample.limit_w or top.power_w, "{:.0f} W")
    _bar(table, "at work", 100 * load.busy_share, 100.0, "{:.0f} %", f" {load.stage}, {load.batch} windows", calm=True)
    memory = _gib(top.memory_bytes or sample.mem_total_bytes)
    _bar(table, "memory", _gib(sample.mem_used_bytes), memory, "{:.1f} GiB")
    _bar(table, "fan", sample.fan_percent, 100.0, "{:.0f} %", calm=True)
    _bar(table, "clock", sample.sm_clock_mhz, sample.sm_clock_max_mhz, "{:.0f} MHz", _reasons(sample), calm=True)
    return table


def _bar(
    table: Table, name: str, value: float | None, top: float | None, form: str, note: str = "", *, calm: bool = False
) -> None:
    if value is None:
        table.add_row(name, Text("not reported", style="dim"), "", Text(note, style="dim"))
        return
    share = value / top if top else 0.0
    style = "green" if calm or share < NEAR else "yellow" if share <= 1 else "red"
    bar = ProgressBar(total=1.0, completed=min(1.0, max(0.0, share)), width=BAR_WIDTH, complete_style=style)
    bar.finished_style = style
    of = f" of {form.format(top)}" if top else ""
    table.add_row(name, bar if top else "", form.format(value) + of, Text(note.strip(), style="dim"))


def _reasons(sample: GpuSample) -> str:
    """In words why the clock is not higher."""
    if sample.throttle_mask is None:
        return "reasons not reported"
    words = [word for bit, word in THROTTLE_WORDS.items() if sample.throttle_mask & bit]
    throttled = "throttled: " if sample.throttle_mask & THROTTLING else ""
    return throttled + (", ".join(words) or "free")


def _processes(processes: Sequence[GpuProcess]) -> Table:
    table = Table("pid", "process", "memory", "whose", box=None, header_style="dim", pad_edge=False)
    for process in sorted(processes, key=lambda p: -(p.used_bytes or 0))[:MOST_PROCESSES]:
        whose = {True: "channelscribe", False: "another program", None: "unknown"}[process.ours]
        size = _gib(process.used_bytes)
        table.add_row(str(process.pid), escape(process.name), "?" if size is None else f"{size:.1f} GiB", whose)
    return table


def _curve(
    moments: Sequence[Moment],
    title: str,
    value: Callable[[Moment], float | None],
    within: tuple[float, float],
    width: int,
    ceiling: float | None,
) -> list[RenderableType]:
    from uniplot import plot_to_string

    track = Track.of(moments, max(20, width))
    points = [p for p in track.line(value, *within) if p.value is not None] if track else []
    if len(points) < 2 or track is None:
        return [Text(f"{title}: no curve yet" if not moments else f"{title}: not reported", style="dim")]
    known = [p.value for p in points if p.value is not None]
    unit_s, unit = (60.0, "min") if track.seconds >= 120 else (1.0, "s")
    drawn = plot_to_string(
        ys=known,
        xs=[p.at_s / unit_s for p in points],
        lines=True,
        width=max(20, width - 12),
        height=CURVE_HEIGHT,
        character_set="braille",
        color=False,
        y_min=min(known) - 2,
        y_max=max([*known, ceiling or 0.0]) + 2,
        y_gridlines=[ceiling] if ceiling else [],
        x_unit=f" {unit}",
    )
    head = f"{title}, highest {max(known):.0f}" + (f", ceiling {ceiling:.0f}" if ceiling else "")
    return [Text(head, style="bold"), Text(drawn.rstrip("\n"), no_wrap=True)]


def _gib(size: int | None) -> float | None:
    return None if size is None else size / GIB

"""The picture of a card over a run: temperature, power, work and memory with their ceilings, zones and pauses, as SVG.

Pure: moments in, text out; shown on the run's page, in the notebook and in files. Drawn by hand, since the libraries
that draw SVG are either heavy (matplotlib, plotly: tens of MB and text as outlines) or no longer kept (svgwrite).
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from channelscribe.core.curve import NO_CEILINGS, Ceilings, Moment
from channelscribe.core.gpu import Zone
from channelscribe.export.curves import Point, Stretch, Track, Value
from channelscribe.export.svg import (
    LEFT,
    PANEL,
    RIGHT,
    WIDTH,
    Scale,
    across,
    area,
    axis,
    document,
    duration,
    grid,
    path,
    safe,
    stroke,
    text,
)

TOP, GAP, BOTTOM = 58, 26, 52
BUCKETS = 300
MOST_LABELS = 10
GIB = 1024**3
_TIME_STEPS_S = (1, 5, 10, 30, 60, 300, 600, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400)


@dataclass(frozen=True)
class Panel:
    """One curve over time. `most` is what no card exceeds; `floor` the least top of the axis."""

    title: str
    unit: str
    value: Value
    colour: str
    most: float
    floor: float
    peaks: bool = True
    filled: str = ""
    second: Value | None = None
    second_title: str = ""
    least: float = 0.0
    begins: float = 0.0


_TEMPERATURE = Panel(
    "Temperature",
    "°C",
    lambda m: m.temp_c,
    "a",
    150,
    60,
    second=lambda m: m.mem_temp_c,
    second_title="memory chips",
    least=-20,
    begins=20,
)
_POWER = Panel("Power", "W", lambda m: m.power_w, "b", 10_000, 100)
_BUSY = Panel(
    "At work",
    "%",
    lambda m: 100.0 * m.busy_share,
    "c",
    100,
    100,
    peaks=False,
    filled="f",
    second=lambda m: m.util_gpu_percent,
    second_title="as the card counts it",
)
_MEMORY = Panel(
    "Memory",
    "GiB",
    lambda m: None if m.mem_used_bytes is None else m.mem_used_bytes / GIB,
    "d",
    4096,
    1,
    filled="h",
)


def gpu_chart(moments: Iterable[Moment], ceilings: Ceilings = NO_CEILINGS, *, title: str = "") -> str:
    """SVG of one card's moments, in any order; at most about 60 kB for any length. Says so where there are none."""
    track = Track.of(sorted(moments, key=lambda m: m.at), BUCKETS)
    if track is None:
        return document(90, [text(LEFT, 50, "No reading of a card was taken.", "q")])
    panels = [(_TEMPERATURE, _temperature_lines(track, ceilings)), (_POWER, _power_lines(track, ceilings))]
    panels += [(_BUSY, []), (_MEMORY, _memory_lines(track, ceilings))]
    bottom = TOP + len(panels) * (PANEL + GAP) - GAP
    stretches = track.stretches()
    body = [
        *_heading(track, title),
        *_legend(stretches, bottom),
        *_bands(track, stretches, bottom),
        *_pauses(track, stretches),
    ]
    for place, (panel, limits) in enumerate(panels):
        body += _panel(track, panel, limits, TOP + place * (PANEL + GAP))
    return document(bottom + BOTTOM, [*body, *_time_axis(track, bottom)])


def data_uri(svg: str) -> str:
    """The picture as an address that markdown can show; inline SVG is taken out of Prefect's artifacts."""
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()


def _temperature_lines(track: Track, ceilings: Ceilings) -> list[tuple[str, float]]:
    own = next((m.slowdown_c for m in track.moments if m.slowdown_c is not None), None)
    return _limits(("ceiling", ceilings.temp_c), ("the card's own limit", own), most=150)


def _power_lines(track: Track, ceilings: Ceilings) -> list[tuple[str, float]]:
    limit = next((m.limit_w for m in reversed(track.moments) if m.limit_w is not None), None)
    return _limits(("ceiling", ceilings.power_w), ("the card's limit", limit), most=10_000)


def _memory_lines(track: Track, ceilings: Ceilings) -> list[tuple[str, float]]:
    total = next((m.mem_total_bytes for m in track.moments if m.mem_total_bytes is not None), None)
    named = (("budget", ceilings.memory_bytes), ("card", total))
    return _limits(*((name, None if size is None else size / GIB) for name, size in named), most=4096)


def _limits(*named: tuple[str, float | None], most: float) -> list[tuple[str, float]]:
    return [(name, value) for name, value in named if value is not None and 0 < value <= most]


def _panel(track: Track, panel: Panel, limits: Sequence[tuple[str, float]], top: float) -> list[str]:
    line = track.line(panel.value, panel.least, panel.most, peaks=panel.peaks)
    second = track.line(panel.second, panel.least, panel.most, peaks=False) if panel.second else []
    known = [p.value for p in (*line, *second) if p.value is not None]
    step, highest = axis(max([panel.floor, *known, *(limit for _, limit in limits)]))
    lowest = min([panel.begins, *known])
    scale = Scale(track.seconds, lowest, highest, top)
    parts = [text(LEFT, top - 7, _panel_title(panel, line, second), "t")]
    parts += grid(scale, step)
    parts += _limit_lines(scale, limits)
    if not any(p.value is not None for p in line):
        return [*parts, text(LEFT + 8, top + PANEL / 2, "not reported by this card", "q")]
    if panel.filled:
        parts.append(path(area(scale, line), panel.filled))
    if any(p.value is not None for p in second):
        parts.append(path(stroke(scale, second), f"o {panel.colour}"))
    return [*parts, path(stroke(scale, line), f"n {panel.colour}")]


def _panel_title(panel: Panel, line: Sequence[Point], second: Sequence[Point]) -> str:
    known = [p.value for p in line if p.value is not None]
    digits = 1 if panel.unit == "GiB" else 0
    peak = f", at most {max(known):.{digits}f} {panel.unit}" if known and panel is not _BUSY else ""
    thin = f" (thin: {panel.second_title})" if any(p.value is not None for p in second) else ""
    return f"{panel.title}, {panel.unit}{peak}{thin}" if not peak else f"{panel.title}{peak}{thin}"


def _limit_lines(scale: Scale, limits: Sequence[tuple[str, float]]) -> list[str]:
    parts, last_y = [], -100.0
    for name, value in sorted(limits, key=lambda pair: -pair[1]):
        y = scale.y(value)
        parts.append(f'<path class="k" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>')
        beside = y + 12 if abs(y - last_y) < 14 else y - 4
        parts.append(text(WIDTH - RIGHT - 4, beside, f"{name} {value:.4g}", "e", "end"))
        last_y = y
    return parts


def _bands(track: Track, stretches: Sequence[Stretch], bottom: int) -> list[str]:
    parts = []
    for zone in (Zone.SLOW, Zone.PAUSE, Zone.STOP):
        boxes = []
        for s in stretches:
            if s.zone is zone:
                x = across(track.seconds, s.begin_s)
                width = max(1.0, across(track.seconds, s.end_s) - x)
                boxes.append(f"M{x:.1f} {TOP}h{width:.1f}V{bottom}h-{width:.1f}z")
        if boxes:
            parts.append(path("".join(boxes), str(zone)))
    between = range(TOP + PANEL, bottom, PANEL + GAP) if parts else ()
    return parts + [f'<rect class="g" y="{y}" width="100%" height="{GAP}"/>' for y in between]


def _pauses(track: Track, stretches: Sequence[Stretch]) -> list[str]:
    """The cause of each pause above it, where there is room; the first ones win."""
    parts: list[str] = []
    free_from = 0.0
    for s in stretches:
        x, word = across(track.seconds, s.begin_s), str(s.cause).replace("_", " ")
        x = min(x, WIDTH - RIGHT - 7.0 * len(word))
        if s.zone in (Zone.PAUSE, Zone.STOP) and x >= free_from and len(parts) < MOST_LABELS:
            parts.append(text(x, TOP - 22, word, "t"))
            free_from = x + 7.0 * len(word) + 6
    return parts


def _heading(track: Track, title: str) -> list[str]:
    begin = track.begin.strftime("%Y-%m-%d %H:%M UTC")
    return [
        f'<text class="t" x="{LEFT}" y="20" font-size="14" font-weight="600">{safe(title or "Graphics card")}</text>',
        text(WIDTH - RIGHT, 20, f"from {begin}, {duration(track.seconds)}", "q", "end"),
    ]


def _legend(stretches: Sequence[Stretch], bottom: int) -> list[str]:
    parts, x = list[str](), LEFT
    for zone in (Zone.SLOW, Zone.PAUSE, Zone.STOP):
        if any(s.zone is zone for s in stretches):
            parts.append(f'<rect class="{zone}" x="{x}" y="{bottom + 30}" width="12" height="12"/>')
            parts.append(text(x + 17, bottom + 40, str(zone), "q"))
            x += 66
    return parts


def _time_axis(track: Track, bottom: float) -> list[str]:
    step_s = next((s for s in _TIME_STEPS_S if track.seconds / s <= 10), track.seconds / 10)
    marks = [step_s * i for i in range(int(track.seconds / step_s) + 1)]
    parts = [f'<path class="l" d="M{across(track.seconds, s):.1f} {bottom}v5"/>' for s in marks]
    return parts + [text(across(track.seconds, s), bottom + 19, duration(s), "q", "middle") for s in marks]

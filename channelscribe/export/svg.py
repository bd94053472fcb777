"""The strokes of a chart: scales, lines, areas, texts and the document around them, as SVG text.

Below gpu_chart.py, which knows what is drawn; here nothing is known of cards.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from channelscribe.export.curves import Point

WIDTH, LEFT, RIGHT = 960, 52, 14
PANEL = 96
_STEPS = (1, 2, 5, 10, 20, 25, 50, 100, 200, 250, 500, 1000, 2000, 5000)
# Its own ground in both schemes, so that it can be read wherever it is put.
_STYLE = """
svg{font:12px system-ui,sans-serif}.g{fill:#fff}.t{fill:#1c2733}.q{fill:#5a6775}.l{stroke:#d9dfe5}
.a{stroke:#c2410c}.b{stroke:#7c3aed}.c{stroke:#0f766e}.d{stroke:#1d4ed8}.f{fill:#0f766e}.h{fill:#1d4ed8}
.k{stroke:#b91c1c}.slow{fill:#f59e0b}.pause{fill:#0284c7}.stop{fill:#dc2626}
.n{fill:none;stroke-width:1.5;stroke-linejoin:round}.o{fill:none;stroke-width:1;stroke-opacity:.6}
.k{fill:none;stroke-dasharray:5 4}.f,.h{fill-opacity:.16}.slow,.pause,.stop{fill-opacity:.2}
.e{fill:#5a6775;stroke:#fff;stroke-width:3px;paint-order:stroke}
@media (prefers-color-scheme:dark){.g{fill:#12181f}.t{fill:#e6ebf0}.q{fill:#9aa7b4}.l{stroke:#2b3642}
.a{stroke:#fb923c}.b{stroke:#c4b5fd}.c{stroke:#5eead4}.d{stroke:#93c5fd}.f{fill:#5eead4}.h{fill:#93c5fd}
.k{stroke:#f87171}.e{fill:#9aa7b4;stroke:#12181f}}
"""


@dataclass(frozen=True)
class Scale:
    seconds: float
    lowest: float
    highest: float
    top: float

    def x(self, at_s: float) -> float:
        return across(self.seconds, at_s)

    def y(self, value: float) -> float:
        share = (value - self.lowest) / (self.highest - self.lowest)
        return self.top + PANEL * (1.0 - share)


def across(seconds: float, at_s: float) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * min(1.0, max(0.0, at_s / seconds))


def axis(highest: float) -> tuple[float, float]:
    """The step of the grid, three or so to a panel, and the top of the axis."""
    step = float(next((s for s in _STEPS if highest / s <= 4), _STEPS[-1]))
    return step, step * math.ceil(highest / step - 1e-9)


def grid(scale: Scale, step: float) -> list[str]:
    parts = []
    for place in range(int(scale.lowest // step), int(scale.highest // step) + 1):
        y = scale.y(place * step)
        if scale.top - 1 <= y <= scale.top + PANEL + 1:
            parts.append(f'<path class="l" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>')
            parts.append(text(LEFT - 6, y + 4, f"{place * step:g}", "q", "end"))
    return parts


def stroke(scale: Scale, points: Sequence[Point]) -> str:
    parts, pen = [], "M"
    for p in points:
        if p.value is None:
            pen = "M"
            continue
        parts.append(f"{pen}{scale.x(p.at_s):.1f} {scale.y(p.value):.1f}")
        if pen == "M":
            parts.append("h.1")  # a point without neighbours is seen too
        pen = "L"
    return "".join(parts)


def area(scale: Scale, points: Sequence[Point]) -> str:
    parts, run, base = [], list[Point](), scale.y(max(0.0, scale.lowest))
    for p in [*points, Point(0.0, None)]:
        if p.value is not None:
            run.append(p)
        elif run:
            parts.append(f"M{scale.x(run[0].at_s):.1f} {base:.1f}")
            parts += [f"L{scale.x(q.at_s):.1f} {scale.y(q.value or 0.0):.1f}" for q in run]
            parts.append(f"V{base:.1f}Z")
            run = []
    return "".join(parts)


def duration(seconds: float) -> str:
    minutes, left = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}:{minutes:02d} h" if minutes else f"{hours} h"
    if minutes:
        return f"{minutes}:{left:02d} min" if left else f"{minutes} min"
    return f"{left} s"


def safe(text: str) -> str:
    return escape("".join(c for c in " ".join(text.split()) if c.isprintable())[:90])


def text(x: float, y: float, words: str, kind: str, anchor: str = "") -> str:
    place = f' text-anchor="{anchor}"' if anchor else ""
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}"{place}>{safe(words)}</text>'


def path(shape: str, kind: str) -> str:
    return f'<path class="{kind}" d="{shape}"/>'


def document(height: float, body: Sequence[str]) -> str:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" width="{WIDTH}">'
    style = "<style>" + "".join(_STYLE.split("\n")) + "</style>"
    return "".join([head, style, '<rect class="g" width="100%" height="100%" rx="6"/>', *body, "</svg>\n"])

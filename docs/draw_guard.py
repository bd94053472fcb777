"""Draws docs/guard.svg, the state machine of channelscribe/gpu/policy.py.

Run by hand after the policy has changed: `python docs/draw_guard.py`.
"""

from __future__ import annotations

from html import escape
from pathlib import Path

STYLE = """
.page{fill:#ffffff}.ink{fill:#202124}.soft{fill:#5f6368}.line{stroke:#5f6368;fill:none;stroke-width:1.6}
.head{fill:#5f6368}.run{fill:#e6f4ea;stroke:#188038}.slow{fill:#fef7e0;stroke:#e37400}
.pause{fill:#e8f0fe;stroke:#1a73e8}.stop{fill:#fce8e6;stroke:#c5221f}
@media(prefers-color-scheme:dark){.page{fill:#17191c}.ink{fill:#e8eaed}.soft{fill:#9aa0a6}
.line{stroke:#9aa0a6}.head{fill:#9aa0a6}.run{fill:#0d2b17;stroke:#81c995}.slow{fill:#33260a;stroke:#fdd663}
.pause{fill:#0f2542;stroke:#8ab4f8}.stop{fill:#3a1512;stroke:#f28b82}}
"""
WIDE, HIGH, TOP, BOX, TALL = 1120, 470, 150, 200, 130
ZONES = (
    ("run", "RUN", ("full duty", "full batches")),
    ("slow", "SLOW", ("duty 10 to 100 %", "smaller batches, collection,", "or a power cap (opt-in)")),
    ("pause", "PAUSE", ("the step in flight ends,", "the next one waits;", "nothing is lost")),
    ("stop", "STOP", ("the run ends, final;", "a retry goes on after the", "last finished window")),
)
WORSE = (
    ("70 °C, or 15 °C headroom", "memory over budget, leak"),
    ("75 °C now or by the next sample", "power, throttling, blind, stranger"),
    ("3 °C headroom, XID, lost,", "stall, throttling without work"),
)
CALMER = (
    ("under 69 °C at full duty,", "after the dwell (5 s)"),
    ("at 70 °C and 13 °C headroom,", "after the dwell (5 s)"),
)


def left(index: int) -> int:
    return 30 + index * (BOX + 86)


def text(x: float, y: float, words: str, kind: str = "ink", size: int = 13, bold: bool = False) -> str:
    weight = ' font-weight="600"' if bold else ""
    return (
        f'<text class="{kind}" x="{x}" y="{y}" font-size="{size}" text-anchor="middle"{weight}>{escape(words)}</text>'
    )


def zone(index: int, kind: str, name: str, lines: tuple[str, ...]) -> str:
    x = left(index)
    middle = x + BOX / 2
    box = f'<rect class="{kind}" x="{x}" y="{TOP}" width="{BOX}" height="{TALL}" rx="12" stroke-width="2"/>'
    said = "".join(text(middle, TOP + 62 + 19 * i, line) for i, line in enumerate(lines))
    return box + text(middle, TOP + 34, name, size=18, bold=True) + said


def arc(begin: float, end: float, y: float, bend: float) -> str:
    """An arrow over (bend < 0) or under the boxes."""
    return (
        f'<path class="line" marker-end="url(#head)" '
        f'd="M{begin},{y} C{begin},{y + bend} {end},{y + bend} {end},{y + (-4 if bend < 0 else 4)}"/>'
    )


def worse(index: int, lines: tuple[str, str]) -> str:
    begin, end = left(index) + BOX * 0.72, left(index + 1) + BOX * 0.28
    middle = (begin + end) / 2
    return arc(begin, end, TOP, -58) + text(middle, TOP - 70, lines[0]) + text(middle, TOP - 53, lines[1])


def calmer(index: int, lines: tuple[str, str]) -> str:
    begin, end = left(index + 1) + BOX * 0.28, left(index) + BOX * 0.72
    middle, y = (begin + end) / 2, TOP + TALL
    return arc(begin, end, y, 58) + text(middle, y + 64, lines[0]) + text(middle, y + 81, lines[1])


def picture() -> str:
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDE} {HIGH}" role="img" '
        'font-family="system-ui, Segoe UI, Helvetica, Arial, sans-serif">',
        "<title>The four zones of the GPU guard</title>",
        f"<style>{STYLE}</style>",
        '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
        '<path class="head" d="M0,0 L8,4 L0,8 z"/></marker></defs>',
        f'<rect class="page" width="{WIDE}" height="{HIGH}"/>',
        text(WIDE / 2, 34, "A safer zone is entered at once, over any zone between", "soft", 14),
    ]
    parts += [zone(i, *z) for i, z in enumerate(ZONES)]
    parts += [worse(i, lines) for i, lines in enumerate(WORSE)]
    parts += [calmer(i, lines) for i, lines in enumerate(CALMER)]
    parts += [
        text(WIDE / 2, HIGH - 62, "A calmer zone is entered only after the least time in the present one", "soft", 14),
        text(
            WIDE / 2,
            HIGH - 34,
            "Numbers: the defaults for the chip. Headroom is the distance to the card's own slowdown; "
            "the stricter of ceiling and headroom counts.",
            "soft",
            12,
        ),
    ]
    return "".join(parts) + "</svg>\n"


if __name__ == "__main__":
    Path(__file__).with_name("guard.svg").write_text(picture(), encoding="utf-8")

"""GPU figures: the totals of a run's card as people read them, and the picture with its table as one page.

Behind metrics.py; before the artifact of the run's page, the report, the terminal and the notebook.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from channelscribe.core.curve import Ceilings, Moment
from channelscribe.core.guard import GIB
from channelscribe.export.gpu_chart import data_uri, gpu_chart
from channelscribe.metrics import GpuTotals, by_card, totals

UNKNOWN = "not reported"


def ceilings(guard: Mapping[str, Any] | None) -> Ceilings:
    """What the policy of a run limits, from the policy as `runs/` keeps it; none of a guard that was off, nor where 0
    stands for a figure of the GPU that is not known here."""
    known = guard if guard and guard.get("enabled", True) else {}
    gib = _number(known.get("vram_budget_gib"))
    memory = int(gib * GIB) if gib else None
    return Ceilings(_number(known.get("temp_c")), _number(known.get("power_w")) or None, memory)


def figure_rows(found: GpuTotals, audio_s: float) -> list[tuple[str, str]]:
    """Name and value of each figure, in the order in which they are shown."""
    per_joule = found.audio_s_per_joule(audio_s)
    return [
        ("temperature, highest and mean", _both(found.peak_temp_c, found.mean_temp_c, "°C")),
        ("power, mean", _said(found.mean_power_w, "{:.0f} W")),
        ("energy", _energy(found.energy_j)),
        ("sound transcribed per joule", _said(per_joule, "{:.3g} s")),
        ("at work", _said(found.busy_share, "{:.0%}")),
        ("memory, highest", _said(found.peak_memory_bytes and found.peak_memory_bytes / GIB, "{:.1f} GiB")),
        ("throttled by the card", _said(found.throttled_s, "{:.0f} s")),
        ("paused by the guard", _paused(found)),
        ("slowed by the guard", _said(found.slowed_s, "{:.0f} s")),
    ]


def price(energy_j: float, price_per_kwh: float) -> str:
    """What this energy costs, in the currency of the price."""
    return f"{energy_j / 3.6e6 * price_per_kwh:,.4f} at {price_per_kwh:g} a kWh, the card alone"


def gpu_line(found: GpuTotals, audio_s: float, price_per_kwh: float | None = None) -> str:
    """The figures in one sentence; with the money where a price is known."""
    if not found.samples:
        return "No card was watched."
    parts = [
        f"at most {_said(found.peak_temp_c, '{:.0f} °C')}",
        _energy(found.energy_j) if found.energy_j is not None else f"energy {UNKNOWN}",
        f"at work {_said(found.busy_share, '{:.0%}')} of the time",
        f"paused {_paused(found)}",
    ]
    if price_per_kwh is not None and found.energy_j is not None:
        parts.insert(2, f"money {price(found.energy_j, price_per_kwh)}")
    per_joule = found.audio_s_per_joule(audio_s)
    return ", ".join(parts) + (f", {per_joule:.3g} s of sound per joule." if per_joule is not None else ".")


def gpu_page(moments: Sequence[Moment], limits: Ceilings, audio_s: float, title: str = "") -> str:
    """Markdown: the picture of each card, and the table."""
    pictures = [
        f"![GPU]({data_uri(gpu_chart(own, limits, title=title or f'card {uuid}'))})"
        for uuid, own in by_card(moments).items()
    ]
    rows = [f"| {name} | {value} |" for name, value in figure_rows(totals(moments), audio_s)]
    return "\n".join([*(pictures or ["No reading of a card was taken yet."]), "", "| | |", "|---|---:|", *rows]) + "\n"


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _said(value: float | None, form: str) -> str:
    return UNKNOWN if value is None else form.format(value)


def _both(peak: float | None, mean: float | None, unit: str) -> str:
    if peak is None:
        return UNKNOWN
    return f"{peak:.0f} {unit}" + (f", {mean:.0f} {unit}" if mean is not None else "")


def _energy(joules: float | None) -> str:
    if joules is None:
        return UNKNOWN
    return f"{joules:.0f} J" if joules < 36_000 else f"{joules / 3.6e6:.2f} kWh"


def _paused(found: GpuTotals) -> str:
    if found.paused_s is None:
        return UNKNOWN
    times = f" in {found.pauses} pause{'s' * (found.pauses != 1)}" if found.pauses else ""
    return f"{found.paused_s:.0f} s{times}"

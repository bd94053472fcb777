"""Budgets: whether what an archive's runs took has passed what its operator allows, of electricity and of quota.

Looked at when a run ends, from `runs/` alone; `tasks/alarms.py` tells of what is passed. Nothing is stopped by it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, time

from channelscribe.core.model import Run
from channelscribe.youtube.keys import PACIFIC

_J_PER_KWH = 3_600_000


@dataclass(frozen=True, slots=True)
class Budget:
    """What may be used; None: as much as it takes. `kwh` a calendar month (UTC), `quota_units` a day of YouTube's."""

    kwh: float | None = None
    quota_units: int | None = None
    price_per_kwh: float | None = None


@dataclass(frozen=True, slots=True)
class Passed:
    """A budget that is used up. `what` is energy or quota."""

    what: str
    used: float
    allowed: float
    sentence: str


def passed(runs: Iterable[Run], budget: Budget, now: datetime) -> list[Passed]:
    """The budgets of which more is used than allowed. What no guard measured is not counted and not guessed."""
    known = list(runs)
    kwh, units = _kwh(known, now), quota_used(known, now)
    found = []
    if budget.kwh is not None and kwh > budget.kwh:
        money = "" if budget.price_per_kwh is None else f", {kwh * budget.price_per_kwh:.2f} in money"
        said = f"The cards took {kwh:.3g} kWh in {now.astimezone(UTC):%B %Y}{money}; {budget.kwh:g} kWh are allowed."
        found.append(Passed("energy", kwh, budget.kwh, said))
    if budget.quota_units is not None and units > budget.quota_units:
        said = f"Runs of this archive used {units} units of YouTube's quota today; {budget.quota_units} are allowed."
        found.append(Passed("quota", units, budget.quota_units, said))
    return found


def quota_used(runs: Iterable[Run], now: datetime) -> int:
    """Units that runs recorded since midnight in Los Angeles, when YouTube begins a new day."""
    midnight = datetime.combine(now.astimezone(PACIFIC).date(), time(), PACIFIC)
    return sum(run.quota_units for run in runs if run.started_at >= midnight)


def _kwh(runs: Iterable[Run], now: datetime) -> float:
    first = now.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return sum(run.energy_j or 0.0 for run in runs if run.started_at >= first) / _J_PER_KWH

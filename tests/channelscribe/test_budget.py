"""Budgets against runs whose use is known: which months and days count, and what an operator is told."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from channelscribe.budget import Budget, passed, quota_used
from channelscribe.core.model import Run

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
KWH_J = 3.6e6


def ran(ago: timedelta, kwh: float | None = None, units: int = 0) -> Run:
    energy_j = None if kwh is None else kwh * KWH_J
    return Run("r", "", "@x", "Completed", {}, {}, NOW - ago, energy_j=energy_j, quota_units=units)


def test_only_this_month_and_what_was_measured_counts() -> None:
    runs = [ran(timedelta(days=1), 2.0), ran(timedelta(days=20, hours=11), 3.0), ran(timedelta(hours=1))]
    before = ran(timedelta(days=20, hours=13), 1000.0)
    assert passed([*runs, before], Budget(kwh=5.0), NOW) == []
    (over,) = passed([*runs, before], Budget(kwh=4.9, price_per_kwh=0.3), NOW)
    assert (over.what, over.used, over.allowed) == ("energy", pytest.approx(5.0), 4.9)
    assert over.sentence == "The cards took 5 kWh in November 2026, 1.50 in money; 4.9 kWh are allowed."


def test_a_day_of_quota_begins_at_midnight_in_los_angeles() -> None:
    midnight = NOW - datetime(2026, 11, 21, 8, tzinfo=UTC)
    runs = [ran(midnight, units=700), ran(midnight + timedelta(seconds=1), units=9000), ran(timedelta(0), units=5)]
    assert quota_used(runs, NOW) == 705
    (over,) = passed(runs, Budget(quota_units=704), NOW)
    assert over.sentence == "Runs of this archive used 705 units of YouTube's quota today; 704 are allowed."
    assert passed(runs, Budget(quota_units=705), NOW) == []


def test_without_a_budget_nothing_is_ever_passed() -> None:
    assert passed([ran(timedelta(0), 1e12, 10**9)], Budget(), NOW) == []
    assert [p.what for p in passed([ran(timedelta(0), 1.0, 1)], Budget(0.0, 0), NOW)] == ["energy", "quota"]
    assert passed([], Budget(0.0, 0), NOW) == []


@given(st.lists(st.tuples(st.integers(0, 60 * 24), st.floats(0, 100), st.integers(0, 500)), max_size=20))
def test_more_use_never_unpasses_a_budget(used: list[tuple[int, float, int]]) -> None:
    runs, said = [], set[str]()
    for hours, kwh, units in used:
        runs.append(ran(timedelta(hours=hours), kwh, units))
        now = {p.what for p in passed(runs, Budget(50.0, 300), NOW)}
        assert said <= now
        said = now

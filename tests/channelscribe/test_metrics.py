"""Totals of a run's readings: energy by the counter, time by intervals, nothing guessed and nothing counted twice."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from channelscribe.core.curve import Moment, moment
from channelscribe.core.gpu import Zone
from channelscribe.core.guard import GuardPolicy
from channelscribe.gpu_figures import ceilings, figure_rows, gpu_line, gpu_page
from channelscribe.metrics import GpuTotals, totals
from tests.channelscribe.cards import BEGIN, recorded


def at(second: float, **changes: object) -> Moment:
    made = Moment(BEGIN + timedelta(seconds=second), "GPU-a", 1000.0 + second)
    return replace(made, **changes)  # type: ignore[arg-type]


def test_no_reading_and_one_reading_have_no_totals_that_need_two() -> None:
    assert totals([]) == GpuTotals()
    one = totals([at(0, temp_c=61.0, energy_j=5.0, power_w=300.0)])
    assert (one.samples, one.seconds, one.peak_temp_c) == (1, 0.0, 61.0)
    assert (one.energy_j, one.mean_power_w, one.busy_share, one.mean_temp_c) == (None, None, None, None)


def test_energy_is_the_difference_of_the_counter_whatever_the_watts_say() -> None:
    found = totals([at(s, energy_j=1_000_000.0 + 250.0 * s, power_w=400.0) for s in range(11)])
    assert found.energy_j == pytest.approx(2500.0)
    assert found.mean_power_w == pytest.approx(250.0)
    assert found.audio_s_per_joule(5000.0) == pytest.approx(2.0)


def test_a_counter_that_began_anew_counts_from_there() -> None:
    counter = [1000.0, 1300.0, 20.0, 320.0]
    assert totals([at(s, energy_j=j) for s, j in enumerate(counter)]).energy_j == pytest.approx(300 + 20 + 300)


def test_a_counter_that_is_silent_for_a_while_loses_nothing() -> None:
    moments = [at(s, energy_j=None if 3 <= s <= 6 else 300.0 * s, power_w=9000.0) for s in range(11)]
    assert totals(moments).energy_j == pytest.approx(3000.0)


@pytest.mark.parametrize("wild", [1e300, math.nan, math.inf, -7.0])
def test_a_counter_that_jumps_is_not_believed(wild: float) -> None:
    moments = [at(s, energy_j=wild if s == 5 else 300.0 * s) for s in range(11)]
    assert 0 <= (totals(moments).energy_j or 0.0) <= 3000.0


def test_without_a_counter_watts_are_added_up() -> None:
    assert totals([at(s, power_w=200.0) for s in range(11)]).energy_j == pytest.approx(2000.0)
    assert totals([at(s, power_w=math.nan) for s in range(11)]).energy_j is None
    assert totals([at(s) for s in range(11)]).energy_j is None


def test_what_others_burnt_between_two_attempts_is_not_this_runs() -> None:
    """A Retry is a new process hours later; the card's counter went on."""
    first = [at(s, energy_j=300.0 * s, zone=Zone.PAUSE, busy_share=1.0) for s in range(11)]
    second = [at(7200 + s, energy_j=9e6 + 100.0 * s, busy_share=0.5) for s in range(11)]
    found = totals([*first, *second])
    assert found.energy_j == pytest.approx(3000 + 1000)
    assert found.seconds == pytest.approx(20)
    assert found.paused_s == pytest.approx(10)
    assert found.busy_share == pytest.approx(0.75)
    assert found.pauses == 1


def test_zones_throttling_and_peaks() -> None:
    zones = [Zone.RUN, Zone.SLOW, Zone.PAUSE, Zone.PAUSE, Zone.RUN, Zone.PAUSE, Zone.RUN]
    moments = [
        at(2 * n, zone=zone, throttle_mask=0x24 if n < 2 else 0x5, temp_c=60.0 + n, mem_used_bytes=n << 30)
        for n, zone in enumerate(zones)
    ]
    found = totals(moments)
    assert (found.slowed_s, found.paused_s, found.pauses, found.throttled_s) == (2.0, 6.0, 2, 4.0)
    assert (found.peak_temp_c, found.peak_memory_bytes) == (66.0, 6 << 30)
    assert totals([at(0), at(1)]).throttled_s is None


def test_the_cards_own_counter_sees_throttling_between_samples() -> None:
    moments = [at(n, throttle_mask=0, thermal_violation_s=50.0 + 0.3 * n) for n in range(11)]
    assert totals(moments).throttled_s == pytest.approx(3.0)


def test_two_cards_add_up_and_order_does_not_matter() -> None:
    one = [at(s, energy_j=300.0 * s) for s in range(11)]
    other = [replace(m, uuid="GPU-b", energy_j=5e6 + 100.0 * s) for s, m in enumerate(one)]
    mixed = [*one, *other]
    random.Random(1).shuffle(mixed)
    found = totals(mixed)
    assert found.energy_j == pytest.approx(4000.0)
    assert found.cards == ("GPU-a", "GPU-b")
    assert found == totals([*one, *other])


def test_a_simulated_run_agrees_with_its_own_counter() -> None:
    readings = recorded("demo", 60)
    found = totals(map(moment, readings))
    spent = (readings[-1].sample.energy_j or 0.0) - (readings[0].sample.energy_j or 0.0)
    assert found.energy_j == pytest.approx(spent)
    assert found.pauses
    assert found.paused_s
    assert found.peak_temp_c == max(r.sample.temp_c or 0.0 for r in readings)


wild = st.none() | st.floats() | st.sampled_from([0.0, -1.0, 1e308])
moments_of_all_kinds = st.builds(
    Moment,
    at=st.integers(0, 10**7).map(lambda s: BEGIN + timedelta(seconds=s)),
    uuid=st.sampled_from(["a", "b", ""]),
    monotonic_s=st.floats(),
    temp_c=wild,
    power_w=wild,
    energy_j=wild,
    throttle_mask=st.none() | st.integers(-(2**63), 2**63 - 1),
    thermal_violation_s=wild,
    mem_used_bytes=st.none() | st.integers(-(2**63), 2**63 - 1),
    busy_share=st.floats(allow_nan=True),
    zone=st.sampled_from(Zone),
)


@given(st.lists(moments_of_all_kinds, max_size=12))
@settings(max_examples=80, deadline=None)
def test_whatever_a_card_says_the_totals_are_numbers_that_can_be(found: list[Moment]) -> None:
    made = totals(found)
    for value in (made.energy_j, made.throttled_s, made.paused_s, made.slowed_s, made.seconds):
        assert value is None or (math.isfinite(value) and value >= 0)
    assert made.busy_share is None or 0 <= made.busy_share <= 1
    assert made.throttled_s is None or made.throttled_s <= made.seconds + 1e-6
    assert (made.paused_s or 0) + (made.slowed_s or 0) <= made.seconds + 1e-6
    assert gpu_line(made, 60.0).endswith(".") and "money" not in gpu_line(made, 60.0)
    assert ("money" in gpu_line(made, 60.0, 0.3)) == (made.energy_j is not None)
    assert len(figure_rows(made, 60.0)) == 9


def test_a_hundred_thousand_readings() -> None:
    moments = (
        Moment(BEGIN + timedelta(seconds=s), "GPU-a", float(s), energy_j=300.0 * s, busy_share=0.5)
        for s in range(100_000)
    )
    found = totals(moments)
    assert found.energy_j == pytest.approx(300.0 * 99_999)
    assert found.busy_share == pytest.approx(0.5)


def test_the_ceilings_of_a_run_are_those_of_its_policy() -> None:
    kept = GuardPolicy(temp_c=70.0, vram_budget_gib=20.0).model_dump(mode="json")
    assert (ceilings(kept).temp_c, ceilings(kept).memory_bytes) == (70.0, 20 << 30)
    for none in (None, {}, {"temp_c": "hot", "vram_budget_gib": True}, {**kept, "enabled": False}):
        assert (ceilings(none).temp_c, ceilings(none).memory_bytes) == (None, None)


def test_the_page_has_a_picture_for_each_card_and_the_table() -> None:
    moments = [moment(r) for r in recorded("demo", 30)]
    page = gpu_page([*moments, *(replace(m, uuid="GPU-b") for m in moments)], ceilings(None), 60.0)
    assert page.count("](data:image/svg+xml;base64,") == 2
    assert "| energy |" in page
    assert "No reading" in gpu_page([], ceilings(None), 0.0)

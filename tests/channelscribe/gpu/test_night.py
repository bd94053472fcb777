"""Twelve hours on a virtual clock, and the policies of other programs beside ours.

"Where the plant allows" is computed: at each tick, the greatest constant share of work whose steady temperature stays
at the ceiling with the air and fan of that moment (Plant.steady_duty), summed up; times at which the guard must pause
(thermometer gone or frozen, another program on the card) count for nobody.
"""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import replace

import pytest

from channelscribe.core.gpu import Cause, Zone
from channelscribe.core.guard import GuardPolicy
from channelscribe.gpu.backtest import Row, score
from channelscribe.gpu.closed import Moment, run_closed
from channelscribe.gpu.reference import Contender, none, ours, pause_resume
from channelscribe.gpu.scenarios import HOUR_S, SCENARIOS

POLICY = GuardPolicy()
MOST_WANTED = 0.85


@pytest.fixture(scope="module")
def night() -> list[Moment]:
    return list(run_closed(SCENARIOS["night"], ours(POLICY), POLICY))


@pytest.fixture(scope="module")
def row(night: list[Moment]) -> Row:
    return score("ours", night, SCENARIOS["night"].duration_s)


def test_a_night_never_exceeds_the_ceiling_by_more_than_one_step_heats(row: Row) -> None:
    assert row.step_heating_c is not None
    assert row.above_c <= row.step_heating_c
    assert row.exposed_s <= POLICY.sample_s * row.above_s, "at most the sample on the way is worked over the ceiling"
    assert not row.stopped


def test_every_time_above_the_ceiling_is_the_work_of_one_step(night: list[Moment]) -> None:
    """Each stay above it has its peak within one step (or one sample, where that is longer) after the last moment at
    or under the ceiling; from there on it cools, so nothing but that step has brought it up."""
    longest_s = max(SCENARIOS["night"].step_s, POLICY.sample_s)
    stays = above(night)
    assert stays, "the night is hot enough to say something"
    for stay in stays:
        peak = max(stay, key=lambda m: m.temp_c)
        assert peak.at_s - (stay[0].at_s - stay[0].seconds) <= longest_s + 1e-6
        assert peak.temp_c - peak.ceiling_c <= peak.heating_c


def above(night: list[Moment]) -> list[list[Moment]]:
    """The moments above the ceiling, each uninterrupted stay by itself."""
    stays: list[list[Moment]] = []
    for over, group in itertools.groupby(night, lambda m: m.temp_c > m.ceiling_c):
        stays += [list(group)] if over else []
    return stays


def test_a_night_keeps_what_the_plant_allows(row: Row) -> None:
    assert row.of_allowed is not None
    assert row.of_allowed >= MOST_WANTED


def test_each_trouble_of_the_night_is_met_under_its_own_name(night: list[Moment]) -> None:
    causes = Counter((int(m.at_s / HOUR_S * 2) / 2, m.decision.cause) for m in night if m.decision.zone is Zone.PAUSE)
    assert causes[(7.0, Cause.FOREIGN)] > 0.9 * 0.5 * HOUR_S / night[0].seconds
    assert causes[(5.5, Cause.SENSOR)] > 0
    assert causes[(3.0, Cause.TEMPERATURE)] + causes[(0.0, Cause.TEMPERATURE)] > 0
    by_hour = Counter(int(m.at_s / HOUR_S) for m in night if m.work > 0)
    assert all(by_hour[hour] > 0 for hour in range(12)), "every hour of the night had work done"


@pytest.mark.parametrize("name", ["hot", "peers", "long-steps", "cool"])
def test_hot_days_are_held_and_cool_ones_left_alone(name: str) -> None:
    scenario = SCENARIOS[name]
    row = run(name, ours(POLICY))
    assert row.step_heating_c is not None
    assert row.above_c <= row.step_heating_c
    assert row.of_allowed is not None
    assert row.of_allowed >= (0.995 if name == "cool" else MOST_WANTED), scenario.about


@pytest.mark.parametrize("name", ["demo", "cabinet", "fan-failure"])
def test_what_heats_within_seconds_is_held_within_one_step(name: str) -> None:
    row = run(name, ours(POLICY))
    assert row.pauses > 0
    assert row.step_heating_c is not None and row.above_c <= row.step_heating_c


def test_ours_keeps_more_than_a_pause_of_the_same_safety() -> None:
    mine, classic, free = run("hot", ours(POLICY)), run("hot", pause_resume(75, 60)), run("hot", none())
    assert mine.throughput > classic.throughput
    assert mine.pauses < classic.pauses / 4
    assert free.above_c > 10


def test_a_power_cap_works_more_with_less() -> None:
    capped = run("hot", ours(GuardPolicy(power_cap=True), "capped"))
    resting = run("hot", ours(POLICY))
    assert capped.throughput > resting.throughput
    assert (capped.kj_per_work_minute or 99) < (resting.kj_per_work_minute or 0)
    assert capped.above_c <= (capped.step_heating_c or 0)


def run(name: str, contender: Contender) -> Row:
    scenario = SCENARIOS[name]
    return score(contender.name, run_closed(scenario, contender, POLICY), scenario.duration_s)


@pytest.mark.parametrize("name", ["hot", "cabinet"])
def test_the_wait_that_a_person_is_told_is_about_the_wait(name: str) -> None:
    """From the second pause on: the first one has seen nothing cool yet and tells no time."""
    begun, told, lasted = None, [], []
    for moment in run_closed(replace(SCENARIOS[name], duration_s=600.0), ours(POLICY), POLICY):
        paused = moment.decision.zone is Zone.PAUSE
        if paused and begun is None:
            begun = moment.at_s
            told.append(moment.decision.expected_wait_s)
        elif begun is not None and not paused:
            lasted.append(moment.at_s - begun)
            begun = None
    waits = list(zip(told, lasted, strict=False))[1:]
    assert len(waits) > 5
    assert all(wait is not None and wait / 3 < took < wait * 2 for wait, took in waits)

"""The policy as a state machine: every cause with its words and numbers, and what holds for any sequence of samples."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from channelscribe.core.gpu import Cause, Decision, GpuProcess, GpuSample, Load, Zone
from channelscribe.core.guard import GIB, GuardPolicy
from channelscribe.gpu.policy import GuardState, decide, start

AT = datetime(2026, 11, 21, tzinfo=UTC)
POLICY = GuardPolicy()
WORK = Load("decode", 16, 40, 8, 1.0, 0.0, 0.5)
COOL = GpuSample(
    "GPU-1", "Card", AT, 0.0, temp_c=50.0, slowdown_c=90.0, power_w=300.0, limit_w=450.0, throttle_mask=0
)  # fmt: skip
SEVERITY = {Zone.RUN: 0, Zone.SLOW: 1, Zone.PAUSE: 2, Zone.STOP: 3}


def play(
    *said: dict[str, Any], policy: GuardPolicy = POLICY, load: Load = WORK, state: GuardState | None = None
) -> tuple[GuardState, list[Decision]]:
    """One sample a second, each saying something else than a cool card does."""
    state, decisions = state or start(), []
    begun = state.now_s
    for i, words in enumerate(said, 1):
        state, decision = decide(policy, state, replace(COOL, monotonic_s=begun + i, **words), load)
        decisions.append(decision)
    return state, decisions


def temps(*values: float) -> list[dict[str, Any]]:
    return [{"temp_c": v} for v in values]


def test_a_cool_card_runs() -> None:
    _, decisions = play(*temps(*[50.0] * 20))
    assert {(d.zone, d.cause, d.duty, d.batch_share) for d in decisions} == {(Zone.RUN, Cause.NONE, 1.0, 1.0)}


def test_warm_hot_and_cool_again() -> None:
    rise = [66.0, 68.0, 70.0, 71.0, 72.0, 73.0, 74.0, 75.0, 75.0, 74.0, 73.0, 72.0, 71.0]
    state, decisions = play(*temps(*rise))
    zones = [d.zone for d in decisions]
    assert zones[0] is Zone.RUN
    assert Zone.SLOW in zones
    assert zones[-1] is Zone.PAUSE, "71 degrees are under the ceiling, but not yet at the resume mark"
    hot = decisions[-1]
    assert (hot.cause, hot.value, hot.limit, hot.resume_below, hot.unit) == (Cause.TEMPERATURE, 71.0, 75.0, 70.0, "°C")
    assert hot.expected_wait_s is not None
    assert 0 < hot.expected_wait_s < 10
    for number in ("71 °C", "75 °C", "70 °C"):
        assert number in hot.reason
    _, decisions = play(*temps(69.0, 68.0, 67.0, 66.0, 66.0), state=state)
    assert decisions[-1].zone in (Zone.RUN, Zone.SLOW)


@pytest.mark.parametrize(
    ("said", "zone", "cause", "words"),
    [
        ({"lost": True}, Zone.STOP, Cause.LOST, "gone"),
        ({"xids": (79,)}, Zone.STOP, Cause.XID, "XID 79"),
        ({"temp_c": 88.0}, Zone.STOP, Cause.TEMPERATURE, "88 °C"),
        ({"mem_temp_c": 96.0}, Zone.PAUSE, Cause.MEMORY_TEMPERATURE, "96 °C"),
        ({"throttle_mask": 0x20}, Zone.PAUSE, Cause.THROTTLE, "software thermal"),
        ({"throttle_mask": 0x48}, Zone.PAUSE, Cause.THROTTLE, "hardware thermal"),
        ({"throttle_mask": 0x80}, Zone.PAUSE, Cause.THROTTLE, "power brake"),
        ({"temp_c": 76.0, "slowdown_c": 83.0}, Zone.PAUSE, Cause.TEMPERATURE, "75 °C"),
        ({"temp_c": 73.0, "slowdown_c": 80.0}, Zone.PAUSE, Cause.TEMPERATURE, "the card's own slowdown at 80 °C"),
        ({"temp_c": 73.0, "headroom_c": 6.0}, Zone.PAUSE, Cause.TEMPERATURE, "the card's own slowdown at 79 °C"),
        (
            {"processes": (GpuProcess(7, 3 * GIB, False, "game"),)},
            Zone.PAUSE, Cause.FOREIGN, "game (process 7) uses the card with 3.0 GiB",
        ),
        (
            {"mem_total_bytes": 24 * GIB, "torch_reserved_bytes": 23 * GIB},
            Zone.SLOW, Cause.MEMORY, "23.0 GiB",
        ),
        (
            {"mem_total_bytes": 8 * GIB, "torch_reserved_bytes": int(7.5 * GIB)},
            Zone.SLOW, Cause.MEMORY, "over 7.3 GiB",
        ),
    ],
)  # fmt: skip
def test_every_cause_has_its_zone_words_and_numbers(said: dict[str, Any], zone: Zone, cause: Cause, words: str) -> None:
    first = {**said, "temp_c": said.get("temp_c", 50.0)}
    _, (decision,) = play(first)
    assert (decision.zone, decision.cause) == (zone, cause)
    assert words in decision.reason


@pytest.mark.parametrize("mask", [0x0, 0x1, 0x2, 0x4, 0x10, 0x100, 0x5])
def test_idle_power_limit_and_clocks_are_no_throttling(mask: int) -> None:
    _, decisions = play(*[{"throttle_mask": mask}] * 8)
    assert {d.zone for d in decisions} == {Zone.RUN}


def test_hardware_throttling_that_goes_on_without_work_stops() -> None:
    _, decisions = play(*[{"throttle_mask": 0x40}] * 10)
    assert decisions[0].zone is Zone.PAUSE
    assert (decisions[-1].zone, decisions[-1].cause) == (Zone.STOP, Cause.THROTTLE)


def test_stop_is_final() -> None:
    state, _ = play({"lost": True})
    _, decisions = play(*temps(*[40.0] * 30), state=state)
    assert {(d.zone, d.cause) for d in decisions} == {(Zone.STOP, Cause.LOST)}


def test_the_own_power_limit_of_a_card_is_normal_and_the_users_ceiling_is_held() -> None:
    at_its_limit = [{"power_w": 350.0, "limit_w": 350.0, "throttle_mask": 4, "temp_c": 60.0 + i % 2} for i in range(90)]
    assert {d.zone for d in play(*at_its_limit)[1]} == {Zone.RUN}
    over = [{"power_w": 520.0, "limit_w": 600.0, "temp_c": 60.0 + i % 2} for i in range(60)]
    decisions = play(*over, policy=GuardPolicy(power_w=450.0))[1]
    assert decisions[0].zone is Zone.RUN, "the average is meant, not the first watt"
    assert (decisions[-1].zone, decisions[-1].cause, decisions[-1].unit) == (Zone.PAUSE, Cause.POWER, "W")


def test_memory_pressure_halves_batches_again_and_again_and_gives_them_back() -> None:
    over = {"mem_total_bytes": 24 * GIB, "torch_reserved_bytes": 23 * GIB}
    state, decisions = play(*[over] * 40)
    shares = [d.batch_share for d in decisions]
    assert shares[0] == 0.5
    assert shares == sorted(shares, reverse=True)
    assert min(shares) == 0.125
    assert all(d.collect for d in decisions)
    _, decisions = play(*[{}] * 60, state=state)
    assert decisions[-1].batch_share == 1.0


def test_collection_begins_before_the_budget_is_used_up() -> None:
    _, decisions = play({"mem_total_bytes": 24 * GIB, "torch_reserved_bytes": 19 * GIB})
    assert (decisions[0].zone, decisions[0].collect) == (Zone.RUN, True)


def test_a_stranger_is_given_way_to_or_ignored() -> None:
    there = {"processes": (GpuProcess(1, GIB, True), GpuProcess(2, GIB, False))}
    state, decisions = play(there)
    assert decisions[0].zone is Zone.PAUSE
    assert play(*[{"processes": (GpuProcess(1, GIB, True),)}] * 7, state=state)[1][-1].zone is Zone.RUN
    assert play(there, policy=GuardPolicy(foreign="ignore"))[1][0].zone is Zone.RUN
    assert play({"processes": (GpuProcess(3, 1024, False),)})[1][0].zone is Zone.RUN


def test_a_leak_is_told_and_memory_that_comes_and_goes_is_none() -> None:
    grows = [{"torch_allocated_bytes": int(4 * GIB + i * GIB / 120 + (i % 7) * GIB / 9)} for i in range(600)]
    steady = [{"torch_allocated_bytes": int(4 * GIB + (i % 50) * GIB / 10)} for i in range(600)]
    last = play(*grows)[1][-1]
    assert (last.cause, last.collect, last.batch_share) == (Cause.LEAK, True, 0.5)
    assert all(d.cause is Cause.NONE for d in play(*steady)[1])


def test_a_stall_stops_but_a_lull_a_pause_and_loading_do_not() -> None:
    policy = GuardPolicy(stall_s=30)
    stuck = Load("decode", 0, 5, 2, 0.0)
    last = play(*[{}] * 40, policy=policy, load=stuck)[1][-1]
    assert (last.zone, last.cause) == (Zone.STOP, Cause.STALL)
    hung = Load("decode", 4, 5, 2, 1.0, 0.0, 31.0)
    assert play(*[{}] * 40, policy=policy, load=hung)[1][-1].cause is Cause.STALL
    for fine in (Load("decode", 0, 0, 0, 0.0), Load("load", 0, 5, 2, 0.0)):
        assert play(*[{}] * 40, policy=policy, load=fine)[1][-1].zone is Zone.RUN
    away = {"processes": (GpuProcess(2, GIB, False),)}
    assert play(*[away] * 60, policy=policy, load=stuck)[1][-1].zone is Zone.PAUSE


def test_watts_instead_of_rests_where_allowed_and_rests_again_where_the_card_does_not_follow() -> None:
    policy = GuardPolicy(power_cap=True)
    able = {"limit_min_w": 150.0, "limit_default_w": 450.0}
    warm = [{**able, "temp_c": t} for t in (69.0, *[71.0] * 4, *[72.0] * 4, *[73.0] * 6, *[74.0] * 9)]
    state, decisions = play(*warm, policy=policy)
    capped = [d for d in decisions if d.cap_w is not None]
    assert capped
    assert all(150.0 <= (d.cap_w or 0) <= 450.0 and d.duty == 1.0 for d in capped)
    _, decisions = play(*[{**able, "temp_c": 74.0, "limit_w": 450.0}] * 12, policy=policy, state=state)
    assert decisions[-1].cap_w is None
    assert decisions[-1].duty < 1.0


ODD = st.one_of(
    st.none(),
    st.sampled_from([math.nan, math.inf, -math.inf, -1.0, 0.0, 1e308, 10**400]),
    st.floats(-500, 2000),
    st.integers(-10, 10**12),
)
NAMES = [
    "temp_c", "mem_temp_c", "slowdown_c", "shutdown_c", "headroom_c", "power_w", "power_average_w", "limit_w",
    "limit_min_w", "limit_max_w", "limit_default_w", "mem_total_bytes", "mem_used_bytes", "torch_allocated_bytes",
    "torch_reserved_bytes", "monotonic_s",
]  # fmt: skip
SAMPLES = st.lists(st.dictionaries(st.sampled_from(NAMES), ODD, max_size=6), min_size=1, max_size=12)
LOADS = st.builds(
    Load,
    st.sampled_from(["idle", "load", "decode"]),
    st.integers(-1, 99),
    st.integers(-1, 99),
    st.integers(-1, 9),
    ODD,
    ODD,
    ODD,
)
POLICIES = st.builds(
    GuardPolicy,
    temp_c=st.floats(45, 100),
    min_dwell_s=st.sampled_from([0.0, 1.0, 5.0]),
    power_cap=st.booleans(),
    blind_card=st.sampled_from(["throttle", "pause", "run"]),
    bad_readings=st.integers(1, 6),
)


@settings(max_examples=150, deadline=None)
@given(POLICIES, SAMPLES, LOADS)
def test_nothing_that_a_driver_may_say_makes_it_raise_or_run_hot(
    policy: GuardPolicy, said: list[dict[str, Any]], load: Load
) -> None:
    state = start()
    for i, words in enumerate(said, 1):
        sample = replace(COOL, **{"monotonic_s": float(i), **words})
        before = state
        state, decision = decide(policy, state, sample, load)
        assert decide(policy, before, sample, load) == (state, decision), "pure"
        assert 0 < decision.duty <= 1
        assert 0 < decision.batch_share <= 1
        assert decision.zone is Zone.RUN or decision.reason
        seen = words.get("temp_c", COOL.temp_c)
        if isinstance(seen, int | float) and policy.temp_c < seen <= 1e9:
            assert decision.zone in (Zone.PAUSE, Zone.STOP)


WALK = st.lists(st.tuples(st.floats(0.2, 3.0), st.floats(-8.0, 8.0)), min_size=2, max_size=40)


def walked(policy: GuardPolicy, walk: list[tuple[float, float]]) -> list[tuple[GuardState, Decision, float]]:
    state, at, temp, steps = start(), 0.0, 68.0, []
    for seconds, change in walk:
        at, temp = at + seconds, min(max(temp + change, 30.0), 80.0)
        state, decision = decide(policy, state, replace(COOL, monotonic_s=at, temp_c=temp), WORK)
        steps.append((state, decision, at))
    return steps


@settings(max_examples=150, deadline=None)
@given(st.sampled_from([0.5, 2.0, 5.0]), WALK)
def test_it_never_calms_down_twice_within_the_dwell(dwell: float, walk: list[tuple[float, float]]) -> None:
    policy = GuardPolicy(min_dwell_s=dwell)
    zone, entered = Zone.RUN, 0.0
    for _, decision, at in walked(policy, walk):
        if SEVERITY[decision.zone] < SEVERITY[zone]:
            assert at - entered >= dwell - 1e-6
        if decision.zone is not zone:
            zone, entered = decision.zone, at


@settings(max_examples=150, deadline=None)
@given(WALK, st.floats(40, 85), st.floats(0, 20))
def test_hotter_is_never_held_less(walk: list[tuple[float, float]], temp: float, more: float) -> None:
    state, _, at = walked(POLICY, walk)[-1]
    _, cooler = decide(POLICY, state, replace(COOL, monotonic_s=at + 2, temp_c=temp), WORK)
    _, hotter = decide(POLICY, state, replace(COOL, monotonic_s=at + 2, temp_c=temp + more), WORK)
    if cooler.zone in (Zone.PAUSE, Zone.STOP) and cooler.cause is Cause.TEMPERATURE:
        assert SEVERITY[hotter.zone] >= SEVERITY[cooler.zone]

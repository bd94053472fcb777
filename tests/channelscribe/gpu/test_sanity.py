"""Thermometers that lie: each lie pauses with its own words, and none of them costs a healthy card anything."""

from __future__ import annotations

from typing import Any

import pytest

from channelscribe.core.gpu import Cause, Load, Zone
from channelscribe.core.guard import GuardPolicy
from tests.channelscribe.gpu.test_policy import play, temps

IDLE = Load("idle")


@pytest.mark.parametrize(
    ("lie", "words"),
    [
        (None, "reports no temperature"),
        (0.0, "0 °C is impossible"),
        (-40.0, "impossible"),
        (float("nan"), "reports no temperature"),
    ],
)
def test_a_blind_guard_pauses_after_so_many_readings_and_sees_again_after_as_many(
    lie: float | None, words: str
) -> None:
    state, _ = play(*temps(*[60.0] * 5))
    state, decisions = play(*[{"temp_c": lie}] * 5, state=state)
    assert [d.zone for d in decisions] == [Zone.RUN] * 4 + [Zone.PAUSE]
    assert decisions[-1].cause is Cause.SENSOR
    assert words in decisions[-1].reason
    _, decisions = play(*temps(*[60.0] * 6), state=state)
    assert [d.zone for d in decisions[:4]] == [Zone.PAUSE] * 4
    assert decisions[-1].zone is Zone.RUN


def test_one_glitch_changes_nothing_and_a_glitch_over_the_ceiling_holds_for_the_dwell() -> None:
    assert {d.zone for d in play(*temps(60.0, 60.0, 0.0, 60.0, 60.0))[1]} == {Zone.RUN}
    _, decisions = play(*temps(40.0, 40.0, 140.0, *[40.0] * 8))
    assert (decisions[2].zone, decisions[2].cause) == (Zone.PAUSE, Cause.SENSOR)
    assert "a jump from 40 to 140 °C" in decisions[2].reason
    assert decisions[-1].zone is Zone.RUN


def test_a_gap_on_the_way_up_is_not_slept_through() -> None:
    state, _ = play(*temps(60.0, 64.0, 68.0))
    _, decisions = play(*[{"temp_c": None}] * 3, state=state)
    assert Zone.PAUSE in [d.zone for d in decisions], "at 4 degrees a second 75 is near, seen or not"


def load_changes(temp_c: float, seconds: int) -> list[dict[str, Any]]:
    return [{"temp_c": temp_c, "power_w": 60.0 if i < seconds // 2 else 400.0} for i in range(seconds)]


def test_a_frozen_thermometer_is_found_and_a_steady_one_is_not() -> None:
    state, decisions = play(*load_changes(55.0, 120))
    assert (decisions[-1].zone, decisions[-1].cause) == (Zone.PAUSE, Cause.SENSOR)
    assert "stood at exactly 55 °C" in decisions[-1].reason
    _, decisions = play(*temps(*[54.0, 55.0] * 6), state=state)
    assert decisions[-1].zone is Zone.RUN
    assert {d.zone for d in play(*temps(*[55.0] * 600))[1]} == {Zone.RUN}


@pytest.mark.parametrize(
    ("choice", "mask", "zone"),
    [
        ("throttle", 0, Zone.RUN),
        ("throttle", None, Zone.PAUSE),
        ("pause", 0, Zone.PAUSE),
        ("run", None, Zone.RUN),
    ],
)
def test_a_card_that_never_had_a_thermometer(choice: str, mask: int | None, zone: Zone) -> None:
    policy = GuardPolicy.model_validate({"blind_card": choice})
    slice_ = {"temp_c": None, "slowdown_c": None, "throttle_mask": mask}
    assert play(*[slice_] * 10, policy=policy)[1][-1].zone is zone
    hot = play(*[{**slice_, "throttle_mask": 0x20}], policy=policy)[1][-1]
    assert (hot.zone, hot.cause) == (Zone.PAUSE, Cause.THROTTLE)

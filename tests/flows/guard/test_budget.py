"""Planner and guard speak of one memory budget: the smaller of the profile's and the guard's."""

from __future__ import annotations

import pytest

from channelscribe.core.clock import SystemClock
from channelscribe.core.guard import GuardPolicy
from channelscribe.core.profile import TranscriptionProfile
from tasks.scope import find_card


@pytest.mark.parametrize(
    ("gpu", "enabled", "own_gib", "found_gib"),
    [("sim", True, 0.0, 12.0), ("sim", True, 8.0, 8.0), ("sim", False, 0.0, 0.0), ("off", True, 0.0, 0.0)],
)
def test_the_engine_gets_the_budget_that_is_guarded(gpu: str, enabled: bool, own_gib: float, found_gib: float) -> None:
    profile = TranscriptionProfile(device="cpu", vram_budget_gib=own_gib)
    policy = GuardPolicy(enabled=enabled, vram_budget_gib=12.0, collect_above_gib=10.0)
    found, reader = find_card(gpu, profile, policy, SystemClock())
    try:
        assert found.vram_budget_gib == found_gib
        assert (reader is None) == (gpu == "off")
    finally:
        if reader is not None:
            reader.close()


@pytest.mark.parametrize("own_gib", [0.0, 8.0, 40.0])
def test_a_guard_that_names_no_budget_leaves_the_profiles(own_gib: float) -> None:
    profile = TranscriptionProfile(device="cpu", vram_budget_gib=own_gib)
    found, reader = find_card("sim", profile, GuardPolicy(), SystemClock())
    assert reader is not None
    reader.close()
    assert found.vram_budget_gib == own_gib

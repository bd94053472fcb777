"""What a person may set of the guard: defaults that are promised, bounds, and sentences for what cannot be."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from channelscribe.core.guard import AUTO, GuardPolicy


def test_the_promised_ceilings_are_the_defaults() -> None:
    policy = GuardPolicy()
    assert policy.temp_c == 75
    assert (policy.power_w, policy.vram_budget_gib, policy.collect_above_gib) == (AUTO, AUTO, AUTO)
    assert not policy.power_cap


def test_every_field_of_the_form_has_a_title_a_description_and_a_default() -> None:
    for name, field in GuardPolicy.model_fields.items():
        assert field.title, name
        assert field.description, name
        assert not field.is_required(), name


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"headroom_stop_c": 9}, "headrooms must grow"),
        ({"headroom_resume_c": 7}, "headrooms must grow"),
        ({"vram_budget_gib": 22, "collect_above_gib": 23}, "must not be more than the budget"),
        ({"power_w": 9}, "0 takes the GPU's own limit"),
        ({"vram_budget_gib": -1}, "greater than or equal to 0"),
        ({"sample_s": 20, "power_window_s": 10}, "sample more often"),
        ({"temp_c": 20}, "greater than or equal to 40"),
        ({"temp_c": float("nan")}, "finite"),
        ({"power_w": float("inf")}, "finite"),
        ({"bad_readings": 0}, "greater than or equal to 1"),
        ({"foreign": "fight"}, "yield"),
        ({"tempc": 70}, "Extra inputs"),
    ],
)
def test_what_cannot_be_is_refused_in_words(said: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        GuardPolicy(**said)


def test_it_is_frozen_and_survives_json() -> None:
    policy = GuardPolicy(temp_c=70)
    with pytest.raises(ValidationError):
        policy.temp_c = 80  # type: ignore[misc]
    assert GuardPolicy.model_validate_json(policy.model_dump_json()) == policy

"""What a person may set of the guard, in a form, in a block and in the environment, and which of them counts."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from blocks.guard import GuardProfile
from channelscribe.core.errors import UsageError
from channelscribe.core.gpu import Card, Cause, Decision, Zone
from channelscribe.core.guard import GIB, GuardPolicy
from channelscribe.core.settings import GuardSettings, Settings
from channelscribe.gpu.ceilings import Limits, resolve
from flows.forms import GuardForm
from tasks.guarding import sentence


@pytest.fixture(autouse=True)
def _nothing_configured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CHANNELSCRIBE_GPU", raising=False)
    for name in GuardPolicy.model_fields:
        monkeypatch.delenv(f"CHANNELSCRIBE_GUARD_{name.upper()}", raising=False)


def test_an_empty_form_asks_for_nothing() -> None:
    assert GuardForm().changes() == {}
    assert GuardProfile().choice() == GuardProfile().choice(**GuardForm().changes())
    assert GuardProfile().choice().policy == GuardPolicy()
    assert GuardProfile.from_environment() is None


def test_a_form_changes_what_it_names_and_no_more() -> None:
    form = GuardForm(guard="on", temp_c=68, max_pause_s=600)
    chosen = GuardProfile(policy=GuardPolicy(power_w=300, enabled=False)).choice(**form.changes()).policy
    assert chosen == GuardPolicy(temp_c=68, max_pause_s=600, power_w=300, enabled=True)
    assert GuardForm(guard="off").changes() == {"enabled": False}


def test_a_small_memory_budget_needs_no_second_number() -> None:
    saved = GuardPolicy(power_w=450, vram_budget_gib=22, collect_above_gib=18)
    for policy in (GuardPolicy(), saved):
        chosen = GuardProfile(policy=policy).choice(**GuardForm(vram_budget_gib=7.0).changes()).policy
        known = resolve(chosen, Limits(450.0, 450.0, 24 * GIB))
        assert (known.vram_budget_gib, known.collect_above_gib) == (7.0, 7.0)


def test_a_block_saved_with_the_numbers_of_before_means_them_still() -> None:
    saved = {**GuardPolicy().model_dump(), "power_w": 450.0, "vram_budget_gib": 22.0, "collect_above_gib": 18.0}
    policy = GuardProfile.model_validate({"gpu": "auto", "policy": saved}).choice().policy
    large = resolve(policy, Limits(700.0, 700.0, 80 * GIB))
    assert (large.power_w, large.vram_budget_gib, large.collect_above_gib) == (450, 22, 18)


@pytest.mark.parametrize("form", [GuardForm(temp_c=12), GuardForm(power_w=1)])
def test_what_cannot_be_is_refused_with_a_sentence(form: GuardForm) -> None:
    with pytest.raises(UsageError, match=r"greater than or equal|at least 10 W") as refused:
        GuardProfile().choice(**form.changes())
    assert refused.value.code == "bad_guard"


@pytest.mark.parametrize("field", ["temp_c", "power_w", "vram_budget_gib", "max_pause_s"])
@pytest.mark.parametrize("value", [-1, 1e9, "hot", float("nan"), None])
def test_the_form_itself_refuses_rubbish(field: str, value: object) -> None:
    with pytest.raises(ValidationError):
        GuardForm.model_validate({field: value})


def test_every_field_of_the_policy_has_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    changed = {"temp_c": 81.0, "sample_s": 0.5, "foreign": "ignore", "power_cap": True, "enabled": False}
    for name, value in changed.items():
        monkeypatch.setenv(f"CHANNELSCRIBE_GUARD_{name.upper()}", str(value))
    monkeypatch.setenv("CHANNELSCRIBE_GPU", "sim:demo")
    block = GuardProfile.from_environment()
    assert block is not None
    assert (block.gpu, block.policy) == ("sim:demo", GuardPolicy(**changed))  # type: ignore[arg-type]
    assert GuardSettings().policy() == block.policy


def test_variables_come_from_env_files_too(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("CHANNELSCRIBE_GUARD_TEMP_C=66\nCHANNELSCRIBE_GPU=off\nODIN_API_KEY=x\n")
    assert (GuardSettings().policy().temp_c, Settings().gpu) == (66.0, "off")


def test_a_wrong_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHANNELSCRIBE_GUARD_TEMP_C", "warm")
    with pytest.raises(UsageError, match="temp_c"):
        GuardProfile.from_environment()


CARD = Card("GPU-1", "RTX 4090")


@pytest.mark.parametrize(
    ("decision", "said"),
    [
        (Decision(Zone.RUN), "RTX 4090 works at full speed again."),
        (
            Decision(Zone.PAUSE, Cause.FOREIGN, "Another program is there.", expected_wait_s=12.4),
            "RTX 4090: Another program is there. Expected wait: 12 s.",
        ),
        (
            Decision(Zone.PAUSE, Cause.TEMPERATURE, "It is 80 °C, expected in 30 s.", expected_wait_s=30.0),
            "RTX 4090: It is 80 °C, expected in 30 s.",
        ),
        (Decision(Zone.RUN, Cause.PERSON, "resumed by hand"), "RTX 4090: resumed by hand"),
    ],
)
def test_the_state_says_card_reason_and_wait(decision: Decision, said: str) -> None:
    assert sentence(CARD, decision) == said

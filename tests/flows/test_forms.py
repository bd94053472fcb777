"""The forms people fill in: empty means as configured, and what cannot be is refused with a sentence."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from blocks.transcription import TranscriptionSettings
from channelscribe.core.errors import UsageError
from channelscribe.core.profile import Preset, TranscriptionProfile
from deployments.sync import SyncRequest, profile
from flows.forms import SelectionForm, TranscriptionForm
from flows.ingesting import label
from tests.channelscribe.records import a_video


def test_empty_forms_ask_for_nothing() -> None:
    selection = SelectionForm().selection()
    assert (selection.since, selection.until, selection.latest) == (None, None, None)
    assert TranscriptionForm().changes() == {}


@given(st.dates(), st.dates(), st.integers(0, 10_000))
def test_a_filled_selection_is_what_was_typed(one: date, other: date, latest: int) -> None:
    since, until = sorted((one, other))
    form = SelectionForm(since=since.isoformat(), until=until.isoformat(), latest=latest)
    chosen = form.selection()
    assert (chosen.since, chosen.until, chosen.latest) == (since, until, latest or None)


@pytest.mark.parametrize("typed", ["2026-02-30", "2026-13-01", "0000-01-01"])
def test_a_day_that_does_not_exist_is_named(typed: str) -> None:
    with pytest.raises(UsageError, match=typed):
        SelectionForm(since=typed).selection()


@pytest.mark.parametrize("typed", ["yesterday", "01.02.2026", "2026-1-1", "2026-01-01T00:00", " ", "2026-01-01\n"])
def test_a_date_in_another_form_is_refused_by_the_form(typed: str) -> None:
    with pytest.raises(ValidationError):
        SelectionForm(since=typed)


def test_a_range_the_wrong_way_round_is_refused() -> None:
    with pytest.raises(UsageError):
        SelectionForm(since="2026-02-01", until="2026-01-01").selection()


def test_what_is_filled_in_changes_the_profile_and_nothing_else() -> None:
    form = TranscriptionForm(preset="fast", model="folder", language="de", window_s=12.5, batch_size=3)
    profile = TranscriptionProfile.preset(Preset(form.changes().pop("preset")), **_without_preset(form))
    assert (profile.model, profile.language, profile.window_s, profile.batch_size) == ("folder", "de", 12.5, 3)
    assert profile.videos_in_flight == TranscriptionProfile.preset(Preset.FAST).videos_in_flight


@pytest.mark.parametrize("form", [SelectionForm, TranscriptionForm])
def test_every_field_is_titled_described_and_known(form: type[BaseModel]) -> None:
    for name, field in form.model_fields.items():
        assert field.title and field.description, name
    with pytest.raises(ValidationError):
        form(unknown="value")


@given(st.text(max_size=300))
def test_a_label_is_short_and_never_empty(title: str) -> None:
    shown = label(a_video(title=title))
    assert 0 < len(shown) <= 80
    assert "\n" not in shown


def _without_preset(form: TranscriptionForm) -> dict[str, object]:
    return {k: v for k, v in form.changes().items() if k != "preset"}


def test_words_are_asked_for_in_the_form_or_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert TranscriptionForm(words=True).changes() == {"words": True}
    assert not TranscriptionSettings().profile().words
    assert TranscriptionSettings().profile(**TranscriptionForm(words=True).changes()).words
    monkeypatch.setenv("CHANNELSCRIBE_WORDS", "true")
    configured = TranscriptionSettings.from_environment()
    assert configured is not None
    assert configured.profile(**TranscriptionForm().changes()).words
    assert profile(SyncRequest("@a")).words


def test_keys_and_values_in_8_bits_are_asked_for_in_a_block_or_by_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert TranscriptionSettings().profile().kv_bits == 16
    assert TranscriptionSettings(kv_bits=8).profile().kv_bits == 8
    monkeypatch.setenv("CHANNELSCRIBE_KV_BITS", "8")
    configured = TranscriptionSettings.from_environment()
    assert configured is not None
    assert configured.profile().kv_bits == profile(SyncRequest("@a")).kv_bits == 8


def test_words_are_asked_for_on_the_command_line() -> None:
    assert profile(SyncRequest("@a", words=True)).words
    assert not profile(SyncRequest("@a")).words

"""The forms of `retry-failed` and `plan`: titles and units, presets first, and sentences for what cannot be."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prefect.exceptions import ParameterTypeError
from pydantic import BaseModel, ValidationError

from channelscribe.core.errors import FailureClass, UsageError
from channelscribe.core.model import Stage
from channelscribe.failed import Which, Wish
from deployments.retry import RetryRequest, form
from flows.forms import FailedForm, PlanForm
from flows.plan import plan
from flows.retry_failed import retry_failed

IDS = ("dQw4w9WgXcQ", "jNQXAC9IVRw")


def test_an_empty_form_is_an_empty_wish() -> None:
    assert FailedForm().wish() == Wish()


def test_a_filled_form_is_what_was_typed() -> None:
    filled = FailedForm.model_validate(
        {
            "which": "everything that failed",
            "stage": "upload",
            "failure_classes": ["poisoned", "geo"],
            "since": " 3 days ",
            "channels": [" @Somebody "],
            "videos": [IDS[0], f"https://youtu.be/{IDS[1]}, {IDS[0]}"],
            "most_attempts": 4,
            "release_quarantine": True,
        }
    )
    assert filled.wish() == Wish(
        Which.ALL,
        Stage.UPLOAD,
        (FailureClass.POISONED, FailureClass.GEO),
        3,
        None,
        ("@Somebody",),
        (IDS[0], IDS[1], IDS[0]),
        4,
        True,
    )
    assert filled.title == "poisoned, geo; upload; @Somebody; 3 videos"


@given(st.dates())
def test_every_day_is_understood(day: date) -> None:
    assert FailedForm(since=day.isoformat()).wish().since == day


@given(st.text(max_size=60))
def test_any_other_text_is_understood_or_refused_with_what_to_write(text: str) -> None:
    try:
        wish = FailedForm(since=text).wish()
    except ValidationError as error:
        assert "Write a number of days (7) or a day (2026-01-31), not " in str(error)
    else:
        assert (wish.since_days is not None) + (wish.since is not None) == bool(text.strip())


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"videos": ["@Somebody"]}, "is no video; give ids or links of videos, and channels in their own field."),
        ({"videos": ["x" * 600_000]}, "Value error"),
        ({"videos": [""]}, "Value error"),
        ({"channels": ["a", " "]}, "A channel is empty; name it, or take the field away"),
        ({"since": "2026-02-30"}, "not '2026-02-30'"),
        ({"since": "9" * 4000}, "Write a number of days"),
        ({"most_attempts": -1}, "greater than or equal to 0"),
        ({"which": "nothing"}, "what a sync would try again"),
        ({"stage": "discover"}, "'download', 'transcribe' or 'upload'"),
        ({"unknown": 1}, "Extra inputs are not permitted"),
    ],
)
def test_what_cannot_be_is_refused(wrong: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError) as error:
        FailedForm.model_validate(wrong)
    assert said in str(error.value)


def test_the_flow_refuses_with_the_same_sentence() -> None:
    with pytest.raises(ParameterTypeError, match=r"Write a number of days \(7\) or a day .* not 'yesterday'"):
        retry_failed.validate_parameters({"failed": {"since": "yesterday"}})
    with pytest.raises(ParameterTypeError, match="write seconds of sound per second, as 60 or 40-80"):
        plan.validate_parameters({"source": "@a", "given": {"speed": "quick"}})


@pytest.mark.parametrize("which", [FailedForm, PlanForm])
def test_every_field_is_titled_described_and_known(which: type[BaseModel]) -> None:
    for name, field in which.model_fields.items():
        assert field.title and field.description, name
    with pytest.raises(ValidationError):
        which(unknown="value")


def test_presets_come_first_and_what_experts_need_last() -> None:
    assert next(iter(FailedForm.model_fields)) == "which"
    assert list(retry_failed.parameters.properties)[:2] == ["failed", "dry_run"]
    assert list(retry_failed.parameters.properties)[-3:] == ["media", "data", "guard"]
    for name, shown in retry_failed.parameters.properties.items():
        assert shown.get("description"), name


@pytest.mark.parametrize("speed", ["0", "-3", "80-40", "fast", "1e3", "inf", "60 - ", "9" * 5000, "nan", "٣"])
def test_a_speed_that_cannot_be_is_refused_with_what_to_write(speed: str) -> None:
    with pytest.raises(ValidationError, match="write seconds of sound per second, as 60 or 40-80"):
        PlanForm(speed=speed)


@pytest.mark.parametrize(
    ("failed", "sentence"),
    [
        ({"since": "soon"}, "--since: Write a number of days (7) or a day (2026-01-31), not 'soon'."),
        (
            {"videos": ["@x"]},
            "--video: '@x' is no video; give ids or links of videos, and channels in their own field.",
        ),
        ({"failure_classes": ["fatal"]}, "--class: Input should be 'usage', 'permanent',"),
    ],
)
def test_the_command_line_names_the_option(failed: dict[str, object], sentence: str) -> None:
    with pytest.raises(UsageError) as error:
        form(RetryRequest("all", failed))
    assert error.value.reason.startswith(sentence)
    with pytest.raises(UsageError, match="--which 'some' is none of sync, access, all"):
        form(RetryRequest("some", {}))

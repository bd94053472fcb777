"""Every deployment's form as the dashboard gets it: each field has a title, a description, bounds and a default."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from prefect.exceptions import ParameterTypeError
from prefect.flows import Flow, load_flow_from_entrypoint
from prefect.utilities.callables import parameter_schema

from deployments.register import DeploymentSpec, read_specs

SPECS = {spec.name: spec for spec in read_specs(environment={})}
Fields = dict[str, dict[str, Any]]
_NUMBERS = {"number": "maximum", "integer": "minimum"}
_ANSWERED = {"source", "videos", "target"}  # what a person must say; the rest has a default
_UNIT = {"_s": "(s)", "_c": "(°C)", "_w": "(W)", "_gib": "(GiB)", "_days": "(days)"}


def loaded(spec: DeploymentSpec) -> Flow[..., Any]:
    flow: Flow[..., Any] = load_flow_from_entrypoint(spec.entrypoint)
    return flow


def form(spec: DeploymentSpec) -> dict[str, Any]:
    """What `register` and `prefect deploy` send to the server."""
    return parameter_schema(loaded(spec)).model_dump_for_openapi()


def fields(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The fields of the form and of the groups in it; a group's name leads those of its fields."""
    for name, shown in schema["properties"].items():
        yield name, shown
        group = shown.get("$ref", "").rpartition("/")[2]
        for inner, described in schema.get("definitions", {}).get(group, {}).get("properties", {}).items():
            yield f"{name}.{inner}", described


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_every_field_has_words_for_people(spec: DeploymentSpec) -> None:
    for name, shown in fields(form(spec)):
        own = name.rpartition(".")[2]
        title, description = shown.get("title", ""), shown.get("description", "")
        assert title and title != own and "_" not in title and title[0].isupper(), (name, title)
        assert re.fullmatch(r"[A-Z0-9].*[.]", description, re.S), (name, description)
        for suffix, unit in _UNIT.items():
            assert not own.endswith(suffix) or unit in title, f"{name} does not say its unit: {title}"


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_every_field_has_a_default_and_every_number_a_bound(spec: DeploymentSpec) -> None:
    schema = form(spec)
    asked = set(schema.get("required", ()))
    assert asked <= _ANSWERED | ({"data"} if spec.name == "restore" else set())
    for name, shown in fields(schema):
        assert "default" in shown or name in asked, name
        assert shown.get("type") not in _NUMBERS or "minimum" in shown, f"{name} takes any number"
        assert "anyOf" not in shown, f"{name} may be nothing, which the form cannot say"


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_presets_come_first_and_what_experts_need_comes_last(spec: DeploymentSpec) -> None:
    """Prefect's form folds nothing; the order is what leads the eye."""
    schema = form(spec)
    shown = sorted(schema["properties"], key=lambda name: schema["properties"][name]["position"])
    required = [name for name in shown if name in schema.get("required", ())]
    assert shown[: len(required)] == required
    experts = [name for name in shown if name in ("media", "data", "guard")]
    assert spec.name == "restore" or shown.index(experts[-1]) == len(shown) - 1
    for group, first in (("TranscriptionForm", "preset"), ("GuardForm", "guard"), ("FailedForm", "which")):
        described = schema.get("definitions", {}).get(group)
        assert described is None or next(iter(described["properties"])) == first


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_what_a_deployment_presets_fits_its_form(spec: DeploymentSpec) -> None:
    flow = loaded(spec)
    given = {"source": "@a", "videos": [], "target": "b", "data": "c", **spec.parameters}
    flow.validate_parameters({name: given[name] for name in given if name in flow.parameters.properties})
    with pytest.raises((ParameterTypeError, TypeError)):
        flow.validate_parameters({"no_such_field": 1})


@pytest.mark.parametrize(
    ("deployment", "wrong", "said"),
    [
        ("on-demand", {"selection": {"since": "yesterday"}}, "Write a day as YYYY-MM-DD"),
        ("on-demand", {"selection": {"latest": -1}}, "greater than or equal to 0"),
        ("on-demand", {"transcription": {"preset": "quick"}}, "'stable', 'optimized', 'fast', 'max' or 'auto'"),
        ("on-demand", {"media": "ogg"}, "'m4a', 'mp3' or 'mp4'"),
        ("on-demand", {"guard": {"temp_c": 300}}, "less than or equal to 110"),
        ("whole-channel", {"shard_size": 501}, "less than or equal to 500"),
        ("retry-failed", {"failed": {"since": "soon"}}, "Write a number of days (7) or a day"),
        ("retain", {"rule": {"media_days": -1}}, "greater than or equal to 0"),
        ("backup", {"keep": -1}, "greater than or equal to 0"),
    ],
)
def test_what_cannot_be_is_refused_with_what_can(deployment: str, wrong: dict[str, Any], said: str) -> None:
    needed = {"source": "@a", "target": "b"}
    flow = loaded(SPECS[deployment])
    asked = {name: needed[name] for name in needed if name in flow.parameters.properties}
    with pytest.raises(ParameterTypeError) as refused:
        flow.validate_parameters({**asked, **wrong})
    assert said in str(refused.value)

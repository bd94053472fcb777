"""The Compose file as a reader sees it: anchors merged, variables put in, services with what they say of themselves."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.deployments.places.image import ROOT

FILE = ROOT / "deployments" / "compose" / "compose.yaml"
EXAMPLE = FILE.with_name("example.env")
_VARIABLE = re.compile(r"\$(?:\$|\{(\w+)(?::([-?])([^}]*))?\})")
Service = dict[str, Any]


def read(values: Mapping[str, str], file: Path = FILE) -> dict[str, Any]:
    """Raises KeyError for a variable that has neither value nor default."""
    found: dict[str, Any] = _filled(yaml.safe_load(file.read_text(encoding="utf-8")), values)
    return found


def variables(file: Path = FILE) -> dict[str, bool]:
    """Every ${NAME} of the file, and whether the file insists on a value."""
    found: dict[str, bool] = {}
    for name, kind, _ in _VARIABLE.findall(file.read_text(encoding="utf-8")):
        if name:
            found[name] = found.get(name, False) or kind == "?"
    return found


def ours(services: Mapping[str, Service]) -> dict[str, Service]:
    """The services that run our image."""
    return {name: service for name, service in services.items() if "build" in service}


def environment(service: Service, values: Mapping[str, str]) -> dict[str, str]:
    """As its container gets it: a name without a value is taken from `values`, and absent where they have none."""
    given: Mapping[str, str | None] = service.get("environment") or {}
    found = {name: values.get(name) if value is None else value for name, value in given.items()}
    return {name: value for name, value in found.items() if value is not None}


def _filled(value: Any, values: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _filled(item, values) for key, item in value.items()}
    if isinstance(value, list):
        return [_filled(item, values) for item in value]
    return _VARIABLE.sub(lambda m: _value(m, values), value) if isinstance(value, str) else value


def _value(found: re.Match[str], values: Mapping[str, str]) -> str:
    name, kind, default = found.groups()
    if name is None:
        return "$"
    return values.get(name) or (default if kind == "-" else values[name])

"""Checks the parameters of a request against the bundled discovery document, as the real front end does.

The first gate behind the key: what passes has only known names and converted values.
"""

from __future__ import annotations

import importlib.resources
import json
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from tests.emulators.youtube.dataapi.errors import ApiError, violation

Args = dict[str, Any]


@dataclass(frozen=True)
class Method:
    name: str
    parameters: dict[str, dict[str, Any]]
    required: tuple[str, ...]


@lru_cache(maxsize=1)
def methods() -> dict[str, Method]:
    """The GET methods of the document by path, each with its own and the common parameters."""
    folder = importlib.resources.files("googleapiclient") / "discovery_cache" / "documents"
    document = json.loads((folder / "youtube.v3.json").read_text(encoding="utf-8"))
    found = {}
    for resource, content in document["resources"].items():
        for verb, method in content.get("methods", {}).items():
            if method["httpMethod"] == "GET" and "{" not in method["path"]:
                own = method.get("parameters", {})
                required = tuple(name for name, spec in own.items() if spec.get("required"))
                name = f"{resource}.{verb}"
                found["/" + method["path"]] = Method(name, {**document["parameters"], **own}, required)
    return found


def validate(method: Method, query: dict[str, list[str]]) -> Args:
    """Converted arguments; ApiError for an unknown name, a bad value or a missing one."""
    args: Args = {}
    for name, values in query.items():
        spec = method.parameters.get(name)
        if spec is None:
            raise _unknown(name)
        converted = [_convert(name, spec, value) for value in values]
        args[name] = converted if spec.get("repeated") else converted[-1]
    for name in method.required:
        if name not in args:
            raise _missing(name)
    return args


def _unknown(name: str) -> ApiError:
    message = (
        f'Invalid JSON payload received. Unknown name "{name}": Cannot bind query parameter. '
        f"Field '{name}' could not be found in request message."
    )
    return ApiError(400, message, "invalid", "global", status="INVALID_ARGUMENT", details=violation(message))


def _missing(name: str) -> ApiError:
    if name == "part":
        return ApiError(400, "'part'", "unknownPart", "youtube.part", location="part")
    return ApiError(400, f"Required parameter: {name}", "required", "global", location=name)


def _snake(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def _bad_value(name: str, kind: str, value: str) -> ApiError:
    message = f"Invalid value at '{_snake(name)}' ({kind}), \"{value}\""
    details = violation(message, _snake(name))
    return ApiError(400, message, "badRequest", "global", status="INVALID_ARGUMENT", details=details)


def _convert(name: str, spec: dict[str, Any], value: str) -> int | bool | str:
    if spec.get("type") == "integer":
        return _integer(name, spec, value)
    if spec.get("type") == "boolean":
        if value.lower() not in ("true", "false"):
            raise _bad_value(name, "TYPE_BOOL", value)
        return value.lower() == "true"
    if "enum" in spec and value not in spec["enum"]:
        raise _bad_value(name, f"type.googleapis.com/youtube.api.v3.{name}", value)
    if "pattern" in spec and not re.fullmatch(spec["pattern"], value):
        message = f"Invalid string value: '{value}'. Does not match the pattern."
        raise ApiError(400, message, "invalidParameter", "global", location=name)
    return value


def _integer(name: str, spec: dict[str, Any], value: str) -> int:
    unsigned = spec.get("format") == "uint32"
    if not re.fullmatch(r"\d+" if unsigned else r"-?\d+", value, re.ASCII):
        raise _bad_value(name, "TYPE_UINT32" if unsigned else "TYPE_INT32", value)
    number = int(value)
    low, high = int(spec.get("minimum", -(2**31))), int(spec.get("maximum", 2**32))
    if not low <= number <= high:
        message = f"Invalid value '{number}'. Values must be within the range: [{low}, {high}]"
        raise ApiError(400, message, "invalidParameter", "global", location=name)
    return number

"""One request and one answer as values, so that every route is a plain function.

The server makes Requests and sends Responses; routes know nothing of sockets.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from tests.emulators.youtube.journal import Record


@dataclass(frozen=True)
class Request:
    method: str
    host: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes
    record: Record

    @cached_property
    def args(self) -> dict[str, list[str]]:
        return parse_qs(self.query, keep_blank_values=True)

    def arg(self, name: str, default: str = "") -> str:
        return self.args.get(name, [default])[0]

    @cached_property
    def json(self) -> dict[str, Any]:
        """The JSON object in the body, empty when there is none."""
        try:
            value = json.loads(self.body)
        except ValueError:
            return {}
        return value if isinstance(value, dict) else {}

    def header(self, name: str) -> str:
        return self.headers.get(name.lower(), "")

    @property
    def signed_in(self) -> bool:
        cookie = self.header("Cookie")
        return "LOGIN_INFO=" in cookie and "SAPISID=" in cookie


@dataclass(frozen=True)
class FileSlice:
    """A stretch of a file as the body of an answer."""

    path: Path
    start: int
    length: int


@dataclass(frozen=True)
class Response:
    status: int
    body: bytes | FileSlice = b""
    content_type: str = "text/html; charset=utf-8"
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def length(self) -> int:
        return self.body.length if isinstance(self.body, FileSlice) else len(self.body)


def html(text: str, status: int = 200) -> Response:
    return Response(status, text.encode())


def as_json(value: object, status: int = 200) -> Response:
    return Response(status, json.dumps(value).encode(), "application/json; charset=UTF-8")


def nothing(status: int = 404) -> Response:
    return Response(status, b"")

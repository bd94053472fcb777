"""A strict reader of multipart/form-data: what it does not understand, it refuses instead of guessing."""

from __future__ import annotations

import re
from dataclasses import dataclass

_BOUNDARY = re.compile(r'^multipart/form-data;\s*boundary="?([^";]{1,70})"?$')
_DISPOSITION = re.compile(r'^form-data; name="([^"]+)"(?:; filename="([^"]*)")?$')


class MalformedMultipartError(ValueError):
    """The body is not the multipart that its header promises."""


@dataclass(frozen=True)
class Part:
    name: str
    content: bytes
    filename: str | None = None
    media_type: str = ""


def parse_multipart(content_type: str, body: bytes) -> list[Part]:
    """The parts in their order. Raises MalformedMultipartError."""
    match = _BOUNDARY.match(content_type)
    if match is None:
        raise MalformedMultipartError("content-type is not multipart/form-data with a boundary")
    delimiter = b"--" + match.group(1).encode("ascii")
    if not body.startswith(delimiter + b"\r\n") or not body.endswith(b"\r\n" + delimiter + b"--\r\n"):
        raise MalformedMultipartError("body does not begin and end with the boundary")
    inner = body[len(delimiter) + 2 : -(len(delimiter) + 6)]
    return [_part(piece) for piece in inner.split(b"\r\n" + delimiter + b"\r\n")]


def _part(piece: bytes) -> Part:
    head, separator, content = piece.partition(b"\r\n\r\n")
    if not separator:
        raise MalformedMultipartError("a part has no blank line after its headers")
    headers = {}
    for line in head.decode("utf-8").split("\r\n"):
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    match = _DISPOSITION.match(headers.get("content-disposition", ""))
    if match is None:
        raise MalformedMultipartError("a part has no usable Content-Disposition")
    return Part(match.group(1), content, match.group(2), headers.get("content-type", ""))

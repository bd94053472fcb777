"""Page tokens in the real build, and slices of lists.

A token is base64url over a protobuf whose text holds another one with the offset.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from tests.emulators.youtube.dataapi.errors import ApiError

Item = TypeVar("Item")


def _pack(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _unpack(text: str | bytes) -> bytes:
    raw = text.encode() if isinstance(text, str) else text
    return base64.b64decode(raw + b"=" * (-len(raw) % 4), altchars=b"-_", validate=True)


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def page_token(offset: int, backwards: bool = False) -> str:
    inner = b"PT:" + _pack(b"\x08" + _varint(offset)).encode()
    return _pack(b"\x10" + bytes([backwards]) + b"\x1a" + bytes([len(inner)]) + inner)


def offset_of(token: str) -> int:
    try:
        match = re.fullmatch(rb"\x10[\x00\x01]\x1a.PT:(.+)", _unpack(token), re.DOTALL)
        inner = _unpack(match[1]) if match else b""
    except (binascii.Error, UnicodeEncodeError):
        inner = b""
    if not inner.startswith(b"\x08"):
        message = "The request specifies an invalid page token."
        raise ApiError(400, message, "invalidPageToken", location="pageToken")
    return sum((byte & 0x7F) << (7 * place) for place, byte in enumerate(inner[1:]))


def paged(items: Sequence[Item], args: dict[str, Any], render: Callable[[Item, int], dict[str, Any]]) -> dict[str, Any]:
    """One page: five items unless maxResults says otherwise."""
    size = args.get("maxResults", 5)
    start = offset_of(args["pageToken"]) if args.get("pageToken") else 0
    page: dict[str, Any] = {}
    if start + size < len(items):
        page["nextPageToken"] = page_token(start + size)
    if start:
        page["prevPageToken"] = page_token(max(0, start - size), backwards=True)
    page["items"] = [render(item, start + i) for i, item in enumerate(items[start : start + size])]
    page["pageInfo"] = {"totalResults": len(items), "resultsPerPage": size}
    return page

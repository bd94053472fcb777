"""One answer of the ODIN host, or the reason why there is none; everything that reads the wire starts here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Any

_RETRIED = frozenset({408, 425, 429})


class Trouble(StrEnum):
    """Why an exchange gave no usable answer."""

    NONE = ""
    CONNECTION = "connection"
    TIMEOUT = "timeout"
    TOO_LARGE = "too_large"
    CERTIFICATE = "certificate"
    PROXY_LOGIN = "proxy_login"
    REDIRECT = "redirect"
    ADDRESS = "address"


_RETRIED_TROUBLES = frozenset({Trouble.CONNECTION, Trouble.TIMEOUT, Trouble.TOO_LARGE})


@dataclass(frozen=True)
class Answer:
    """`status` is 0 where no answer arrived; `detail` then says what the network library said."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    trouble: Trouble = Trouble.NONE
    detail: str = ""

    @property
    def ok(self) -> bool:
        """Succeeded with a JSON object, the only thing that ODIN answers with."""
        return 200 <= self.status < 300 and self.trouble is Trouble.NONE and self.object is not None

    @property
    def object(self) -> dict[str, Any] | None:
        """The body as a JSON object; None for anything else (truncated, empty, a web page, a list)."""
        try:
            value = json.loads(self.body)
        except (ValueError, RecursionError):
            return None
        return value if isinstance(value, dict) else None

    @property
    def retryable(self) -> bool:
        """Worth another try: overload, server failure, lost connection, or a success that cannot be read."""
        if self.trouble is not Trouble.NONE:
            return self.trouble in _RETRIED_TROUBLES
        return self.status in _RETRIED or self.status >= 500 or (200 <= self.status < 300 and not self.ok)

    def retry_after_s(self, now: datetime) -> float | None:
        """The pause that the host asks for, in seconds or until a date; None when it asks for none that can be read."""
        text = self.headers.get("Retry-After", "").strip()
        if text.isascii() and text.isdigit():
            return float(min(int(text[:12]), 10**9))
        try:
            until = parsedate_to_datetime(text)
            return max(0.0, (until.replace(tzinfo=until.tzinfo or now.tzinfo) - now).total_seconds())
        except (ValueError, TypeError, IndexError, OverflowError):
            return None

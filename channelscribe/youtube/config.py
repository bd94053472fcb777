"""How we may talk to YouTube: keys, cookies, pace and patience, as one frozen value.

Everything in this room is built from it; a Prefect block or the environment builds it (`from_settings`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from channelscribe.core.errors import EnvironmentFailure, UsageError
from channelscribe.core.redact import remember_secret
from channelscribe.core.settings import Settings

_KEY = re.compile(r"[\w.~+/=-]{6,200}", re.ASCII)


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A Data API key. Keys of one Cloud project share one quota, so they carry the same `project` label."""

    secret: str = field(repr=False)
    project: str = ""

    def __post_init__(self) -> None:
        if not _KEY.fullmatch(self.secret):
            raise UsageError(
                "A YouTube API key has an impossible form; copy it again from the Google Cloud console.",
                code="bad_key",
            )
        remember_secret(self.secret)


def parse_keys(values: str | Iterable[str]) -> tuple[ApiKey, ...]:
    """Keys from `KEY` or `project:KEY`, apart by comma, space or newline; one without label is its own project."""
    pieces = re.split(r"[\s,;]+", values) if isinstance(values, str) else [v.strip() for v in values]
    keys: list[ApiKey] = []
    for piece in dict.fromkeys(p for p in pieces if p):
        label, _, secret = piece.rpartition(":")
        keys.append(ApiKey(secret, label or f"key {len(keys) + 1}"))
    return tuple(keys)


@dataclass(frozen=True, slots=True)
class YouTubeConfig:
    """All knobs of the YouTube side. The defaults stay below what YouTube grants a guest (research/youtube.md, 3.2)."""

    api_keys: tuple[ApiKey, ...] = ()
    cookies: str = ""
    sleep_between_requests_s: float = 0.75
    spacing_s: float = 3.0
    max_downloads: int = 3
    pause_s: float = 900.0
    longest_pause_s: float = 3600.0
    max_pauses: int = 3
    calm_s: float = 3600.0
    socket_timeout_s: float = 20.0
    silence_s: float = 300.0
    slowest_bytes_per_s: float = 4_000.0
    slow_after_s: float = 30.0
    http_retries: int = 4
    attempts: int = 4
    backoff_s: float = 2.0
    refused_pauses_s: tuple[float, ...] = (3.0, 8.0)
    date_lookups: int = 120
    javascript: bool = True

    def __post_init__(self) -> None:
        if self.max_downloads < 1 or self.attempts < 1 or self.max_pauses < 0:
            raise UsageError("Downloads at once and attempts must be at least 1.", code="bad_config")
        if self.cookies and not Path(self.cookies).expanduser().is_file():
            raise EnvironmentFailure(
                f"The cookie file {self.cookies} does not exist; correct YOUTUBE_COOKIES or remove it.", code="cookies"
            )

    @classmethod
    def from_settings(cls, settings: Settings) -> YouTubeConfig:
        return cls(
            api_keys=parse_keys(settings.youtube_api_keys.get_secret_value()),
            cookies=settings.youtube_cookies,
            spacing_s=settings.youtube_spacing_s,
            sleep_between_requests_s=settings.youtube_request_pause_s,
        )

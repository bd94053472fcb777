"""What is needed to talk to one ODIN project, checked before the first request; built from settings or by a block."""

from __future__ import annotations

import html
import json
import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlsplit

from channelscribe.core.errors import EnvironmentFailure
from channelscribe.core.redact import remember_secret
from channelscribe.core.settings import Settings

DEFAULT_BASE_URL = "https://api.getodin.ai"
_HEADER_VALUE = re.compile(r"[\x21-\x7e]+")
_PROJECT_ID = re.compile(r"[^\s/\\?#%\x00-\x1f\x7f]{1,200}")


@dataclass(frozen=True, slots=True)
class OdinConfig:
    """Credentials, project and patience. Raises EnvironmentFailure for values that cannot work.

    backoff_max_s   the longest pause between two tries; a Retry-After beyond it ends the tries at once
    empty_polls     so many looks in a row at a synced document without chunks call it broken
    spacing_s       shortest time between two uploads (ODIN's rate limits are undocumented)
    """

    api_key: str = field(repr=False)
    api_secret: str = field(repr=False)
    project_id: str
    base_url: str = DEFAULT_BASE_URL
    path: str = "/"
    author: str = "channelscribe"
    connect_timeout_s: float = 10.0
    read_timeout_s: float = 120.0
    verify_timeout_s: float = 300.0
    poll_s: float = 1.0
    poll_max_s: float = 10.0
    empty_polls: int = 5
    max_retries: int = 4
    backoff_s: float = 1.0
    backoff_max_s: float = 60.0
    spacing_s: float = 0.2
    max_document_bytes: int = 200_000_000
    max_answer_bytes: int = 64 << 20

    def __post_init__(self) -> None:
        for name in ("api_key", "api_secret", "project_id"):
            object.__setattr__(self, name, getattr(self, name).strip())
        for secret in (self.api_key, self.api_secret):
            _remember(secret)
        _require(ODIN_API_KEY=self.api_key, ODIN_API_SECRET=self.api_secret, ODIN_PROJECT_ID=self.project_id)
        _check_header("ODIN_API_KEY", self.api_key)
        _check_header("ODIN_API_SECRET", self.api_secret)
        if not _PROJECT_ID.fullmatch(self.project_id) or self.project_id in {".", ".."}:
            raise EnvironmentFailure(
                "ODIN_PROJECT_ID is not a project id; copy it from the project's address in ODIN's web page.",
                code="odin_project",
            )
        object.__setattr__(self, "base_url", _base_url(self.base_url))

    @classmethod
    def from_settings(cls, settings: Settings, **changes: Any) -> OdinConfig:
        """The configuration that the environment describes; `changes` override single fields."""
        own: dict[str, Any] = {
            "api_key": settings.odin_api_key.get_secret_value(),
            "api_secret": settings.odin_api_secret.get_secret_value(),
            "project_id": settings.odin_project_id,
            "base_url": settings.odin_base_url,
        }
        return cls(**{**own, **changes})


def _remember(secret: str) -> None:
    """Masks the secret in every form in which a host could echo it."""
    for form in {secret, quote(secret, safe=""), html.escape(secret), json.dumps(secret)[1:-1]}:
        remember_secret(form)


def _require(**values: str) -> None:
    missing = [name for name, value in values.items() if not value]
    if missing:
        raise EnvironmentFailure(
            f"Not set: {', '.join(missing)}. Set what is missing in the environment or in `.env` "
            "(ODIN's web page: My Account, API Keys; the project id stands in the project's address).",
            code="odin_settings",
        )


def _check_header(name: str, value: str) -> None:
    if not _HEADER_VALUE.fullmatch(value):
        raise EnvironmentFailure(
            f"{name} holds characters that no ODIN key has (spaces, line ends or non-ASCII); copy it again.",
            code="odin_settings",
        )


def _base_url(text: str) -> str:
    """The base URL without trailing slashes. It may have a path, but no credentials, query or fragment."""
    url = text.strip().rstrip("/")
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or re.search(r"[\s?#@\\\x00-\x1f]", url):
        raise EnvironmentFailure(
            f"ODIN_BASE_URL must be an http(s) address such as {DEFAULT_BASE_URL}, without credentials or a query.",
            code="odin_base_url",
        )
    return url

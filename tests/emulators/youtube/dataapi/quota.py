"""Keys and quota. Quota belongs to a Cloud project, not to a key; its day ends at midnight in California.

Every request is checked and charged here first, also the invalid ones.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from zoneinfo import ZoneInfo

from tests.emulators.youtube.dataapi.errors import ApiError, info, quota_exceeded

PACIFIC = ZoneInfo("America/Los_Angeles")


class KeyState(StrEnum):
    OK = "ok"
    INVALID = "invalid"
    EXPIRED = "expired"
    BLOCKED_REFERRER = "blocked_referrer"
    BLOCKED_IP = "blocked_ip"
    BLOCKED_SERVICE = "blocked_service"


@dataclass
class Project:
    number: str
    daily: int = 10_000
    search_daily: int = 100
    per_minute: int = 1_800_000
    disabled: bool = False


@dataclass
class Key:
    value: str
    project: Project
    state: KeyState = KeyState.OK


_BLOCKED = {
    KeyState.BLOCKED_REFERRER: ("Requests from referer <empty> are blocked.", "API_KEY_HTTP_REFERRER_BLOCKED"),
    KeyState.BLOCKED_IP: (
        "The provided API key has an IP address restriction. The originating IP address of the call (127.0.0.1) "
        "violates this restriction.",
        "API_KEY_IP_ADDRESS_BLOCKED",
    ),
    KeyState.BLOCKED_SERVICE: (
        "Requests to this API youtube method youtube.api.v3.V3DataVideoService.List are blocked.",
        "API_KEY_SERVICE_BLOCKED",
    ),
}
_NO_KEY = (
    "Method doesn't allow unregistered callers (callers without established identity). Please use API Key or other "
    "form of API consumer identity to call this API."
)


class Quota:
    """The keys that exist and what their projects have used."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._lock = threading.Lock()
        self.keys: dict[str, Key] = {}
        self.used: Counter[tuple[str, str, str]] = Counter()
        self._minutes: Counter[tuple[str, datetime]] = Counter()

    def add_key(self, value: str, project: Project | str, state: KeyState | str = KeyState.OK, **limits: Any) -> Key:
        """Adds a key; a project named by number is made once and shared by all keys that name it."""
        if isinstance(project, str):
            known = next((k.project for k in self.keys.values() if k.project.number == project), None)
            project = known or Project(project, **limits)
        self.keys[value] = Key(value, project, KeyState(state))
        return self.keys[value]

    def units_used(self, project: str | None = None) -> int:
        return sum(units for (number, _, _), units in self.used.items() if project in (None, number))

    def exhaust(self, project: str) -> None:
        """Uses up what is left of the project's day."""
        for bucket in ("default", "search"):
            self.used[(project, bucket, self._day())] = 10**9

    def _day(self) -> str:
        return self._now().astimezone(PACIFIC).date().isoformat()

    def authorise(self, value: str | None) -> Key:
        if not value:
            raise ApiError(403, _NO_KEY, "forbidden", "global", status="PERMISSION_DENIED")
        key = self.keys.get(value)
        if key is None or key.state in (KeyState.INVALID, KeyState.EXPIRED):
            expired = key is not None and key.state is KeyState.EXPIRED
            words = "API key expired. Please renew the API key."
            message = words if expired else "API key not valid. Please pass a valid API key."
            details = info("API_KEY_INVALID")
            raise ApiError(400, message, "badRequest", "global", status="INVALID_ARGUMENT", details=details)
        if key.state in _BLOCKED:
            message, reason = _BLOCKED[key.state]
            details = info(reason, consumer=f"projects/{key.project.number}")
            raise ApiError(403, message, "forbidden", "global", status="PERMISSION_DENIED", details=details)
        if key.project.disabled:
            raise _disabled(key.project.number)
        return key

    def charge(self, key: Key, method: str) -> None:
        """One unit per call; search has a bucket of its own. Counts are taken under a lock: threads share them."""
        project, now = key.project, self._now()
        bucket = "search" if method == "search.list" else "default"
        limit = project.search_daily if bucket == "search" else project.daily
        with self._lock:
            minute = (project.number, now.replace(second=0, microsecond=0))
            self._minutes[minute] += 1
            if self._minutes[minute] > project.per_minute:
                raise _too_fast(project)
            slot = (project.number, bucket, self._day())
            if self.used[slot] >= limit:
                raise quota_exceeded()
            self.used[slot] += 1


def _disabled(number: str) -> ApiError:
    message = (
        f"YouTube Data API v3 has not been used in project {number} before or it is disabled. Enable it by visiting "
        f"https://console.developers.google.com/apis/api/youtube.googleapis.com/overview?project={number} then retry. "
        "If you enabled this API recently, wait a few minutes for the action to propagate to our systems and retry."
    )
    details = info("SERVICE_DISABLED", consumer=f"projects/{number}")
    return ApiError(403, message, "accessNotConfigured", "usageLimits", status="PERMISSION_DENIED", details=details)


def _too_fast(project: Project) -> ApiError:
    message = (
        "Quota exceeded for quota metric 'Queries' and limit 'Queries per minute' of service "
        f"'youtube.googleapis.com' for consumer 'project_number:{project.number}'."
    )
    details = info(
        "RATE_LIMIT_EXCEEDED",
        consumer=f"projects/{project.number}",
        quota_limit="defaultPerMinutePerProject",
        quota_limit_value=str(project.per_minute),
        quota_metric="youtube.googleapis.com/default",
    )
    return ApiError(429, message, "rateLimitExceeded", "global", status="RESOURCE_EXHAUSTED", details=details)

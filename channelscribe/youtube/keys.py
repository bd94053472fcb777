"""Which API key is used next: in order, skipping refused keys and projects whose day is used up.

Keys are a failover, never a rotation: several projects for one tool to gain quota is "sharding", which YouTube forbids
(research/youtube.md, 1.7).
"""

from __future__ import annotations

import logging
import threading
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

from channelscribe.core.clock import Clock
from channelscribe.core.errors import EnvironmentFailure, Throttled
from channelscribe.youtube.config import ApiKey

log = logging.getLogger(__name__)
PACIFIC = ZoneInfo("America/Los_Angeles")


def next_pacific_midnight(now: datetime) -> datetime:
    """When YouTube's daily quota is renewed: midnight in Los Angeles, 07:00 or 08:00 UTC."""
    tomorrow = now.astimezone(PACIFIC).date() + timedelta(days=1)
    return datetime.combine(tomorrow, time(), PACIFIC).astimezone(UTC)


class KeyPool:
    """Thread-safe. `refused` and `parked` hold for the life of the pool; a parked project wakes at its reset."""

    def __init__(self, keys: tuple[ApiKey, ...], clock: Clock) -> None:
        self._keys = keys
        self._clock = clock
        self._lock = threading.Lock()
        self._refused: dict[ApiKey, str] = {}
        self._parked: dict[str, datetime] = {}
        if len({key.project for key in keys}) > 1:
            log.warning(
                "Keys of several projects are used as a failover only; to need more quota, ask for it: "
                "https://support.google.com/youtube/contact/yt_api_form"
            )

    def pick(self) -> ApiKey:
        """The first key that may serve. Raises Throttled until the reset, EnvironmentFailure when all are refused."""
        with self._lock:
            now = self._clock.now()
            usable = [key for key in self._keys if key not in self._refused]
            if not usable:
                raise EnvironmentFailure(self._all_refused(), code="bad_key")
            for key in usable:
                if self._parked.get(key.project, now) <= now:
                    return key
            reset = min(self._parked[key.project] for key in usable)
        raise Throttled(
            f"The daily quota of every YouTube API key is used up; it is renewed at {reset:%Y-%m-%d %H:%M} UTC.",
            code="quota_exceeded",
            retry_after=reset,
        )

    def park(self, key: ApiKey) -> None:
        """The day of this key's project is used up."""
        with self._lock:
            self._parked[key.project] = next_pacific_midnight(self._clock.now())
            log.warning("The daily quota of %s is used up until %s", key.project, self._parked[key.project])

    def refuse(self, key: ApiKey, reason: str) -> None:
        """YouTube does not accept this key; it is not tried again."""
        with self._lock:
            self._refused[key] = reason
            log.warning("YouTube refuses %s: %s", key.project or "the API key", reason)

    def notes(self) -> tuple[str, ...]:
        """For people: which keys did not serve."""
        with self._lock:
            refused = [f"The API key of {key.project} was refused: {why}" for key, why in self._refused.items()]
            now = self._clock.now()
            parked = [
                f"The quota of {project} is used up until {until:%Y-%m-%d %H:%M} UTC."
                for project, until in self._parked.items()
                if until > now
            ]
        return (*refused, *parked)

    def _all_refused(self) -> str:
        why = "; ".join(dict.fromkeys(self._refused.values()))
        return f"YouTube refuses the API key{'s' if len(self._keys) > 1 else ''}: {why} Correct YOUTUBE_API_KEYS."

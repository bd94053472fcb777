"""The error tree. Every failure of the outside world becomes one of these at the border where it enters.

    ChannelscribeError
    ├── UsageError             the caller asked for something that cannot be            never; mend the call
    ├── Permanent              private, deleted, terminated, no audio track             never by itself
    ├── NeedsAccess            members-only, age, payment                               when credentials change
    │   └── GeoBlocked         not in this country                                      when the region changes
    ├── NotReady               premiere, live now, still processing                     after `retry_after`
    ├── Transient              5xx, reset, timeout                                      now, with backoff, bounded
    │   └── Refused            the media server said 403                                now, after a new extraction
    ├── LaneFailure            about the visitor, never about one video
    │   ├── Throttled          429, rate limit, quota                                   the whole lane pauses
    │   └── Blocked            bot wall, captcha                                        the lane stops, ask the operator
    ├── EnvironmentFailure     disk full, bad credentials, missing part                 stop the run, mend, start again
    │   └── GpuFailure         lost card, critical error, stop zone                     stop the run, look at the card
    │       └── CoolingTimeout     the card did not cool in the time allowed            stop the run, a retry goes on
    └── Poisoned               media that crashes, hangs or cheats the decoder          quarantine after two attempts

The message of an error is one sentence that tells the user what happened and what to do. `code` is the short name that
tables and tests use. Messages are redacted on creation, so a secret never reaches a log, an artifact or a table.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import ClassVar

from channelscribe.core.redact import redact


class FailureClass(StrEnum):
    """The names under which failures are recorded in `outcomes/`."""

    USAGE = "usage"
    PERMANENT = "permanent"
    NEEDS_ACCESS = "needs_access"
    GEO = "geo"
    NOT_READY = "not_ready"
    TRANSIENT = "transient"
    REFUSED = "refused"
    THROTTLED = "throttled"
    BLOCKED = "blocked"
    ENVIRONMENT = "environment"
    GPU = "gpu"
    POISONED = "poisoned"
    BUG = "bug"


class Decision(StrEnum):
    """What happens next; the answer that every failure carries."""

    NEVER = "never"
    WHEN_ACCESS_CHANGES = "when_access_changes"
    LATER = "later"
    NOW = "now"
    PAUSE_LANE = "pause_lane"
    ASK_OPERATOR = "ask_operator"
    STOP_RUN = "stop_run"
    QUARANTINE = "quarantine"


class ChannelscribeError(Exception):
    """Base of all classified failures. `retry_after` is the earliest moment (UTC) at which another try makes sense."""

    failure_class: ClassVar[FailureClass] = FailureClass.BUG
    decision: ClassVar[Decision] = Decision.NEVER

    def __init__(self, reason: str, *, code: str = "", retry_after: datetime | None = None) -> None:
        self.reason = redact(" ".join(reason.split()))
        self.code = code or type(self).__name__.lower()
        self.retry_after = retry_after
        super().__init__(self.reason)

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.reason, self.code, self.retry_after)


def _rebuild(
    kind: type[ChannelscribeError], reason: str, code: str, retry_after: datetime | None
) -> ChannelscribeError:
    return kind(reason, code=code, retry_after=retry_after)


class UsageError(ChannelscribeError):
    """The caller asked for something that cannot be; nothing was done."""

    failure_class = FailureClass.USAGE
    decision = Decision.NEVER


class Permanent(ChannelscribeError):
    """This video will never be available."""

    failure_class = FailureClass.PERMANENT
    decision = Decision.NEVER


class NeedsAccess(ChannelscribeError):
    """Only other credentials help."""

    failure_class = FailureClass.NEEDS_ACCESS
    decision = Decision.WHEN_ACCESS_CHANGES


class GeoBlocked(NeedsAccess):
    """Only another region helps."""

    failure_class = FailureClass.GEO


class NotReady(ChannelscribeError):
    """The video is not there yet; `retry_after` says when it is expected."""

    failure_class = FailureClass.NOT_READY
    decision = Decision.LATER


class Transient(ChannelscribeError):
    """Worth another try now, after a pause."""

    failure_class = FailureClass.TRANSIENT
    decision = Decision.NOW


class Refused(Transient):
    """The media server refused an address that it had given out; a new extraction heals it."""

    failure_class = FailureClass.REFUSED


class LaneFailure(ChannelscribeError):
    """Said about the visitor, never about one video: the whole lane stops."""


class Throttled(LaneFailure):
    """Too many requests or the day's quota is used up; everything in the lane waits."""

    failure_class = FailureClass.THROTTLED
    decision = Decision.PAUSE_LANE


class Blocked(LaneFailure):
    """The service does not believe that we may ask; a person has to decide."""

    failure_class = FailureClass.BLOCKED
    decision = Decision.ASK_OPERATOR


class EnvironmentFailure(ChannelscribeError):
    """Our side is broken; no video can succeed until it is mended."""

    failure_class = FailureClass.ENVIRONMENT
    decision = Decision.STOP_RUN


class GpuFailure(EnvironmentFailure):
    """The card is lost, in error or beyond its limits; nothing more may run on it."""

    failure_class = FailureClass.GPU


class CoolingTimeout(GpuFailure):
    """The guard has held the run for longer than allowed; a retry goes on after the last finished window."""


class Poisoned(ChannelscribeError):
    """Media that crashes, hangs or cheats the decoder."""

    failure_class = FailureClass.POISONED
    decision = Decision.QUARANTINE

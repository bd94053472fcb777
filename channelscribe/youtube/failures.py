"""Turns a failure of yt-dlp, the network or the disk into a class of `core.errors` with one sentence for the user.

The border of this room: whatever a download or a listing meets passes through `classify`. Structured facts come before
texts, and captured warnings are evidence too: an InnerTube 403, 429 or 5xx ends as the useless error "No video formats
found!" with its cause only in a warning (research/youtube.md, 3.3).
"""

from __future__ import annotations

import errno
import re
import ssl
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from channelscribe.core.errors import (
    ChannelscribeError,
    EnvironmentFailure,
    GeoBlocked,
    NotReady,
    Permanent,
    Poisoned,
    Refused,
    Throttled,
    Transient,
)
from channelscribe.youtube.reasons import RULES, Rule

_VAGUE = re.compile(
    r"No video formats found|Requested format is not available|Failed to extract any player response|"
    r"Only images are available",
    re.I,
)
_IN = re.compile(r"\bin (\d+|a|an|one) (minute|hour|day|week|month)s?\b", re.I)
_UNIT_S = {"minute": 60, "hour": 3600, "day": 86400, "week": 7 * 86400, "month": 30 * 86400}
_LONGEST_WISH_S = 86_400
_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG}
DISK_FULL = "The disk is full or not writable; free some space under the data folder and run again."
CERTIFICATE = (
    "The certificate of YouTube could not be verified; if a proxy stands in between, name its certificate file in "
    "SSL_CERT_FILE."
)


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known about a failure: its words, the warnings before it, and the exceptions behind it."""

    text: str
    warnings: tuple[str, ...]
    chain: tuple[BaseException, ...]


def classify(
    error: BaseException | str, warnings: Sequence[str] = (), *, now: datetime | None = None
) -> ChannelscribeError:
    """The classified error for a failure. A ChannelscribeError passes unchanged; an unknown one becomes Transient."""
    if isinstance(error, ChannelscribeError):
        return error
    moment = now or datetime.now(UTC)
    evidence = _evidence(error, warnings)
    if (structured := _by_kind(evidence)) is not None:
        return structured
    for text in _texts(evidence):
        for rule in RULES:
            if rule.pattern.search(text) and (text is evidence.text or not rule.vague):
                return _made(rule, evidence, text, moment)
    return _by_transport(evidence)


def _evidence(error: BaseException | str, warnings: Sequence[str]) -> Evidence:
    if isinstance(error, str):
        return Evidence(error, tuple(warnings), ())
    return Evidence(str(getattr(error, "msg", None) or error), tuple(warnings), tuple(_causes(error)))


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        info = getattr(current, "exc_info", None)
        inner = info[1] if isinstance(info, tuple) and info[1] is not current else None
        current = inner or getattr(current, "cause", None) or current.__cause__ or current.__context__


def _texts(evidence: Evidence) -> list[str]:
    return [*evidence.warnings, evidence.text] if _VAGUE.search(evidence.text) else [evidence.text]


def _by_kind(evidence: Evidence) -> ChannelscribeError | None:
    """What the type of an exception says for certain."""
    for cause in evidence.chain:
        if isinstance(cause, ChannelscribeError):
            return cause
        if isinstance(cause, ssl.SSLCertVerificationError):
            return EnvironmentFailure(CERTIFICATE, code="certificate")
        if isinstance(cause, OSError) and cause.errno in _DISK:
            return EnvironmentFailure(DISK_FULL, code="disk")
        if isinstance(cause, PermissionError):
            return EnvironmentFailure(f"No permission to write: {cause.filename or cause}.", code="disk")
        if type(cause).__name__ == "GeoRestrictedError":
            return GeoBlocked("The video is not available in the country of this address.", code="geo")
    return None


def _by_transport(evidence: Evidence) -> ChannelscribeError:
    """No rule knew the words: the HTTP status or the kind of connection failure decides."""
    for cause in evidence.chain:
        status = getattr(cause, "status", None)
        if isinstance(status, int) and status >= 400:
            return _by_status(status)
        if isinstance(cause, OSError):
            return Transient("The connection to YouTube failed.", code="network")
        if isinstance(cause, UnicodeError | ValueError | KeyError | TypeError | AttributeError | IndexError):
            return Transient(f"yt-dlp did not understand YouTube's answer: {_brief(evidence.text)}", code="extraction")
    return Transient(f"YouTube could not be read: {_brief(evidence.text)}", code="unknown")


def _by_status(status: int) -> ChannelscribeError:
    if status == 403:
        return Refused("The media server refused the address it had given out.", code="media_403")
    if status == 429:
        return Throttled("YouTube says that this address asks too often.", code="http_429")
    if status == 416:
        return Poisoned("The media server has nothing to send for this video.", code="not_media")
    if status in {404, 410}:
        return Permanent("YouTube does not know this address any more.", code="removed")
    return Transient(f"YouTube answered with HTTP status {status}.", code="http_5xx" if status >= 500 else "http")


def _made(rule: Rule, evidence: Evidence, text: str, now: datetime) -> ChannelscribeError:
    after = _asked_for(evidence, now) if issubclass(rule.error, Throttled) else None
    return rule.error(rule.reason, code=rule.code, retry_after=after or _retry_after(rule, text, now))


def _asked_for(evidence: Evidence, now: datetime) -> datetime | None:
    """The server's own Retry-After, in seconds."""
    for cause in evidence.chain:
        headers = getattr(getattr(cause, "response", None), "headers", None) or {}
        if str(seconds := headers.get("Retry-After", "")).isdigit():
            return now + timedelta(seconds=min(int(seconds), _LONGEST_WISH_S))
    return None


def _retry_after(rule: Rule, text: str, now: datetime) -> datetime | None:
    if issubclass(rule.error, NotReady) and (found := _IN.search(text)):
        count = int(found[1]) if found[1].isdigit() else 1
        return now + timedelta(seconds=min(count, 400) * _UNIT_S[found[2].lower()])
    return now + timedelta(seconds=rule.retry_after_s) if rule.retry_after_s else None


def _brief(text: str) -> str:
    line = re.sub(r"^(?:ERROR:\s*)?(?:\[[\w:]+\]\s*)?(?:[\w-]{11}:\s*)?", "", " ".join(text.split()))
    return line if len(line) <= 200 else f"{line[:197]}..."

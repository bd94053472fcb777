"""YouTube's words and the machine's errors, sorted into classes."""

from __future__ import annotations

import errno
import ssl
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from channelscribe.core.errors import (
    Blocked,
    ChannelscribeError,
    EnvironmentFailure,
    GeoBlocked,
    NeedsAccess,
    NotReady,
    Permanent,
    Refused,
    Throttled,
    Transient,
)
from channelscribe.youtube.failures import classify
from channelscribe.youtube.reasons import RULES

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
SAID: list[tuple[str, type[ChannelscribeError], str]] = [
    ("[youtube] aaaaaaaaaaa: Sign in to confirm you\u2019re not a bot. This helps protect", Blocked, "bot_check"),
    ("[youtube] aaaaaaaaaaa: Sign in to confirm you're not a bot", Blocked, "bot_check"),
    ("Your IP is likely being blocked by Youtube", Blocked, "ip_blocked"),
    ("The following content is not available on this app.. Watch on the latest version", Blocked, "app_refused"),
    ("Unable to download API page: HTTP Error 403: Forbidden", Blocked, "api_403"),
    ("Video unavailable. This content isn\u2019t available, try again later.", Throttled, "session_rate_limited"),
    ("Unable to download webpage: HTTP Error 429: Too Many Requests", Throttled, "http_429"),
    ("Private video. Sign in if you've been granted access to this video", Permanent, "private"),
    ("Video unavailable. This video has been removed by the uploader", Permanent, "removed"),
    ("This video is no longer available because the YouTube account has been terminated.", Permanent, "removed"),
    ("blocked it in your country on copyright grounds", GeoBlocked, "geo"),
    ("who has blocked it on copyright grounds", Permanent, "copyright"),
    ("This video is DRM protected", Permanent, "drm"),
    ("Join this channel to get access to members-only content", NeedsAccess, "members_only"),
    ("Sign in to confirm your age. This video may be inappropriate", NeedsAccess, "age"),
    ("This video requires payment to watch", NeedsAccess, "paid"),
    ("Premieres in 3 days", NotReady, "premiere"),
    ("This live event will begin in a few moments.", NotReady, "live_scheduled"),
    ("We're processing this video. Check back later.", NotReady, "processing"),
    ("This live stream recording is not available.", NotReady, "recording_pending"),
    ("Video unavailable", NotReady, "unavailable"),
    ("unable to download video data: HTTP Error 403: Forbidden", Refused, "media_403"),
    ("HTTP Error 503: Service Unavailable", Transient, "http_5xx"),
    ("The read operation timed out", Transient, "network"),
    ("12345 bytes read, 100 more expected", Transient, "network"),
    ("Failed to extract any player response", Transient, "extraction"),
    ("[SSL: CERTIFICATE_VERIFY_FAILED] self-signed certificate in chain", EnvironmentFailure, "certificate"),
    ("unable to write data: [Errno 28] No space left on device", EnvironmentFailure, "disk"),
    ("'x' does not look like a Netscape format cookies file", EnvironmentFailure, "cookies"),
    ("a sentence that nobody has ever seen", Transient, "unknown"),
]


@pytest.mark.parametrize(("text", "kind", "code"), SAID, ids=[code for *_, code in SAID])
def test_words_of_youtube(text: str, kind: type[ChannelscribeError], code: str) -> None:
    error = classify(RuntimeError(text), now=NOW)
    assert (type(error), error.code) == (kind, code)
    assert error.reason.rstrip().endswith((".", ")")) or error.code == "unknown"


@pytest.mark.parametrize(
    ("warning", "kind"),
    [
        ("Unable to download API page: HTTP Error 403: Forbidden", Blocked),
        ("Unable to download API page: HTTP Error 429: Too Many Requests", Throttled),
        ("Unable to download API page: HTTP Error 500", Transient),
        ("n challenge solving failed: Some formats may be missing", EnvironmentFailure),
        ("Requested format is not available", NotReady),
    ],
)
def test_the_cause_of_a_vague_error_is_in_the_warnings(warning: str, kind: type[ChannelscribeError]) -> None:
    assert type(classify(RuntimeError("No video formats found!"), ["something else", warning], now=NOW)) is kind


def test_warnings_do_not_change_a_clear_error() -> None:
    assert isinstance(classify("Private video", ["HTTP Error 429"], now=NOW), Permanent)


@pytest.mark.parametrize(
    ("text", "wait"),
    [
        ("Premieres in 3 days", timedelta(days=3)),
        ("This live event will begin in 90 minutes.", timedelta(minutes=90)),
        ("Premieres in an hour", timedelta(hours=1)),
        ("Video unavailable", timedelta(hours=1)),
        ("Premieres in 99999999999999 days", timedelta(days=400)),
    ],
)
def test_not_ready_says_when_to_come_again(text: str, wait: timedelta) -> None:
    assert classify(text, now=NOW).retry_after == NOW + wait


@pytest.mark.parametrize(
    ("error", "kind", "code"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), EnvironmentFailure, "disk"),
        (OSError(errno.EROFS, "read-only"), EnvironmentFailure, "disk"),
        (PermissionError(errno.EACCES, "denied", "/x"), EnvironmentFailure, "disk"),
        (ssl.SSLCertVerificationError("bad"), EnvironmentFailure, "certificate"),
        (ConnectionResetError(104, "peer"), Transient, "network"),
        (TimeoutError(), Transient, "network"),
        (KeyError("streamingData"), Transient, "extraction"),
        (Blocked("already sorted", code="mine"), Blocked, "mine"),
    ],
)
def test_errors_of_the_machine(error: Exception, kind: type[ChannelscribeError], code: str) -> None:
    sorted_out = classify(error, now=NOW)
    assert (type(sorted_out), sorted_out.code) == (kind, code)


def test_a_cause_deep_below_is_found() -> None:
    try:
        try:
            raise OSError(errno.ENOSPC, "full")
        except OSError as full:
            raise RuntimeError("giving up") from full
    except RuntimeError as error:
        assert classify(error).code == "disk"


@settings(deadline=None)
@given(st.text(max_size=300), st.lists(st.text(max_size=100), max_size=3))
def test_any_text_becomes_one_classified_sentence(text: str, warnings: list[str]) -> None:
    error = classify(RuntimeError(text), warnings, now=NOW)
    assert isinstance(error, ChannelscribeError) and error.code
    assert "\n" not in error.reason and len(error.reason) < 500


def test_every_rule_has_a_reason_that_is_a_sentence() -> None:
    assert all(rule.reason[0].isupper() and rule.reason.rstrip().endswith((".", ")")) for rule in RULES)
    assert len({rule.code for rule in RULES}) == len(RULES)

"""YouTube's own words, sorted: which message means which class of failure, and the sentence that we give the user.

Data for `failures.classify`. Order matters: rules about the visitor (address, login, rate) come before rules about the
video, and the first match wins.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from channelscribe.core.errors import (
    Blocked,
    ChannelscribeError,
    EnvironmentFailure,
    GeoBlocked,
    NeedsAccess,
    NotReady,
    Permanent,
    Poisoned,
    Refused,
    Throttled,
    Transient,
    UsageError,
)

HOUR_S = 3600.0
_Q = "['\u2019]"  # YouTube writes both apostrophes


@dataclass(frozen=True, slots=True)
class Rule:
    """`vague` rules say nothing about the cause, so they never count when they stand in a warning."""

    error: type[ChannelscribeError]
    code: str
    pattern: re.Pattern[str]
    reason: str
    retry_after_s: float = 0.0
    vague: bool = False


def _rule(
    error: type[ChannelscribeError],
    code: str,
    pattern: str,
    reason: str,
    retry_after_s: float = 0.0,
    *,
    vague: bool = False,
) -> Rule:
    return Rule(error, code, re.compile(pattern, re.I | re.S), reason, retry_after_s, vague)


_WALL = (
    "wait some hours, use another address or proxy, or give cookies of a signed-in browser in YOUTUBE_COOKIES "
    "(an account used this way may be suspended)."
)
_COOKIES = "give cookies of an account that may see it in YOUTUBE_COOKIES."

_VISITOR = (
    _rule(
        Blocked,
        "bot_check",
        rf"confirm (?:that )?you{_Q}?(?:re| are) not a bot|prove (?:that )?you{_Q}?re not a bot",
        f"YouTube asks this address to prove that it is not a bot: {_WALL}",
    ),
    _rule(Blocked, "captcha", r"captcha challenge", f"YouTube shows this address a captcha: {_WALL}"),
    _rule(
        Blocked,
        "sign_in",
        r"Please sign in|Sign in to continue|Login details are needed",
        f"YouTube lets this address in only after signing in: {_WALL}",
    ),
    _rule(
        Blocked,
        "ip_blocked",
        r"Your IP is likely being blocked by Youtube",
        f"YouTube seems to block this address: {_WALL}",
    ),
    _rule(
        Blocked,
        "app_refused",
        r"content is not available on this app",
        f"YouTube refuses all clients of this address: {_WALL}",
    ),
    _rule(
        Throttled,
        "session_rate_limited",
        rf"content isn{_Q}?t available, try again later|rate-limited by YouTube",
        "YouTube has limited the rate of this address.",
        HOUR_S,
    ),
    _rule(
        Throttled,
        "http_429",
        r"HTTP Error 429|Too Many Requests",
        "YouTube says that this address asks too often (HTTP 429).",
    ),
    _rule(
        NeedsAccess,
        "cookies_rotated",
        r"account cookies are no longer valid",
        "The cookies in YOUTUBE_COOKIES are no longer valid; export them again from a signed-in browser.",
    ),
)
_NOT_YET = (
    _rule(
        NotReady,
        "premiere",
        r"Premieres? (?:in|will begin|at|on)\b|This video will premiere",
        "The video has not had its premiere yet.",
        6 * HOUR_S,
    ),
    _rule(
        NotReady,
        "live_scheduled",
        r"This live event will begin|live event will start|is upcoming|live stream will begin",
        "The live stream has not begun yet.",
        6 * HOUR_S,
    ),
    _rule(
        NotReady,
        "processing",
        r"still being processed|(?:is|currently) processing|processing this video|process(?:ed|ing).{0,40}try again",
        "YouTube is still processing the video.",
        HOUR_S,
    ),
    _rule(
        NotReady,
        "recording_pending",
        r"live stream recording is not available",
        "The recording of the live stream is not there yet.",
        2 * HOUR_S,
    ),
    _rule(
        NotReady,
        "live_over",
        r"This live event has ended",
        "The live stream has ended and its recording is not there yet.",
        2 * HOUR_S,
    ),
)
_RIGHTS = (
    _rule(
        NeedsAccess,
        "members_only",
        rf"members-only|available to this channel{_Q}?s members|Join this channel",
        f"Only members of the channel may see this video; {_COOKIES}",
    ),
    _rule(
        NeedsAccess,
        "age",
        r"confirm your age|age-restricted|inappropriate for some users|age-verification",
        f"The video is restricted by age; {_COOKIES}",
    ),
    _rule(
        NeedsAccess,
        "paid",
        r"requires payment|Music Premium members|only available to (?:YouTube )?Premium|must purchase|rental",
        f"The video has to be paid for; {_COOKIES}",
    ),
    _rule(Permanent, "drm", r"DRM protected", "The video is encrypted (DRM) and cannot be downloaded."),
    _rule(Permanent, "private", r"Private video|(?:This )?video is private", "The video is private."),
    _rule(
        GeoBlocked,
        "geo",
        r"not (?:made this video )?available (?:in|from) your (?:country|location)|blocked it in your country",
        "The video is not available in the country of this address.",
    ),
    _rule(
        Permanent,
        "copyright",
        r"copyright (?:grounds|claim|infringement)",
        "The video was blocked on copyright grounds.",
    ),
    _rule(
        Permanent,
        "removed",
        r"removed by the uploader|removed for violating|uploader has closed|"
        r"account (?:associated with this video )?has been terminated|"
        rf"no longer available|isn{_Q}?t available any ?more|has been (?:deleted|removed)",
        "The video was removed or its channel was closed.",
    ),
    _rule(
        UsageError,
        "no_such_list",
        r"The playlist does not exist|channel/playlist does not exist|This channel does not exist|"
        r"playlist type is unviewable|\[youtube:tab\].{0,200}HTTP Error 404",
        "YouTube knows no such channel or playlist; check the spelling.",
    ),
    _rule(
        UsageError, "no_such_tab", r"does not have a \w+ tab|does not have any", "The channel has nothing of this kind."
    ),
)
_OURS = (
    _rule(
        EnvironmentFailure,
        "certificate",
        r"CERTIFICATE_VERIFY_FAILED",
        "The certificate of YouTube could not be verified; if a proxy stands in between, name its certificate file in "
        "SSL_CERT_FILE.",
    ),
    _rule(
        EnvironmentFailure,
        "disk",
        r"No space left on device|Disk quota exceeded|unable to open for writing|unable to write data|"
        r"File name too long|Read-only file system|Unable to create directory",
        "The disk is full or not writable; free some space under the data folder and run again.",
    ),
    _rule(
        EnvironmentFailure,
        "cookies",
        r"Netscape format cookies|failed to load cookies|Invalid cookie",
        "The file in YOUTUBE_COOKIES is not a cookies.txt in Netscape format.",
    ),
    _rule(
        EnvironmentFailure,
        "proxy",
        r"Unsupported proxy type|Proxy Authentication Required|Tunnel connection failed: 407|"
        r"Tunnel connection failed: 403",
        "The proxy refuses to connect to YouTube; check HTTPS_PROXY.",
    ),
    _rule(
        EnvironmentFailure,
        "js_runtime",
        r"n challenge solving failed|Signature solving failed",
        "YouTube's player could not be solved; update yt-dlp, yt-dlp-ejs and deno (pip install -U).",
    ),
)
_TRANSPORT = (
    _rule(
        Poisoned,
        "not_media",
        r"downloaded file is empty|Did not get any data blocks",
        "The media server sent an empty file.",
    ),
    _rule(
        Refused,
        "media_403",
        r"unable to download video data: HTTP Error 40[13]|fragment .*HTTP Error 403",
        "The media server refused the address it had given out (HTTP 403).",
    ),
    _rule(
        Blocked,
        "api_403",
        r"Unable to download (?:API page|webpage): HTTP Error 403",
        f"YouTube refuses this address (HTTP 403): {_WALL}",
    ),
    _rule(Transient, "http_5xx", r"HTTP Error 5\d\d", "YouTube has trouble of its own (HTTP 5xx)."),
    _rule(
        Transient,
        "network",
        r"timed out|Connection (?:reset|refused|aborted)|Remote end closed|Unable to connect to proxy|more expected|"
        r"IncompleteRead|name resolution|Network is unreachable|Failed to resolve|EOF occurred|SSL: (?!CERT)|"
        r"content too short|Connection broken|Cannot connect to proxy|getaddrinfo failed",
        "The connection to YouTube broke off.",
    ),
    _rule(
        Transient,
        "extraction",
        r"page needs to be reloaded|Failed to extract any player response|Incomplete data received|unknown error|"
        r"Precondition check failed|Failed to parse JSON",
        "YouTube's answer was incomplete.",
    ),
    _rule(
        NotReady,
        "unavailable",
        r"Requested format is not available|Only images are available|No video formats found|"
        r"Video unavailable|This video is (?:un|not )available",
        "YouTube says that the video is unavailable and gives no cause; it is tried again later.",
        HOUR_S,
        vague=True,
    ),
)

RULES: tuple[Rule, ...] = (*_VISITOR, *_NOT_YET, *_RIGHTS, *_OURS, *_TRANSPORT)

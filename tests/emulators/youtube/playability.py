"""What the player answers for videos that do not play, in YouTube's words.

The typographic apostrophe of the bot wall is YouTube's own.
"""

from __future__ import annotations

from typing import Any

from tests.emulators.youtube.world import Availability, Kind, Video

_WORDS: dict[Availability, tuple[str, str, str | None]] = {
    Availability.PRIVATE: (
        "LOGIN_REQUIRED",
        "Private video",
        "Sign in if you've been granted access to this video",
    ),
    Availability.DELETED: ("ERROR", "Video unavailable", "This video has been removed by the uploader"),
    Availability.TERMINATED: (
        "ERROR",
        "Video unavailable",
        "This video is no longer available because the YouTube account associated with this video has been terminated.",
    ),
    Availability.UNAVAILABLE: ("ERROR", "Video unavailable", None),
    Availability.MEMBERS: (
        "UNPLAYABLE",
        "Join this channel to get access to members-only content like this video, and other exclusive perks.",
        None,
    ),
    Availability.AGE: (
        "LOGIN_REQUIRED",
        "Sign in to confirm your age",
        "This video may be inappropriate for some users.",
    ),
    Availability.GEO: (
        "UNPLAYABLE",
        "Video unavailable",
        "The uploader has not made this video available in your country",
    ),
    Availability.COPYRIGHT: (
        "UNPLAYABLE",
        "Video unavailable",
        "This video contains content from Emu Music Group, who has blocked it on copyright grounds",
    ),
    Availability.BOT: (
        "LOGIN_REQUIRED",
        "Sign in to confirm you\u2019re not a bot",
        "This helps protect our community. Learn more",
    ),
    Availability.RATELIMITED: ("UNPLAYABLE", "Video unavailable", "This content isn't available, try again later."),
    Availability.CAPTCHA: ("UNPLAYABLE", "Video unavailable", None),
    Availability.KIDS: ("UNPLAYABLE", "This video is not available", None),
    Availability.PROCESSING: ("UNPLAYABLE", "We're processing this video. Check back later.", None),
}
_WITHOUT_DETAILS = frozenset(
    {Availability.DELETED, Availability.TERMINATED, Availability.UNAVAILABLE, Availability.PRIVATE}
)


def status(code: str, reason: str, subreason: str | None = None) -> dict[str, Any]:
    message: dict[str, Any] = {"reason": {"simpleText": reason}}
    if subreason:
        message["subreason"] = {"simpleText": subreason}
    return {
        "status": code,
        "reason": reason,
        "contextParams": "Q0FFU0FnZ0E=",
        "errorScreen": {"playerErrorMessageRenderer": message},
    }


def status_of(availability: Availability) -> dict[str, Any]:
    answer = status(*_WORDS[availability])
    if availability is Availability.CAPTCHA:
        answer["errorScreen"] = {"playerCaptchaViewModel": {"captcha": {}}}
    return answer


def hides_details(video: Video) -> bool:
    return video.availability in _WITHOUT_DETAILS


def refusal(video: Video, client: str, signed_in: bool) -> dict[str, Any] | None:
    """The playability status that refuses this client, None when it may play."""
    reason = video.availability
    if reason is Availability.AGE and client == "WEB_EMBEDDED_PLAYER":
        closed = "Playback on other websites has been disabled by the video owner"
        return status("UNPLAYABLE", "Video unavailable", closed)
    excused = (reason is Availability.KIDS and client != "VISIONOS") or (reason is Availability.MEMBERS and signed_in)
    return None if excused or reason not in _WORDS else status_of(reason)


def not_started(video: Video, days: int) -> dict[str, Any]:
    """The answer for a premiere or a stream that is announced."""
    assert video.scheduled, f"an announced video needs a time: {video.id}"
    words = "Premieres in" if video.kind is Kind.PREMIERE else "This live event will begin in"
    ending = "" if video.kind is Kind.PREMIERE else "."
    slate = {"liveStreamOfflineSlateRenderer": {"scheduledStartTime": str(int(video.scheduled.timestamp()))}}
    return {
        **status("LIVE_STREAM_OFFLINE", f"{words} {days} days{ending}"),
        "liveStreamability": {"liveStreamabilityRenderer": {"videoId": video.id, "offlineSlate": slate}},
    }

"""Retired media: files that retention deleted on purpose, as `outcomes/` remembers it.

Between `retention`, which records it, and `verification`, which must not take a retired file for a lost one.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from channelscribe.core.model import Media, Outcome, OutcomeState, Stage, Video

RETIRED = "media_retired"
_EVER = datetime(1970, 1, 1, tzinfo=UTC)


def retirement(video: Video, media: Media, run_id: str, days: int, now: datetime) -> Outcome:
    """The row that says so. No attempt failed or was made, so it counts as skipped."""
    return Outcome(
        run_id,
        video.video_id,
        video.title,
        Stage.DOWNLOAD,
        OutcomeState.SKIPPED,
        code=RETIRED,
        reason=f"The media file was {days} days old, its transcript verified; {media.bytes} bytes were freed.",
        at=now,
    )


def retired(past: Iterable[Outcome], media: Media) -> bool:
    """True when this very download was retired; a later download of the same video is not."""
    since = media.downloaded_at or _EVER
    return any(o.code == RETIRED and o.at is not None and o.at >= since for o in past)

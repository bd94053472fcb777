"""Discover: what the user typed becomes rows of `videos/`. First arrow of the flow (DESIGN section 2)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace

from channelscribe.core.clock import Clock, SystemClock
from channelscribe.core.model import Video
from channelscribe.store.archive import Archive
from channelscribe.youtube.listing import Lister, Listing, Selection
from channelscribe.youtube.source import parse_source


def discover(
    lister: Lister,
    archive: Archive,
    source: str,
    selection: Selection,
    *,
    clock: Clock | None = None,
    progress: Callable[[int], None] | None = None,
) -> Listing:
    """Lists `source`, newest first, and records every video found.

    What an earlier run learned about a video (its exact date, say) is kept where this listing is silent. Raises
    UsageError for a source that cannot be read and the classified failures of the listing.
    """
    now = (clock or SystemClock()).now()
    listing = lister.list(parse_source(source), selection, progress)
    known = archive.videos()
    videos = tuple(replace(merge(known.get(v.video_id), v), discovered_at=now) for v in listing.videos)
    archive.put_videos(videos)
    return replace(listing, videos=videos)


def merge(old: Video | None, new: Video) -> Video:
    """`new`, with the values of `old` where `new` says nothing (None or an empty text)."""
    if old is None:
        return new
    silent = {f.name: getattr(old, f.name) for f in fields(new) if getattr(new, f.name) in (None, "")}
    return replace(new, **silent)

"""Lists channels, playlists and videos through the YouTube Data API: exact dates, durations, availability, few units.

One of the two listers behind `listing.make_lister`. A channel of N uploads costs 1 + 2 * ceil(N / 50) units.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from channelscribe.core.clock import Clock
from channelscribe.core.errors import UsageError
from channelscribe.core.model import Availability, Video, VideoKind
from channelscribe.youtube.client import ApiClient, NotFoundError
from channelscribe.youtube.config import YouTubeConfig
from channelscribe.youtube.flat import FlatLister
from channelscribe.youtube.listing import Listing, Progress, Selection, missing_video, newest_first
from channelscribe.youtube.records import LONGEST_SHORT_S, moment, video_from
from channelscribe.youtube.source import Source, SourceKind

_PAGE = 50
_PARTS = "snippet,contentDetails,status,liveStreamingDetails"
# The uploads list is not strictly sorted by date (a video uploaded long before its release, premieres).
_OVERLAP = 50


@dataclass(frozen=True, slots=True)
class _Entry:
    """One line of a playlist, before its details are known."""

    video_id: str
    title: str
    published_at: datetime | None


class ApiLister:
    """Thread-safe; one for a process, so that used-up keys stay known."""

    def __init__(self, config: YouTubeConfig, flat: FlatLister, clock: Clock) -> None:
        self._client = ApiClient(config, clock)
        self._flat = flat

    def list(self, source: Source, selection: Selection, progress: Progress | None = None) -> Listing:
        return _Walk(self._client, self._flat, selection, progress or (lambda _: None)).run(source)


class _Walk:
    """One listing: its selection, its units, its notes."""

    def __init__(self, client: ApiClient, flat: FlatLister, selection: Selection, progress: Progress) -> None:
        self._client = client
        self._flat = flat
        self._selection = selection
        self._progress = progress
        self._units = 0
        self._notes: list[str] = []

    def run(self, source: Source) -> Listing:
        if source.kind is SourceKind.CHANNEL:
            return self._channel(source)
        if source.kind is SourceKind.PLAYLIST:
            entries = self._playlist(source.value, ordered=False)
            return self._finished(self._select(self._detailed(entries)))
        entries = [_Entry(video_id, "", None) for video_id in source.video_ids]
        return self._finished(self._select(self._detailed(entries)))

    def _channel(self, source: Source) -> Listing:
        channel = self._resolve(source)
        title = str((channel.get("snippet") or {}).get("title") or "")
        channel_id = str(channel["id"])
        uploads = ((channel.get("contentDetails") or {}).get("relatedPlaylists") or {}).get("uploads")
        try:
            entries = self._playlist(uploads or f"UU{channel_id[2:]}", ordered=True)
        except NotFoundError:  # also the answer for a channel without videos
            entries = []
        self._note_truncation(channel, entries)
        chosen = [entry for entry in entries if self._selection.covers(entry.published_at)]
        videos = [
            replace(v, channel_id=v.channel_id or channel_id, channel_title=v.channel_title or title)
            for v in self._detailed(self._latest(chosen))
        ]
        return self._finished(self._select(self._with_shorts(channel_id, videos)), channel_id, title)

    def _resolve(self, source: Source) -> dict[str, Any]:
        value = source.value
        if value.startswith("c/"):  # the API has no parameter for custom addresses
            value = self._flat.resolve(source)
        if value.startswith("@"):
            query = {"forHandle": value}
        elif value.startswith("user/"):
            query = {"forUsername": value.removeprefix("user/")}
        else:
            query = {"id": value}
        parts = "snippet,contentDetails,statistics"
        found = self._call(lambda api: api.channels().list(part=parts, **query)).get("items") or []
        if not found:
            raise UsageError(f"There is no YouTube channel {source.value}; check the spelling.", code="no_such_channel")
        channel: dict[str, Any] = found[0]
        return channel

    def _playlist(self, playlist_id: str, *, ordered: bool) -> list[_Entry]:
        """The lines of a playlist; of an ordered one only as many as the selection can need."""
        entries: dict[str, _Entry] = {}
        too_old = 0
        for item in self._items(playlist_id):
            entry = _entry(item)
            entries.setdefault(entry.video_id, entry)
            begin = self._selection.begin
            too_old = too_old + 1 if begin and entry.published_at and entry.published_at < begin else 0
            if ordered and (too_old >= _OVERLAP or self._enough(entries)):
                break
        return list(entries.values())

    def _enough(self, entries: dict[str, _Entry]) -> bool:
        if self._selection.latest is None or len(entries) % _PAGE:  # whole pages: the rest is paid for anyway
            return False
        chosen = sum(1 for e in entries.values() if self._selection.covers(e.published_at))
        return chosen >= self._selection.latest + _OVERLAP // 2

    def _items(self, playlist_id: str) -> Iterator[dict[str, Any]]:
        token: str | None = None
        count = 0
        while True:
            page = self._call(
                lambda api, token=token: api.playlistItems().list(
                    part="snippet,contentDetails", playlistId=playlist_id, maxResults=_PAGE, pageToken=token
                )
            )
            items = page.get("items") or []
            count += len(items)
            self._progress(count)
            yield from items
            token = page.get("nextPageToken")
            if not token:
                return

    def _latest(self, entries: list[_Entry]) -> list[_Entry]:
        """Spares the details of what is cut off anyway."""
        if self._selection.latest is None or any(e.published_at is None for e in entries):
            return entries
        newest = sorted(entries, key=lambda e: e.published_at.timestamp() if e.published_at else 0.0, reverse=True)
        return newest[: self._selection.latest]

    def _detailed(self, entries: Iterable[_Entry]) -> list[Video]:
        """Full records; an entry that the API does not know becomes a private video, never nothing."""
        lines = list(entries)
        found: dict[str, Video] = {}
        for start in range(0, len(lines), _PAGE):
            ids = ",".join(entry.video_id for entry in lines[start : start + _PAGE])
            answer = self._call(lambda api, ids=ids: api.videos().list(part=_PARTS, id=ids, maxResults=_PAGE))
            found |= {item["id"]: video_from(item) for item in answer.get("items") or []}
            self._progress(len(found))
        return [found.get(line.video_id) or _missing(line) for line in lines]

    def _with_shorts(self, channel_id: str, videos: list[Video]) -> list[Video]:
        """The API has no flag for shorts; the channel's list of them has (undocumented, so only where it answers)."""
        brief = {v.video_id for v in videos if _may_be_short(v)}
        if not brief:
            return videos
        shorts: set[str] = set()
        oldest = min((v.published_at for v in videos if v.video_id in brief and v.published_at), default=None)
        try:
            for item in self._items(f"UUSH{channel_id[2:]}"):
                entry = _entry(item)
                shorts.add(entry.video_id)
                if brief <= shorts or (oldest and entry.published_at and entry.published_at < oldest):
                    break
        except NotFoundError:
            return videos
        return [replace(v, kind=VideoKind.SHORT) if v.video_id in shorts & brief else v for v in videos]

    def _select(self, videos: list[Video]) -> list[Video]:
        chosen = newest_first(v for v in videos if self._selection.covers(v.published_at))
        undated = sum(1 for v in chosen if v.published_at is None)
        if self._selection.dated and undated:
            self._notes.append(f"{undated} video{'s' if undated > 1 else ''} without a known date included.")
        return chosen[: self._selection.latest]

    def _note_truncation(self, channel: dict[str, Any], entries: list[_Entry]) -> None:
        announced = int((channel.get("statistics") or {}).get("videoCount") or 0)
        whole = self._selection.latest is None and self._selection.since is None
        if whole and announced > len(entries):
            self._notes.append(f"YouTube lists {len(entries):,} of the channel's {announced:,} videos.")

    def _finished(self, videos: list[Video], channel_id: str = "", title: str = "") -> Listing:
        owners = {v.channel_id: v.channel_title for v in videos if v.channel_id}
        if not channel_id and len(owners) == 1:
            (channel_id, title), *_ = owners.items()
        self._progress(len(videos))
        notes = (*self._client.pool.notes(), *self._notes)
        return Listing(channel_id, title, tuple(videos), "api", self._units, notes)

    def _call(self, make: Any) -> dict[str, Any]:
        return self._client.call(make, self._count)

    def _count(self) -> None:
        self._units += 1


def _entry(item: dict[str, Any]) -> _Entry:
    details, snippet = item.get("contentDetails") or {}, item.get("snippet") or {}
    video_id = details.get("videoId") or (snippet.get("resourceId") or {}).get("videoId") or ""
    # snippet.publishedAt is when the video was put on the list, not when it was published
    return _Entry(video_id, snippet.get("title") or "", moment(details.get("videoPublishedAt")))


def _missing(line: _Entry) -> Video:
    return replace(missing_video(line.video_id, line.title), published_at=line.published_at, discovered_by="api")


def _may_be_short(video: Video) -> bool:
    brief = video.duration_s is not None and video.duration_s <= LONGEST_SHORT_S
    return brief and video.kind is VideoKind.UPLOAD and video.availability is not Availability.PRIVATE

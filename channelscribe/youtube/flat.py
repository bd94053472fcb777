"""Lists channels, playlists and videos without a key, through yt-dlp's flat listing of YouTube's own pages.

The other lister behind `listing.make_lister`, and the resolver of `/c/` addresses for the API. Slower than the API and
without exact dates: these are looked up where a date range needs them, and after every download anyway.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from channelscribe.core.clock import Clock
from channelscribe.core.errors import UsageError
from channelscribe.core.model import Video, VideoKind
from channelscribe.core.names import is_video_id
from channelscribe.youtube.borders import Borders, Rough
from channelscribe.youtube.config import YouTubeConfig
from channelscribe.youtube.failures import classify
from channelscribe.youtube.info import moment, video_of
from channelscribe.youtube.listing import Listing, Progress, Selection, missing_video
from channelscribe.youtube.probe import Prober
from channelscribe.youtube.source import Source, SourceKind
from channelscribe.youtube.ytdlp import Capture, open_ydl

_TABS = (("videos", VideoKind.UPLOAD), ("shorts", VideoKind.SHORT), ("streams", VideoKind.LIVE))
# Listed without a key, dates are words ("6 months ago"); so many old ones in a row mean that the range is over.
_OVERLAP = 50
Roughs = list[Rough]
_UNDATED = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class _Page:
    """A flat playlist: what its head says, and its entries so far as they were wanted."""

    channel_id: str
    channel_title: str
    entries: tuple[dict[str, Any], ...]


class FlatLister:
    """Thread-safe: every listing opens its own yt-dlp."""

    def __init__(self, config: YouTubeConfig, clock: Clock) -> None:
        self._config = config
        self._clock = clock

    def list(self, source: Source, selection: Selection, progress: Progress | None = None) -> Listing:
        tell = progress or (lambda _: None)
        if source.kind is SourceKind.VIDEOS:
            return self._videos(source, selection, tell)
        if source.kind is SourceKind.CHANNEL:
            return self._channel(source, selection, tell)
        page = self._read(source.url, selection, tell, ordered=False)
        return self._selected(replace(page, channel_id="", channel_title=""), selection, ordered=False)

    def resolve(self, source: Source) -> str:
        """The channel id behind any address of a channel, in one request."""
        try:
            channel_id = self._entries(source.url, limit=0).channel_id
        except UsageError:
            channel_id = ""
        if not channel_id:
            raise UsageError(f"There is no YouTube channel {source.value}; check the spelling.", code="no_such_channel")
        return channel_id

    def _channel(self, source: Source, selection: Selection, tell: Progress) -> Listing:
        """The uploads list has everything in order; where YouTube withholds it, the three tabs together do."""
        channel_id = source.value if source.value.startswith("UC") else self.resolve(source)
        uploads = f"https://www.youtube.com/playlist?list=UU{channel_id[2:]}"
        try:
            page = self._read(uploads, selection, tell, ordered=True)
        except UsageError:
            return self._tabs(source, channel_id, selection, tell)
        page = replace(page, channel_id=channel_id, channel_title=_owner(page))
        return self._selected(page, selection, ordered=True)

    def _tabs(self, source: Source, channel_id: str, selection: Selection, tell: Progress) -> Listing:
        prober = Prober(self._config, self._clock)
        pages = [page for tab, kind in _TABS if (page := self._tab(channel_id, tab, kind, selection, tell))]
        if not pages:
            self.resolve(source)  # tells a channel without videos from one that does not exist
        listed = [rough for page in pages for rough in self._inside(page, selection, prober, ordered=True)]
        if selection.latest is not None and len(pages) > 1:  # one tab's order says nothing about another's
            listed = [replace(rough, video=_dated(rough.video, prober)) for rough in listed]
        title = pages[0].channel_title if pages else ""
        return self._finished(listed, selection, prober, channel_id, title, ordered=False)

    def _tab(self, channel_id: str, tab: str, kind: VideoKind, selection: Selection, tell: Progress) -> _Page | None:
        try:
            page = self._read(f"https://www.youtube.com/channel/{channel_id}/{tab}", selection, tell, ordered=True)
        except UsageError:
            return None
        return replace(page, entries=tuple({"kind": kind, **entry} for entry in page.entries))

    def _videos(self, source: Source, selection: Selection, tell: Progress) -> Listing:
        prober = Prober(self._config, self._clock)
        listed = []
        for count, video_id in enumerate(source.video_ids, 1):
            listed.append(Rough(prober.probe(video_id), None))
            tell(count)
        return self._finished(listed, selection, prober, "", "", ordered=False)

    def _selected(self, page: _Page, selection: Selection, *, ordered: bool) -> Listing:
        prober = Prober(self._config, self._clock)
        listed = self._inside(page, selection, prober, ordered=ordered)
        return self._finished(listed, selection, prober, page.channel_id, page.channel_title, ordered=ordered)

    def _inside(self, page: _Page, selection: Selection, prober: Prober, *, ordered: bool) -> Roughs:
        listed = [Rough(self._video(entry, page), moment(entry.get("timestamp"))) for entry in page.entries]
        if not selection.dated:
            return listed
        borders = Borders(selection, lambda video: _dated(video, prober), self._clock.now())
        return borders.select(listed, ordered=ordered)

    def _finished(
        self, listed: Roughs, selection: Selection, prober: Prober, channel_id: str, title: str, *, ordered: bool
    ) -> Listing:
        """Newest first: by exact dates, else by YouTube's own order or the words on its pages."""
        chosen = [rough for rough in listed if selection.covers(rough.video.published_at)]
        if not ordered or all(rough.video.published_at for rough in chosen):
            chosen.sort(key=lambda rough: rough.video.published_at or rough.about or _UNDATED, reverse=True)
        videos = tuple(rough.video for rough in chosen[: selection.latest])
        owners = {v.channel_id: v.channel_title for v in videos if v.channel_id}
        if not channel_id and len(owners) == 1:
            (channel_id, title), *_ = owners.items()
        return Listing(channel_id, title, videos, "flat", 0, prober.notes(selection))

    def _video(self, entry: dict[str, Any], page: _Page) -> Video:
        """A Video without date: the words on the page are too rough to be written down as one."""
        if (title := str(entry.get("title") or "")).lower() in {"[private video]", "[deleted video]"}:
            return replace(missing_video(entry["id"], title, page.channel_id, page.channel_title), discovered_by="flat")
        video = video_of({**entry, "timestamp": None, "upload_date": None}, discovered_by="flat")
        kind = entry.get("kind") if video.kind is VideoKind.UPLOAD else None
        return replace(
            video,
            channel_id=video.channel_id or page.channel_id,
            channel_title=video.channel_title or page.channel_title,
            kind=kind or video.kind,
        )

    def _read(self, url: str, selection: Selection, tell: Progress, *, ordered: bool) -> _Page:
        limit = selection.latest if ordered and not selection.dated else None
        return self._entries(url, limit, tell, selection if ordered else None)

    def _entries(
        self, url: str, limit: int | None, tell: Progress | None = None, selection: Selection | None = None
    ) -> _Page:
        """Reads a flat playlist page by page, only as far as needed."""
        capture = Capture()
        options: dict[str, Any] = {
            "extract_flat": True,
            # Without `raise_incomplete_data` a list that breaks off would look like a shorter list.
            "extractor_args": {"youtubetab": {"approximate_date": [""]}, "youtube": {"raise_incomplete_data": ["1"]}},
            "js_runtimes": {},
            **({"playlist_items": "0"} if limit == 0 else {}),
        }
        try:
            with open_ydl(self._config, capture, **options) as ydl:
                info = _opened(ydl, url, process=limit == 0)
                entries = tuple(_taken(info.get("entries") or (), limit, selection, tell))
        except Exception as error:
            raise classify(error, capture.warnings, now=self._clock.now()) from error
        return _Page(info.get("channel_id") or "", info.get("channel") or info.get("uploader") or "", entries)


def _opened(ydl: Any, url: str, *, process: bool) -> dict[str, Any]:
    """The head of a playlist, its entries not read yet; follows YouTube's redirections."""
    info: dict[str, Any] = ydl.extract_info(url, download=False, process=process) or {}
    for _ in range(3):
        if info.get("_type") not in {"url", "url_transparent"}:
            break
        info = ydl.extract_info(info["url"], download=False, process=process) or {}
    return info


def _taken(
    entries: Iterable[dict[str, Any]], limit: int | None, selection: Selection | None, tell: Progress | None
) -> Iterator[dict[str, Any]]:
    """The videos among the entries, each once, until there are enough or a long row of them is too old."""
    seen: set[str] = set()
    too_old = 0
    begin = selection.begin if selection else None
    for entry in entries:
        video_id = str(entry.get("id") or "")
        if not is_video_id(video_id) or video_id in seen:
            continue
        about = moment(entry.get("timestamp"))
        too_old = too_old + 1 if begin and about and about + timedelta(days=1) < begin else 0
        seen.add(video_id)
        yield entry
        if tell is not None and len(seen) % 10 == 0:
            tell(len(seen))
        if (limit is not None and len(seen) >= limit) or too_old >= _OVERLAP:
            return  # before the next entry is asked for, which may be on a page of its own


def _dated(video: Video, prober: Prober) -> Video:
    """With its exact date, if the watch page tells it."""
    published_at = prober.probe(video.video_id).published_at
    return replace(video, published_at=published_at) if published_at else video


def _owner(page: _Page) -> str:
    """The uploads list is called "Uploads from X"; its entries name the channel itself."""
    return next((str(e["channel"]) for e in page.entries if e.get("channel")), page.channel_title)

"""Channels, videos and playlists as one source of truth for every emulated surface.

The Data API, the web pages, InnerTube, the feeds and the media server all answer from one World, which tests may
change while it is served.
"""

from __future__ import annotations

import base64
import hashlib
import re
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from tests.emulators.speech import Score

_VIDEO_ID = re.compile(r"[A-Za-z0-9_-]{11}")
DERIVED_PREFIXES = ("UULF", "UUSH", "UULV", "UUMO", "UU")


class Availability(StrEnum):
    OK = "ok"
    PRIVATE = "private"
    DELETED = "deleted"
    TERMINATED = "terminated"
    MEMBERS = "members"
    AGE = "age"
    GEO = "geo"
    COPYRIGHT = "copyright"
    BOT = "bot"
    RATELIMITED = "ratelimited"
    CAPTCHA = "captcha"
    UNAVAILABLE = "unavailable"
    KIDS = "kids"
    PROCESSING = "processing"


class Kind(StrEnum):
    VIDEO = "video"
    SHORT = "short"
    LIVE = "live_now"
    UPCOMING = "upcoming"
    PREMIERE = "premiere"
    POST_LIVE = "post_live"
    WAS_LIVE = "was_live"


LIVE_KINDS = frozenset({Kind.LIVE, Kind.UPCOMING, Kind.POST_LIVE, Kind.WAS_LIVE})
NOT_STARTED = frozenset({Kind.LIVE, Kind.UPCOMING, Kind.PREMIERE})
GONE = frozenset({Availability.PRIVATE, Availability.DELETED, Availability.TERMINATED})


class Damage(StrEnum):
    """What is wrong with the bytes of a video's media."""

    NONE = "none"
    HTML = "html"
    HALF = "half"
    EMPTY = "empty"
    NOISE = "noise"


@dataclass(frozen=True)
class MediaSpec:
    """The media of a video; equal specs share the bytes. Each dub is a track of its own with other words."""

    score: Score
    damage: Damage = Damage.NONE
    itags: tuple[str, ...] = ("140", "139", "134")
    dubs: tuple[str, ...] = ()

    @property
    def duration_s(self) -> float:
        return self.score.duration_s

    def track(self, dub: str) -> MediaSpec:
        """The media of one dub; of the original when there is no such dub."""
        if dub not in self.dubs:
            return self
        return replace(self, score=replace(self.score, seed=self.score.seed + 1_000_003 * (1 + self.dubs.index(dub))))


def _digest(text: str, size: int) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()[:size]).decode().rstrip("=")


def video_id(seed: str) -> str:
    """Eleven characters over the real alphabet."""
    return _digest(seed, 8)


def channel_id(seed: str) -> str:
    return "UC" + _digest("channel " + seed, 16)


def playlist_id(seed: str) -> str:
    return "PL" + _digest("playlist " + seed, 24)


@dataclass
class Video:
    id: str
    title: str
    channel_id: str
    published: datetime
    media: MediaSpec
    availability: Availability = Availability.OK
    kind: Kind = Kind.VIDEO
    description: str = ""
    language: str = "en"
    captions: bool = True
    scheduled: datetime | None = None
    listed: bool | None = None

    @property
    def duration_s(self) -> float:
        return self.media.duration_s

    @property
    def live_content(self) -> bool:
        return self.kind in LIVE_KINDS

    @property
    def shown(self) -> bool:
        """Whether lists show it; a private or deleted one only where a test says so."""
        return self.availability not in GONE if self.listed is None else self.listed

    @property
    def list_title(self) -> str:
        """The title that playlists show for what may not be watched."""
        masked = {Availability.PRIVATE: "[Private video]", Availability.DELETED: "[Deleted video]"}
        return masked.get(self.availability, self.title)


@dataclass
class Channel:
    id: str
    title: str
    handle: str
    username: str | None = None
    custom: str | None = None
    description: str = "An emulated channel"
    videos: list[Video] = field(default_factory=list)

    def feed(self, prefix: str) -> list[Video]:
        """A derived list, newest first."""
        if prefix == "UUMO":
            return self._newest(v for v in self.videos if v.availability is Availability.MEMBERS)
        open_to_all = [v for v in self.videos if v.shown and v.availability is not Availability.MEMBERS]
        wanted = {
            "UU": frozenset(Kind),
            "UULF": frozenset({Kind.VIDEO, Kind.PREMIERE}),
            "UUSH": frozenset({Kind.SHORT}),
            "UULV": LIVE_KINDS,
        }[prefix]
        return self._newest(v for v in open_to_all if v.kind in wanted)

    @staticmethod
    def _newest(videos: Iterable[Video]) -> list[Video]:
        return sorted(videos, key=lambda v: v.published, reverse=True)


@dataclass
class Playlist:
    id: str
    title: str
    channel_id: str
    video_ids: list[str] = field(default_factory=list)


class World:
    """Everything that exists; `lock` guards changes made while it is served."""

    def __init__(self, name: str = "world") -> None:
        self.name = name
        self.channels: dict[str, Channel] = {}
        self.videos: dict[str, Video] = {}
        self.playlists: dict[str, Playlist] = {}
        self.lock = threading.RLock()

    def add_channel(
        self, title: str, handle: str, *, username: str | None = None, custom: str | None = None, description: str = ""
    ) -> Channel:
        channel = Channel(channel_id(handle), title, handle, username, custom, description)
        with self.lock:
            self.channels[channel.id] = channel
        return channel

    def add_video(self, channel: Channel, video: Video) -> Video:
        with self.lock:
            if not _VIDEO_ID.fullmatch(video.id):
                raise ValueError(f"not an id of eleven characters: {video.id!r}")
            if video.id in self.videos:
                raise ValueError(f"the id {video.id} is taken by {self.videos[video.id].title!r}")
            channel.videos.append(video)
            self.videos[video.id] = video
        return video

    def add_playlist(self, channel: Channel, title: str, videos: Iterable[Video]) -> Playlist:
        playlist = Playlist(playlist_id(channel.handle + title), title, channel.id, [v.id for v in videos])
        with self.lock:
            self.playlists[playlist.id] = playlist
        return playlist

    def change(self, video_id: str, **changes: Any) -> Video:
        """Sets fields of a served video by name; text is taken for enums, so that JSON can say it."""
        casts: dict[str, Callable[[Any], Any]] = {"availability": Availability, "kind": Kind}
        with self.lock:
            video = self.videos[video_id]
            for name, value in changes.items():
                if name not in {"availability", "kind", "title", "description", "listed", "language", "media"}:
                    raise ValueError(f"{name!r} of a video cannot be changed")
                setattr(video, name, casts[name](value) if name in casts else value)
        return video

    def by_handle(self, handle: str) -> Channel | None:
        return self._find("handle", handle.lstrip("@"))

    def by_username(self, name: str) -> Channel | None:
        return self._find("username", name)

    def by_custom(self, name: str) -> Channel | None:
        return self._find("custom", name)

    def _find(self, attribute: str, value: str) -> Channel | None:
        wanted = value.casefold()
        with self.lock:
            return next((c for c in self.channels.values() if (getattr(c, attribute) or "").casefold() == wanted), None)

    def video_titled(self, title: str) -> Video:
        return next(v for v in self.videos.values() if v.title == title)

    def owner_of(self, list_id: str) -> Channel | None:
        """The channel that a playlist or derived list belongs to."""
        if playlist := self.playlists.get(list_id):
            return self.channels[playlist.channel_id]
        prefix = self._derived(list_id)
        return self.channels.get("UC" + list_id[len(prefix) :]) if prefix else None

    def list_title(self, list_id: str) -> str:
        if playlist := self.playlists.get(list_id):
            return playlist.title
        owner = self.owner_of(list_id)
        return f"Uploads from {owner.title}" if owner else ""

    def list_items(self, list_id: str) -> list[Video] | None:
        """The videos of a list, None when it does not exist (a derived list that would be empty does not)."""
        with self.lock:
            if playlist := self.playlists.get(list_id):
                return [self.videos[i] for i in playlist.video_ids if i in self.videos]
            owner, prefix = self.owner_of(list_id), self._derived(list_id)
            if owner is None or prefix is None:
                return None
            return owner.feed(prefix) or ([] if prefix == "UU" else None)

    @staticmethod
    def _derived(list_id: str) -> str | None:
        return next((p for p in DERIVED_PREFIXES if list_id.startswith(p) and len(list_id) == len(p) + 22), None)


def utc(year: int, month: int, day: int, hour: int = 12, minute: int = 0) -> datetime:
    return datetime(year, month, day, hour, minute, tzinfo=UTC)

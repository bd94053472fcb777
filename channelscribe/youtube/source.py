"""What the user typed, understood: a channel, a playlist or a list of videos.

First step of discovery; pure text work, so a typing mistake is told before anything touches the network.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import parse_qs, unquote, urlsplit

from channelscribe.core.errors import UsageError
from channelscribe.core.names import is_video_id

EXAMPLES = (
    "@name, https://www.youtube.com/@name, a channel id (UC...), user/name, c/name, a playlist id or link, "
    "or video ids or links separated by commas"
)
MAX_CHARS = 500_000
_HOSTS = frozenset({"youtube.com", "www.youtube.com", "m.youtube.com", "music.youtube.com", "gaming.youtube.com"})
_EMBED_HOSTS = frozenset({"youtube-nocookie.com", "www.youtube-nocookie.com"})
_SHORT_HOSTS = frozenset({"youtu.be", "www.youtu.be"})
_CHANNEL_ID = re.compile(r"UC[\w-]{22}", re.ASCII)
_PLAYLIST_ID = re.compile(r"(?:PL|UU|FL|SP|EC|OLAK5uy_)[\w-]{10,60}", re.ASCII)
_NAME = re.compile(r"(?!\.+$)[^\s/\\?#@&%<>\"'`|^{}\x00-\x1f\x7f]{1,100}")
_VIDEO_PATHS = frozenset({"shorts", "live", "embed", "v", "e", "watch", "vi"})
_NOT_A_NAME = frozenset(
    re.findall(
        r"\w+",
        "about account ads clip community creators embed feed gaming hashtag howyoutubeworks kids live logout "
        "music new oembed oops premium post redirect results shorts signin sports t trending tv upload watch "
        "yt ",
    )
)


class SourceKind(StrEnum):
    CHANNEL = "channel"
    PLAYLIST = "playlist"
    VIDEOS = "videos"


@dataclass(frozen=True, slots=True)
class Source:
    """`value` is normalised: `UC...`, `@handle`, `user/NAME`, `c/NAME`, a playlist id, or video ids with commas."""

    kind: SourceKind
    value: str
    typed: str

    @property
    def video_ids(self) -> tuple[str, ...]:
        return tuple(self.value.split(",")) if self.kind is SourceKind.VIDEOS else ()

    @property
    def url(self) -> str:
        """The address a person would open."""
        if self.kind is SourceKind.PLAYLIST:
            return f"https://www.youtube.com/playlist?list={self.value}"
        if self.kind is SourceKind.VIDEOS:
            return f"https://www.youtube.com/watch?v={self.video_ids[0]}"
        path = f"channel/{self.value}" if _CHANNEL_ID.fullmatch(self.value) else self.value
        return f"https://www.youtube.com/{path}"


def parse_source(text: str) -> Source:
    """Understands what the user typed. Raises UsageError, with examples, for everything that is not on YouTube."""
    if not isinstance(text, str):
        raise UsageError(f"A source must be text, not {type(text).__name__}. Examples: {EXAMPLES}.", code="bad_source")
    if len(text) > MAX_CHARS:
        raise UsageError(
            f"The source is {len(text):,} characters long; at most {MAX_CHARS:,} are read.", code="bad_source"
        )
    typed = unicodedata.normalize("NFC", text.strip().strip("\ufeff\u200b").strip())
    words = [w for w in re.split(r"[\s,;]+", typed) if w]
    if not words:
        raise UsageError(f"No source was given. Examples: {EXAMPLES}.", code="bad_source")
    found = [_one(word) for word in words]
    if len(found) == 1:
        return Source(*found[0], typed)
    for (kind, _), word in zip(found, words, strict=True):
        if kind is not SourceKind.VIDEOS:
            raise UsageError(
                f"{_short(word)} is not a video; give one channel or playlist, or a list of videos only.",
                code="mixed_source",
            )
    return Source(SourceKind.VIDEOS, ",".join(dict.fromkeys(value for _, value in found)), typed)


def _one(word: str) -> tuple[SourceKind, str]:
    """One word of the input. Bare forms first, then addresses."""
    if is_video_id(word):
        return SourceKind.VIDEOS, word
    if _CHANNEL_ID.fullmatch(word):
        return SourceKind.CHANNEL, word
    if _PLAYLIST_ID.fullmatch(word):
        return SourceKind.PLAYLIST, word
    if word.startswith("@"):
        return SourceKind.CHANNEL, _handle(word, word)
    if re.fullmatch(r"/?(?:user|c|channel)/[^/]+/?", word):
        return _path(word.strip("/").split("/"), {}, word)
    if "." not in word.split("/", maxsplit=1)[0] and "://" not in word:
        raise _refused(word, f"a channel's handle is written with an @, as in @{_short(word)}" if _plain(word) else "")
    return _address(word)


def _address(word: str) -> tuple[SourceKind, str]:
    try:
        parts = urlsplit(word if "://" in word else f"https://{word}")
        port = parts.port
    except ValueError:
        raise _refused(word, "") from None
    host = (parts.hostname or "").rstrip(".")
    if parts.scheme not in {"http", "https"} or parts.username is not None or port not in {None, 80, 443}:
        raise _refused(word, "")
    query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
    steps = [unicodedata.normalize("NFC", unquote(step)) for step in parts.path.split("/") if step]
    if host in _SHORT_HOSTS:
        return _video(steps[0] if steps else "", word)
    if host in _HOSTS or (host in _EMBED_HOSTS and steps[:1] == ["embed"]):
        return _path(steps, query, word)
    raise _refused(word, "only addresses of youtube.com and youtu.be are read")


def _path(steps: list[str], query: dict[str, str], word: str) -> tuple[SourceKind, str]:
    """The path of an address on youtube.com."""
    head = steps[0] if steps else ""
    second = steps[1] if len(steps) > 1 else ""
    if head.startswith("@"):
        return SourceKind.CHANNEL, _handle(head, word)
    if head in _VIDEO_PATHS:
        second = second if second != "videoseries" else ""  # eleven letters, but not a video
        if "list" in query and not is_video_id(second or query.get("v", "")):
            return _playlist(query["list"], word)
        return _video(second or query.get("v", ""), word)
    if head == "playlist" or (not steps and "list" in query):
        return _playlist(query.get("list", ""), word)
    if head == "channel":
        return SourceKind.CHANNEL, _channel_id(second, word)
    if head == "browse":
        return (
            _playlist(second[2:], word) if second.startswith("VL") else (SourceKind.CHANNEL, _channel_id(second, word))
        )
    if head in {"user", "c"} and _NAME.fullmatch(second):
        return SourceKind.CHANNEL, f"{head}/{second}"
    if head and head.lower() not in _NOT_A_NAME and head not in {"user", "c"} and _NAME.fullmatch(head):
        return SourceKind.CHANNEL, f"c/{head}"
    raise _refused(word, "")


def _video(value: str, word: str) -> tuple[SourceKind, str]:
    if not is_video_id(value):
        raise _refused(word, "a video id has 11 letters, digits, '-' or '_'")
    return SourceKind.VIDEOS, value


def _playlist(value: str, word: str) -> tuple[SourceKind, str]:
    if value in {"WL", "LL", "HL"}:
        raise _refused(word, "'Watch later', 'Liked videos' and the history are private lists of one person")
    if value.startswith("RD"):
        raise _refused(word, "a mix is made anew for every visitor; give a playlist or the videos")
    if not _PLAYLIST_ID.fullmatch(value):
        raise _refused(word, "the address names no playlist")
    return SourceKind.PLAYLIST, value


def _channel_id(value: str, word: str) -> str:
    if not _CHANNEL_ID.fullmatch(value):
        raise _refused(word, "a channel id has 24 characters and begins with UC")
    return value


def _handle(value: str, word: str) -> str:
    if not _NAME.fullmatch(value[1:]):
        raise _refused(word, "a handle is @ and letters, digits, '.', '-' or '_'")
    return value


def _plain(word: str) -> bool:
    return _NAME.fullmatch(word) is not None and "/" not in word


def _short(word: str) -> str:
    printable = "".join(c if c.isprintable() else "\ufffd" for c in word)
    return printable if len(printable) <= 60 else f"{printable[:57]}..."


def _refused(word: str, hint: str) -> UsageError:
    because = f" ({hint})" if hint else ""
    return UsageError(
        f"{_short(word)!r} is not a YouTube channel, playlist or video{because}. Examples: {EXAMPLES}.",
        code="bad_source",
    )

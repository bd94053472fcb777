"""File names: `YYYY-MM-DD_Title_videoId.ext`, built once at download and read back by position.

Titles and ids both contain `_`, so a name is never split at `_`: the date is the first 10 characters of the stem and
the id the last 11 (the convention of the systems this one succeeds, research/odin.md 2.1).
"""

from __future__ import annotations

import html
import re
import unicodedata
from dataclasses import dataclass
from datetime import date

VIDEO_ID = re.compile(r"[\w-]{11}", re.ASCII)
UNDATED = "0000-00-00"
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_FORBIDDEN = re.compile(r'[/\\:*?<>|"\s\x00-\x1f\x7f]+')
# Common file systems allow 255 bytes a name. The longest thing that is ever put behind a stem is
# ".transcript.json" and a temporary suffix; 200 leaves room for both.
MAX_STEM_BYTES = 200


@dataclass(frozen=True, slots=True)
class StemParts:
    published: str
    title: str
    video_id: str


def is_video_id(text: str) -> bool:
    """True for the 11 characters of a YouTube video id."""
    return VIDEO_ID.fullmatch(text) is not None


def clean_title(title: str) -> str:
    """The title as it may stand in a file name on Linux, macOS and Windows: NFC, no separators, controls or spaces."""
    text = _FORBIDDEN.sub("_", unicodedata.normalize("NFC", html.unescape(title)))
    text = "".join(c for c in text if unicodedata.category(c) not in {"Cc", "Cs", "Co", "Cn"} and not _is_direction(c))
    text = text.strip("._ ")
    return re.sub(r"_{2,}", "_", text) or "untitled"


def file_stem(published: date | None, title: str, video_id: str) -> str:
    """The stem of every file of a video, at most `MAX_STEM_BYTES` bytes of UTF-8, cut between characters.

    Raises ValueError when `video_id` is not one.
    """
    if not is_video_id(video_id):
        raise ValueError(f"{video_id!r} is not a video id (11 letters, digits, '-' or '_')")
    day = published.isoformat()[:10] if published else UNDATED
    room = MAX_STEM_BYTES - len(day) - len(video_id) - 2
    return f"{day}_{_cut(clean_title(title), room)}_{video_id}"


def parse_stem(stem: str) -> StemParts:
    """Takes a stem apart by position. Raises ValueError for a name that was not made by `file_stem`."""
    parts = StemParts(stem[:10], stem[11:-12], stem[-11:])
    separated = len(stem) >= 24 and stem[10] == "_" and stem[-12] == "_"
    if not (separated and _DATE.fullmatch(parts.published) and is_video_id(parts.video_id)):
        raise ValueError(f"{stem!r} is not of the form YYYY-MM-DD_Title_videoId")
    return parts


def _cut(text: str, max_bytes: int) -> str:
    cut = text.encode("utf-8")[:max_bytes].decode("utf-8", errors="ignore")
    while cut and len(cut) < len(text) and (unicodedata.combining(text[len(cut)]) or text[len(cut)] == "\u200d"):
        cut = cut[:-1]  # never part a letter from its accents, or an emoji from its other half
    return cut.rstrip("._\u200d ") or "untitled"


def _is_direction(char: str) -> bool:
    # Bidirectional overrides let a name show another extension than it has (CVE-2021-42574 family).
    return char in "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\ufeff"

"""Which of the formats that YouTube offers is taken, and how it is recorded.

Used by `extract`. Sound needs no ffmpeg: m4a and webm are single files. Picture and sound come as two files and are
joined by `convert`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

AUDIO = "ba[ext=m4a]/ba[ext=webm]/ba/18/b"
# `lang` first: dubbed tracks of equal quality are common, and a dub would be transcribed in the wrong language.
AUDIO_SORT = ("lang", "acodec", "abr")
_HIGHEST = 1080


def picture_and_sound(context: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A yt-dlp format selector: H.264 picture and AAC sound as two files, else the best file that has both."""
    formats = [f for f in context["formats"] if f.get("url") or f.get("fragments")]
    pictures = [f for f in formats if _has(f, "vcodec") and not _has(f, "acodec") and f.get("ext") == "mp4"]
    sounds = [f for f in formats if _has(f, "acodec") and not _has(f, "vcodec") and f.get("ext") == "m4a"]
    both = [f for f in formats if _has(f, "acodec") and _has(f, "vcodec")]
    if pictures and sounds:
        yield max(pictures, key=_picture_rank)
        yield max(sounds, key=lambda f: (f.get("language_preference") or -1, f.get("abr") or 0))
    elif both:
        yield max(both, key=lambda f: (f.get("ext") == "mp4", f.get("height") or 0))


def describe(parts: list[dict[str, Any]]) -> str:
    """For `media/`: `140 mp4a.40.2 129k`, joined by ` + ` where picture and sound came apart."""
    return " + ".join(_describe(part) for part in parts)


def _describe(part: dict[str, Any]) -> str:
    codecs = [c for c in (part.get("vcodec"), part.get("acodec")) if c and c != "none"]
    rate = part.get("tbr") or part.get("abr")
    words = [str(part.get("format_id") or "?"), *codecs, f"{rate:.0f}k" if rate else ""]
    return " ".join(word for word in words if word)


def _has(fmt: dict[str, Any], codec: str) -> bool:
    return fmt.get(codec) not in {None, "none"}


def _picture_rank(fmt: dict[str, Any]) -> tuple[bool, bool, int, float]:
    height = fmt.get("height") or 0
    return height <= _HIGHEST, str(fmt.get("vcodec")).startswith("avc1"), height, fmt.get("tbr") or 0.0

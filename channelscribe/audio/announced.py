"""What a file's own header promises, where FFmpeg does not say or guesses. Used by `media` in the decoder's process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

# Without a table of contents FFmpeg guesses these formats' duration from the bit rate.
_GUESSED_DURATION = frozenset({"mp3", "aac"})
_TABLES_OF_CONTENTS = (b"Xing", b"Info", b"VBRI")
_HEAD_BYTES = 1 << 20
_UNKNOWN_SIZE = 0xFFFFFFFF


def announced_s(path: Path, info: dict[str, Any]) -> float | None:
    """How long the sound should be; None where the file does not really say."""
    if info["container"] == "wav":
        return _wav_s(path) or info["duration_s"] or None
    guess = info["container"] in _GUESSED_DURATION and not any(t in _head(path) for t in _TABLES_OF_CONTENTS)
    return None if guess or not info["duration_s"] else info["duration_s"]


def missing_mp4_end(path: Path) -> int | None:
    """For a file that begins as MP4 but breaks off: the byte to which its last box should reach."""
    size, at = path.stat().st_size, 0
    with path.open("rb") as handle:
        while at + 8 <= size:
            handle.seek(at)
            length, kind = int.from_bytes(handle.read(4), "big"), handle.read(4)
            if at == 0 and kind != b"ftyp":
                return None
            if length == 1:
                length = int.from_bytes(handle.read(8), "big")
            if length < 8:
                return None
            at += length
    return at if size >= 8 and at != size else None


def _wav_s(path: Path) -> float | None:
    """FFmpeg shortens a WAV's duration to the file that is there; the header knows better."""
    head = _head(path)
    at, byte_rate = 12, 0
    while at + 8 <= len(head):
        kind, size = head[at : at + 4], int.from_bytes(head[at + 4 : at + 8], "little")
        if kind == b"fmt ":
            byte_rate = int.from_bytes(head[at + 16 : at + 20], "little")
        elif kind == b"data":
            return size / byte_rate if byte_rate and 0 < size < _UNKNOWN_SIZE else None
        at += 8 + size + size % 2
    return None


def _head(path: Path) -> bytes:
    with path.open("rb") as handle:
        return handle.read(_HEAD_BYTES)

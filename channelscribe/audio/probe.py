"""What a media file holds, read from its header in a process of its own; fills the `media/` table after a download."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from channelscribe.audio import verdict
from channelscribe.audio.process import DECODER, STALL_TIMEOUT_S, DecoderProcess
from channelscribe.audio.wire import Kind


@dataclass(frozen=True, slots=True)
class AudioInfo:
    """`duration_s` is what the file announces, 0.0 where it does not say; `decode` finds out what is there."""

    container: str
    codec: str
    sample_rate_hz: int
    channels: int
    duration_s: float


def probe(path: Path, *, stall_timeout_s: float = STALL_TIMEOUT_S, command: Sequence[str] = DECODER) -> AudioInfo:
    """The first audio track of `path`. Raises Poisoned for what is not media, Permanent without an audio track."""
    require_file(path)
    info: dict[str, Any] = {}
    with DecoderProcess("probe", path.absolute(), command=command) as process:
        for kind, payload in process.frames(stall_timeout_s=stall_timeout_s):
            if kind is Kind.INFO:
                info = payload
    return AudioInfo(**{name: info[name] for name in AudioInfo.__slots__})


def require_file(path: Path) -> None:
    """Raises Transient when the file is gone and Poisoned when it is empty, before a process is started for it."""
    if not path.is_file():
        raise verdict.missing(path.name)
    if path.stat().st_size == 0:
        raise verdict.empty(path.name)

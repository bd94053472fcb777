"""Any media file as a stream of 16 kHz mono int16 sound, decoded in a process of its own in bounded memory.

First step of the feeder; `speech` hears the chunks that this gives.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from channelscribe.audio import verdict
from channelscribe.audio.probe import require_file
from channelscribe.audio.process import DECODER, STALL_TIMEOUT_S, DecoderProcess
from channelscribe.audio.wire import Kind
from channelscribe.core.window import RATE_HZ

Pcm = NDArray[np.int16]
_BYTES_PER_SAMPLE = 2
# Containers round durations, encoders pad; where only the whole container's duration is known and it has other
# tracks, its sound may honestly end earlier.
_MISSING_S, _MISSING_SHARE = 2.0, 0.005
_MISSING_SHARE_OF_CONTAINER = 0.05
_CORRUPT_SHARE, _CORRUPT_PACKETS = 0.1, 10


def decode(
    path: Path,
    chunk_s: float = 30.0,
    *,
    cancelled: Callable[[], bool] | None = None,
    stall_timeout_s: float = STALL_TIMEOUT_S,
    command: Sequence[str] = DECODER,
) -> Iterator[Pcm]:
    """Chunks of `chunk_s` seconds, the last one shorter; close the iterator to end the process early.

    Raises Poisoned for what is damaged, cut short, or crashes or hangs the decoder (the sound before that has been
    given by then), Permanent without an audio track, Transient when the file is gone or `cancelled` says so.
    """
    require_file(path)
    chunk_bytes = max(1, round(chunk_s * RATE_HZ)) * _BYTES_PER_SAMPLE
    pending = bytearray()
    info: dict[str, Any] = {}
    with DecoderProcess("decode", path.absolute(), command=command) as process:
        for kind, payload in process.frames(stall_timeout_s=stall_timeout_s, cancelled=cancelled):
            if kind is Kind.INFO:
                info = payload
            elif kind is Kind.DONE:
                _judge(path.name, info, payload)
            else:
                pending += payload
                yield from _take(pending, chunk_bytes)
    if pending:
        yield np.frombuffer(bytes(pending), dtype="<i2")


def _take(pending: bytearray, chunk_bytes: int) -> Iterator[Pcm]:
    while len(pending) >= chunk_bytes:
        chunk = np.frombuffer(bytes(memoryview(pending)[:chunk_bytes]), dtype="<i2")
        del pending[:chunk_bytes]
        yield chunk


def _judge(name: str, info: Mapping[str, Any], done: Mapping[str, Any]) -> None:
    decoded_s, announced_s = float(done["decoded_s"]), done["announced_s"]
    if announced_s is not None and decoded_s < announced_s - _tolerance_s(info, announced_s):
        raise verdict.truncated(name, decoded_s, announced_s)
    if decoded_s <= 0:
        raise verdict.undecodable(name)
    if done["errors"] > max(_CORRUPT_PACKETS, done["packets"] * _CORRUPT_SHARE):
        raise verdict.corrupt(name, done["errors"], done["packets"])


def _tolerance_s(info: Mapping[str, Any], announced_s: float) -> float:
    guess = not info.get("of_track") and info.get("tracks", 1) > 1
    return max(_MISSING_S, announced_s * (_MISSING_SHARE_OF_CONTAINER if guess else _MISSING_SHARE))

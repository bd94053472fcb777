"""The frames that the decoder's process sends to its parent over a pipe: one kind byte, a length, a payload.

`decoder_process` writes them, `process` reads them; both must stay free of heavy imports.
"""

from __future__ import annotations

import struct
from enum import Enum
from typing import IO, BinaryIO, NamedTuple

HEADER = struct.Struct("<cI")
LONGEST_PAYLOAD_BYTES = 32 << 20


class Kind(Enum):
    INFO = b"I"
    PCM = b"P"
    DONE = b"D"
    ERROR = b"E"


class Frame(NamedTuple):
    kind: Kind
    payload: bytes


def write_frame(pipe: BinaryIO, kind: Kind, payload: bytes) -> None:
    pipe.write(HEADER.pack(kind.value, len(payload)))
    pipe.write(payload)
    pipe.flush()


def read_frame(pipe: IO[bytes]) -> Frame | None:
    """The next frame, or None when the writer is gone, also in mid-frame. Raises ValueError for garbage."""
    header = pipe.read(HEADER.size)
    if len(header) < HEADER.size:
        return None
    kind, length = HEADER.unpack(header)
    if length > LONGEST_PAYLOAD_BYTES:
        raise ValueError(f"a frame of {length} bytes is no frame of ours")
    payload = pipe.read(length)
    return Frame(Kind(kind), payload) if len(payload) == length else None

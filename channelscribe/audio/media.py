"""What PyAV does with a file, inside the decoder's process only: open, describe, decode to 16 kHz mono int16.

Called by `decoder_process`; every finding leaves through the pipe as a `wire` frame.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import av

from channelscribe.audio.resample import Timeline
from channelscribe.audio.wire import Kind, write_frame

# Playlists, concat scripts and image sequences could make the decoder read other files or the network.
_FORMATS = (
    "mov,mp4,m4a,matroska,webm,mp3,aac,wav,w64,aiff,flac,ogg,caf,avi,asf,flv,mpegts,mpeg,amr,ac3,eac3,au,wv,ape,tta"
)
_OPTIONS = {"format_whitelist": _FORMATS, "protocol_whitelist": "file"}
# Without a table of contents FFmpeg guesses these formats' duration from the bit rate.
_GUESSED_DURATION = frozenset({"mp3", "aac"})
_HEAD_BYTES = 1 << 20


class Unusable(Exception):
    """The file cannot be decoded; `code` and `facts` travel to the parent, which words the sentence."""

    def __init__(self, code: str, detail: str = "", **facts: Any) -> None:
        super().__init__(detail)
        self.code, self.detail, self.facts = code, detail, facts


def run(task: str, path: str, pipe: BinaryIO) -> None:
    try:
        for kind, payload in (_probe if task == "probe" else _decode)(path):
            write_frame(pipe, kind, payload)
    except Unusable as error:
        report = {"code": error.code, "detail": error.detail, **error.facts}
        write_frame(pipe, Kind.ERROR, json.dumps(report).encode())


def _probe(path: str) -> Iterator[tuple[Kind, bytes]]:
    with _open(path) as container:
        stream = _audio_stream(container)
        yield Kind.INFO, _json(_describe(container, stream))
        yield Kind.DONE, b"{}"


def _decode(path: str) -> Iterator[tuple[Kind, bytes]]:
    with _open(path) as container:
        stream = _audio_stream(container)
        info = _describe(container, stream)
        yield Kind.INFO, _json(info)
        timeline = Timeline(_origin_s(container), info["duration_s"] or None)
        errors, packets = 0, 0
        for frames in _packets(container, stream):
            packets += 1
            errors += frames is None
            for frame in frames or ():
                for pcm in timeline.add(frame):
                    yield Kind.PCM, pcm
        for pcm in timeline.flush():
            yield Kind.PCM, pcm
    announced_s = None if _is_guess(path, info) else info["duration_s"]
    facts = {"decoded_s": timeline.decoded_s, "announced_s": announced_s, "packets": packets, "errors": errors}
    yield Kind.DONE, _json(facts)


def _packets(container: Any, stream: Any) -> Iterator[list[Any] | None]:
    """The frames of each packet; None for a packet that could not be decoded. A cut file ends without complaint."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except (av.error.FFmpegError, ValueError):
            return
        if packet is None:
            return
        try:
            yield packet.decode()
        except (av.error.FFmpegError, ValueError):
            yield None


def _open(path: str) -> Any:
    try:
        return av.open(path, mode="r", options=_OPTIONS, metadata_errors="ignore")
    except av.error.PermissionError as error:
        raise Unusable("unreadable", str(error)) from None
    except av.error.FileNotFoundError as error:
        raise Unusable("missing_file", str(error)) from None
    except (av.error.FFmpegError, ValueError) as error:
        code = "no_index" if _is_cut_mp4(Path(path)) else "not_media"
        raise Unusable(code, str(error), bytes=Path(path).stat().st_size) from None


def _audio_stream(container: Any) -> Any:
    stream = next(iter(container.streams.audio), None)
    if stream is None:
        raise Unusable("no_audio")
    if stream.codec_context is None:
        raise Unusable("unknown_codec")
    return stream


def _describe(container: Any, stream: Any) -> dict[str, Any]:
    own = float(stream.duration * stream.time_base) if stream.duration and stream.time_base else None
    whole = container.duration / av.time_base if container.duration else None
    return {
        "container": container.format.name.split(",")[0] if container.format.name else "",
        "codec": stream.codec_context.name,
        "sample_rate_hz": stream.codec_context.sample_rate or 0,
        "channels": stream.codec_context.channels or 0,
        "duration_s": own or whole or 0.0,
        "of_track": own is not None,
        "tracks": len(container.streams),
    }


def _origin_s(container: Any) -> float:
    return float(container.start_time / av.time_base) if container.start_time else 0.0


def _is_guess(path: str, info: dict[str, Any]) -> bool:
    if not info["duration_s"]:
        return True
    if info["container"] not in _GUESSED_DURATION:
        return False
    with Path(path).open("rb") as handle:
        head = handle.read(_HEAD_BYTES)
    return not any(mark in head for mark in (b"Xing", b"Info", b"VBRI"))


def _is_cut_mp4(path: Path) -> bool:
    """True for a file that begins as MP4 but whose boxes reach beyond its end: the index at the end is missing."""
    size, at = path.stat().st_size, 0
    with path.open("rb") as handle:
        while at + 8 <= size:
            handle.seek(at)
            length, kind = int.from_bytes(handle.read(4), "big"), handle.read(4)
            if at == 0 and kind != b"ftyp":
                return False
            if length == 1:
                length = int.from_bytes(handle.read(8), "big")
            if length < 8:
                return False
            at += length
    return at != size and size >= 8


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value).encode()

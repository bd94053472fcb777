"""What PyAV does with a file, inside the decoder's process only: open, describe, decode to 16 kHz mono int16.

Called by `decoder_process`; every finding leaves through the pipe as a `wire` frame.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import av

from channelscribe.audio.announced import announced_s, missing_mp4_end
from channelscribe.audio.resample import Timeline
from channelscribe.audio.wire import Kind, write_frame
from channelscribe.core.media_file import open_media

# Playlists, concat scripts and image sequences could make the decoder read other files or the network.
_FORMATS = (
    "mov,mp4,m4a,matroska,webm,mp3,aac,wav,w64,aiff,flac,ogg,caf,avi,asf,flv,mpegts,mpeg,amr,ac3,eac3,au,wv,ape,tta"
)
_OPTIONS = {"format_whitelist": _FORMATS, "protocol_whitelist": "file"}


class Unusable(Exception):
    """The file cannot be decoded; `code` and `facts` travel to the parent, which words the sentence."""

    def __init__(self, code: str, detail: str = "", **facts: Any) -> None:
        super().__init__(detail)
        self.code, self.detail, self.facts = code, detail, facts


def run(task: str, path: str, pipe: BinaryIO) -> None:
    try:
        for kind, payload in (_probe if task == "probe" else decoded)(path):
            write_frame(pipe, kind, payload)
    except Unusable as error:
        report = {"code": error.code, "detail": error.detail, **error.facts}
        write_frame(pipe, Kind.ERROR, json.dumps(report).encode())


def _probe(path: str) -> Iterator[tuple[Kind, bytes]]:
    with _open(path) as container:
        stream = _audio_stream(container)
        yield Kind.INFO, _json(_describe(container, stream))
        yield Kind.DONE, b"{}"


def decoded(path: str) -> Iterator[tuple[Kind, bytes]]:
    """The frames to send for one file: INFO, then PCM in pieces, then DONE. Raises Unusable."""
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
    promised_s = announced_s(Path(path), info)
    facts = {"decoded_s": timeline.decoded_s, "announced_s": promised_s, "packets": packets, "errors": errors}
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
        return open_media(path, _OPTIONS)
    except av.error.PermissionError as error:
        raise Unusable("unreadable", str(error)) from None
    except av.error.FileNotFoundError as error:
        raise Unusable("missing_file", str(error)) from None
    except (av.error.FFmpegError, ValueError) as error:
        end, size = missing_mp4_end(Path(path)), Path(path).stat().st_size
        raise Unusable("not_media" if end is None else "cut_mp4", str(error), bytes=size, end=end) from None


def _audio_stream(container: Any) -> Any:
    stream = next(iter(container.streams.audio), None)
    if stream is None:
        raise Unusable("no_audio" if len(container.streams) else "not_media")  # a beginning alone has no track at all
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


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value).encode()

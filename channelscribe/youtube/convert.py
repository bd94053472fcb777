"""Turns what YouTube serves into the format that was asked for, with PyAV instead of an ffmpeg binary.

Last step of a download; streams packet by packet, and the finished file appears under its name in one step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from channelscribe.core.errors import Permanent, Poisoned
from channelscribe.core.media_file import open_media

Beat = Callable[[], None]
_HTML = (b"<!doctype", b"<html", b"<?xml", b"<head", b"<body", b"{")
_BROKEN = "The downloaded media is damaged and could not be converted."


def check_media(path: Path) -> None:
    """A quick look at the first bytes. Raises Poisoned for an empty file, a web page or anything that is no media."""
    with path.open("rb") as handle:
        head = handle.read(64)
    if not head:
        raise Poisoned("The media server sent an empty file.", code="not_media")
    if head.lstrip().lower().startswith(_HTML):
        raise Poisoned("The media server sent a web page instead of media.", code="not_media")
    if not (_is_mp4(head) or head.startswith((b"\x1aE\xdf\xa3", b"OggS", b"ID3", b"RIFF")) or _is_mpeg_audio(head)):
        raise Poisoned("The media server sent something that is no media.", code="not_media")


def _is_mp4(head: bytes) -> bool:
    return head[4:8] in {b"ftyp", b"styp", b"moov", b"moof", b"sidx", b"mdat", b"free", b"skip", b"wide"}


def _is_mpeg_audio(head: bytes) -> bool:
    return len(head) > 1 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0


def remux(sources: list[Path], target: Path, kinds: tuple[str, ...], beat: Beat) -> Path:
    """Copies the best stream of each kind ("audio", "video") into one MP4 without touching the coded data."""
    with _inputs(sources) as inputs, _output(target, "mp4") as output:
        pairs = []
        for kind in kinds:
            source, stream = _first(inputs, kind)
            pairs.append((source, stream, output.add_stream_from_template(stream)))
        for packet, copy in _interleaved(pairs):
            packet.stream = copy
            output.mux(packet)
            beat()
    return target


def to_mp3(source: Path, target: Path, beat: Beat) -> Path:
    """Transcodes the audio to MP3 (libmp3lame, variable rate of about 130 kbit/s)."""
    with _inputs([source]) as inputs, _output(target, "mp3") as output:
        container, stream = _first(inputs, "audio")
        rate = stream.rate if stream.rate in {32_000, 44_100, 48_000} else 44_100
        mp3 = output.add_stream("libmp3lame", rate=rate, layout="stereo" if stream.channels > 1 else "mono")
        mp3.codec_context.options = {"q": "4"}
        for frame in container.decode(stream):
            output.mux(mp3.encode(frame))
            beat()
        output.mux(mp3.encode(None))
    return target


def _first(inputs: list[Any], kind: str) -> tuple[Any, Any]:
    for container in inputs:
        for stream in container.streams:
            if stream.type == kind:
                return container, stream
    raise Permanent(f"The video has no {'sound' if kind == 'audio' else 'picture'} track.", code=f"no_{kind}")


def _interleaved(pairs: list[tuple[Any, Any, Any]]) -> Iterator[tuple[Any, Any]]:
    """Packets of all streams in order of time, so that the muxer never has to hold more than a few."""
    import heapq

    same_file = len(pairs) > 1 and all(source is pairs[0][0] for source, _, _ in pairs)
    if same_file:
        copies = {stream.index: copy for _, stream, copy in pairs}
        for packet in pairs[0][0].demux([stream for _, stream, _ in pairs]):
            if packet.dts is not None:
                yield packet, copies[packet.stream.index]
        return
    feeds = [_timed(source, stream, copy) for source, stream, copy in pairs]
    for _, packet, copy in heapq.merge(*feeds, key=lambda item: item[0]):
        yield packet, copy


def _timed(source: Any, stream: Any, copy: Any) -> Iterator[tuple[float, Any, Any]]:
    for packet in source.demux(stream):
        if packet.dts is not None:
            yield float(packet.dts * packet.time_base), packet, copy


@contextmanager
def _inputs(sources: list[Path]) -> Iterator[list[Any]]:
    import av

    opened: list[Any] = []
    try:
        for source in sources:
            opened.append(open_media(str(source)))
        yield opened
    except av.error.FFmpegError as error:
        if isinstance(error, OSError) and error.errno in {12, 13, 27, 28, 30, 122}:
            raise
        raise Poisoned(_BROKEN, code="conversion") from error
    finally:
        for container in opened:
            container.close()


@contextmanager
def _output(target: Path, container: str) -> Iterator[Any]:
    import av

    draft = target.with_name(f"{target.name}.draft")
    try:
        with av.open(str(draft), "w", format=container) as output:
            yield output
        draft.replace(target)
    except BaseException:
        with suppress(OSError):
            draft.unlink()
        raise

"""PCM to the containers that YouTube serves, by PyAV: m4a (AAC), webm (Opus), mp4 with a still picture, ogg (Opus).

The emulated media server and the speech bank write with it; equal input gives equal bytes.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import OutputContainer
from numpy.typing import NDArray

Pcm = NDArray[np.int16]
PCM_RATE_HZ = 16_000
# A moov with an edit list and one index in front, as YouTube's own DASH audio has: exact duration, seekable.
_DASH = {"movflags": "+dash+delay_moov+default_base_moof+global_sidx", "frag_duration": "5000000"}


@dataclass(frozen=True)
class Encoding:
    """How one format is written."""

    container: str
    codec: str
    rate_hz: int
    bit_rate: int
    sample_format: str = "fltp"
    container_options: dict[str, str] = field(default_factory=dict)
    codec_options: dict[str, str] = field(default_factory=dict)
    sound: bool = True
    picture: bool = False


_FAST = {"aac_coder": "fast"}
M4A = Encoding("mp4", "aac", 44_100, 128_000, container_options=_DASH, codec_options=_FAST)
M4A_LOW = Encoding("mp4", "aac", 22_050, 32_000, container_options=_DASH, codec_options=_FAST)
WEBM = Encoding("webm", "libopus", 48_000, 48_000, sample_format="s16")
WEBM_LOW = Encoding("webm", "libopus", 48_000, 24_000, sample_format="s16")
MP4 = Encoding("mp4", "aac", 44_100, 96_000, "fltp", {"movflags": "+faststart"}, _FAST, picture=True)
PICTURE = Encoding("mp4", "aac", 44_100, 0, container_options=_DASH, sound=False, picture=True)
OGG = Encoding("ogg", "libopus", 16_000, 40_000, sample_format="s16", codec_options={"application": "voip"})


def _frames(pcm: Pcm, encoding: Encoding) -> Iterator[av.AudioFrame]:
    resampler = av.AudioResampler(format=encoding.sample_format, layout="mono", rate=encoding.rate_hz)
    for start in range(0, len(pcm), PCM_RATE_HZ):
        frame = av.AudioFrame.from_ndarray(pcm[None, start : start + PCM_RATE_HZ], format="s16", layout="mono")
        frame.sample_rate, frame.pts = PCM_RATE_HZ, start
        yield from resampler.resample(frame)
    yield from resampler.resample(None)


def _add_sound(container: OutputContainer, encoding: Encoding) -> AudioStream:
    stream = container.add_stream(encoding.codec, rate=encoding.rate_hz, layout="mono")
    assert isinstance(stream, AudioStream)
    stream.bit_rate, stream.options = encoding.bit_rate, {"flags": "+bitexact", **encoding.codec_options}
    return stream


def _write_sound(container: OutputContainer, stream: AudioStream, pcm: Pcm, encoding: Encoding) -> None:
    for frame in _frames(pcm, encoding):
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def _write_picture(container: OutputContainer, duration_s: float) -> None:
    """A grey picture once a second: enough for a file that has a video track."""
    stream = container.add_stream("libx264", rate=1, options={"preset": "ultrafast", "threads": "1"})
    stream.width, stream.height, stream.pix_fmt = 64, 36, "yuv420p"
    for second in range(max(1, round(duration_s))):
        frame = av.VideoFrame.from_ndarray(np.full((36, 64, 3), 96, np.uint8), format="rgb24")
        frame.pts = second
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def encode_file(pcm: Pcm, path: Path, encoding: Encoding) -> None:
    """Writes 16 kHz mono `pcm` to `path`."""
    options = {"fflags": "+bitexact", **encoding.container_options}
    with av.open(str(path), "w", format=encoding.container, options=options) as container:
        sound = _add_sound(container, encoding) if encoding.sound else None
        if encoding.picture:
            _write_picture(container, len(pcm) / PCM_RATE_HZ)
        if sound:
            _write_sound(container, sound, pcm, encoding)


def encode(pcm: Pcm, encoding: Encoding) -> bytes:
    with tempfile.TemporaryDirectory(prefix="channelscribe-encode-") as folder:
        path = Path(folder) / f"audio.{encoding.container}"
        encode_file(pcm, path, encoding)
        return path.read_bytes()


def encode_m4a(pcm: Pcm) -> bytes:
    return encode(pcm, M4A)


def encode_webm(pcm: Pcm) -> bytes:
    return encode(pcm, WEBM)


def encode_mp4(pcm: Pcm) -> bytes:
    """AAC beside a video track."""
    return encode(pcm, MP4)


def encode_opus(pcm: Pcm) -> bytes:
    """Speech as the bank is shipped."""
    return encode(pcm, OGG)


def decode(source: Path | bytes) -> Pcm:
    """The sound of the first audio track at 16 kHz mono."""
    pieces: list[Pcm] = []
    resampler = av.AudioResampler(format="s16", layout="mono", rate=PCM_RATE_HZ)
    with av.open(io.BytesIO(source) if isinstance(source, bytes) else str(source), "r") as container:
        for frame in container.decode(audio=0):
            pieces += [part.to_ndarray()[0] for part in resampler.resample(frame)]
    pieces += [part.to_ndarray()[0] for part in resampler.resample(None)]
    return np.concatenate(pieces).astype(np.int16)

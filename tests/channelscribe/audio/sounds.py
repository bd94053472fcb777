"""Media files of many formats, written with PyAV for the tests of the audio room."""

from __future__ import annotations

import wave
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

RATE_HZ = 16_000
Pcm = NDArray[np.int16]


def chirp(seconds: float, rate_hz: int = RATE_HZ) -> Pcm:
    """A sweep from 200 to 2000 Hz: every moment sounds different, so a shift in time shows."""
    at = np.arange(round(seconds * rate_hz)) / rate_hz
    phase = 2 * np.pi * (200 * at + 900 * at**2 / seconds)
    return (8000 * np.sin(phase)).astype(np.int16)


def write_wav(path: Path, pcm: Pcm, rate_hz: int = RATE_HZ, channels: int = 1) -> Path:
    with wave.open(str(path), "wb") as out:
        out.setnchannels(channels)
        out.setsampwidth(2)
        out.setframerate(rate_hz)
        out.writeframes(np.repeat(pcm[:, None], channels, axis=1).tobytes())
    return path


def write_media(
    path: Path, pcm: Pcm, codec: str, rate_hz: int, layout: str = "mono", title: str = "", **options: str
) -> Path:
    """`pcm` at 16 kHz, in the container that the suffix names."""
    with av.open(str(path), "w", options=options) as container:
        container.metadata["title"] = title
        stream = container.add_stream(codec, rate=rate_hz, layout=layout)
        resampler = av.AudioResampler(stream.codec_context.format, layout, rate_hz)
        for start in range(0, len(pcm), RATE_HZ):
            frame = av.AudioFrame.from_ndarray(pcm[None, start : start + RATE_HZ], format="s16", layout="mono")
            frame.sample_rate, frame.pts = RATE_HZ, start
            for out in resampler.resample(frame):
                container.mux(stream.encode(out))
        for out in resampler.resample(None):
            container.mux(stream.encode(out))
        container.mux(stream.encode(None))
    return path


def spoil_tag(source: Path, target: Path) -> Path:
    """A copy whose title is no UTF-8: the letters QQQQ become bytes that no encoding of ours knows."""
    data = source.read_bytes()
    assert b"QQQQ" in data
    target.write_bytes(data.replace(b"QQQQ", b"\xff\xfe\xe9\xe8"))
    return target


def write_picture_only(path: Path) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=5)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(10):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")))
        container.mux(stream.encode(None))
    return path

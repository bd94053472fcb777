"""Formats: which are chosen, how picture and sound are joined, and what broken media does to the converter."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from channelscribe.core.errors import Permanent, Poisoned
from channelscribe.youtube import convert
from channelscribe.youtube.formats import describe, picture_and_sound
from tests.channelscribe.audio.sounds import chirp, spoil_tag, write_media
from tests.emulators import encoding
from tests.emulators.speech import Score, compose

DURATION_S = 3.0


def sound(path: Path) -> Path:
    encoding.encode_file(compose(Score(3, DURATION_S)).pcm, path, encoding.M4A)
    return path


def picture(path: Path) -> Path:
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for i in range(int(DURATION_S * 10)):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), i * 5, np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def beat() -> None:
    """A sign of life that nobody needs."""


def test_picture_and_sound_are_joined_without_a_change(tmp_path: Path) -> None:
    heard, seen = sound(tmp_path / "a.m4a"), picture(tmp_path / "v.mp4")
    joined = convert.remux([seen, heard], tmp_path / "out.mp4", ("video", "audio"), beat)
    with av.open(str(joined)) as both, av.open(str(heard)) as alone:
        assert [s.type for s in both.streams] == ["video", "audio"]
        kept = [bytes(p) for p in both.demux(both.streams.audio[0]) if p.size]
        assert kept == [bytes(p) for p in alone.demux(alone.streams.audio[0]) if p.size]
    with av.open(str(joined)) as both:
        times = [float(p.dts * p.time_base) for p in both.demux() if p.dts is not None]
    assert all(later >= earlier - 1.1 for earlier, later in pairwise(times))


def test_a_tag_that_is_no_utf8_does_not_keep_a_file_from_being_converted(tmp_path: Path) -> None:
    plain = write_media(tmp_path / "plain.m4a", chirp(2.0), "aac", 44_100, title="Title QQQQ")
    tagged = spoil_tag(plain, tmp_path / "tagged.m4a")
    copied = convert.remux([tagged], tmp_path / "copied.mp4", ("audio",), beat)
    spoken = convert.to_mp3(tagged, tmp_path / "spoken.mp3", beat)
    assert encoding.decode(copied).size == encoding.decode(plain).size
    assert encoding.decode(spoken).size == pytest.approx(2 * encoding.PCM_RATE_HZ, rel=0.1)


def test_sound_is_taken_out_of_a_file_with_both(tmp_path: Path) -> None:
    both = convert.remux(
        [picture(tmp_path / "v.mp4"), sound(tmp_path / "a.m4a")], tmp_path / "both.mp4", ("video", "audio"), beat
    )
    only = convert.remux([both], tmp_path / "only.m4a", ("audio",), beat)
    with av.open(str(only)) as container:
        assert [s.type for s in container.streams] == ["audio"]


def test_a_picture_without_sound_is_permanent(tmp_path: Path) -> None:
    silent = picture(tmp_path / "v.mp4")
    with pytest.raises(Permanent, match="no sound"):
        convert.to_mp3(silent, tmp_path / "out.mp3", beat)
    with pytest.raises(Permanent, match="no sound"):
        convert.remux([silent], tmp_path / "out.m4a", ("audio",), beat)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["v.mp4"]


@pytest.mark.parametrize("keep", [0, 10, 200, 0.5])
def test_damaged_media_is_poisoned_or_converted_and_leaves_no_draft(tmp_path: Path, keep: float) -> None:
    broken = sound(tmp_path / "a.m4a")
    whole = broken.read_bytes()
    broken.write_bytes(whole[: int(len(whole) * keep) if isinstance(keep, float) else keep])
    try:
        convert.to_mp3(broken, tmp_path / "out.mp3", beat)
    except (Poisoned, Permanent):
        assert not (tmp_path / "out.mp3").exists()
    assert not list(tmp_path.glob("*.draft"))


def test_an_interruption_leaves_no_half_file(tmp_path: Path) -> None:
    source = sound(tmp_path / "a.m4a")

    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert.to_mp3(source, tmp_path / "out.mp3", stop)
    assert [p.name for p in tmp_path.iterdir()] == ["a.m4a"]


@settings(deadline=None)
@given(st.binary(max_size=80))
def test_any_bytes_are_media_or_poisoned(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.bin"
    path.write_bytes(content)
    try:
        convert.check_media(path)
    except Poisoned as error:
        assert error.code == "not_media"
        return
    assert len(content) > 1


@pytest.mark.parametrize(
    "content", [b"", b"<!DOCTYPE html>", b"\n <HTML>", b'{"error": 1}', b"\x00" * 64, b"PK\x03\x04"]
)
def test_pages_and_rubbish_are_no_media(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.m4a"
    path.write_bytes(content)
    with pytest.raises(Poisoned):
        convert.check_media(path)


def _format(format_id: str, ext: str, vcodec: str = "none", acodec: str = "none", **more: Any) -> dict[str, Any]:
    return {"format_id": format_id, "ext": ext, "vcodec": vcodec, "acodec": acodec, "url": "https://x", **more}


M4A = _format("140", "m4a", acodec="mp4a", abr=129, language_preference=-1)
ORIGINAL = _format("140-1", "m4a", acodec="mp4a", abr=128, language_preference=10)
WEBM = _format("248", "webm", vcodec="vp9", height=1080)
FULL_HD = _format("137", "mp4", vcodec="avc1", height=1080)
UHD = _format("401", "mp4", vcodec="av01", height=2160)
MUXED = _format("18", "mp4", vcodec="avc1", acodec="mp4a", height=360)


@pytest.mark.parametrize(
    ("offered", "taken"),
    [
        ([M4A, ORIGINAL, WEBM, FULL_HD, UHD, MUXED], ["137", "140-1"]),
        ([M4A, UHD], ["401", "140"]),
        ([M4A, WEBM, MUXED], ["18"]),
        ([M4A], []),
        ([], []),
    ],
)
def test_the_best_common_picture_goes_with_the_original_sound(offered: list[dict[str, Any]], taken: list[str]) -> None:
    assert [f["format_id"] for f in picture_and_sound({"formats": offered})] == taken


def test_formats_are_described_for_people() -> None:
    assert describe([FULL_HD | {"tbr": 4000.4}, ORIGINAL]) == "137 avc1 4000k + 140-1 mp4a 128k"

"""Real files of many formats through the real decoder process: the right sound, and one classified failure each."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from channelscribe.audio.decode import decode
from channelscribe.audio.probe import probe
from channelscribe.audio.process import DECODER
from channelscribe.core.errors import ChannelscribeError, EnvironmentFailure, Permanent, Poisoned, Transient
from tests.channelscribe.audio.sounds import RATE_HZ, Pcm, chirp, spoil_tag, write_media, write_picture_only, write_wav

FORMATS = {
    "aac_44k_stereo.m4a": ("aac", 44_100, "stereo"),
    "aac_48k_5.1.m4a": ("aac", 48_000, "5.1"),
    "aac_22k.mp4": ("aac", 22_050, "mono"),
    "opus_48k.webm": ("libopus", 48_000, "stereo"),
    "opus_5.1.mkv": ("libopus", 48_000, "5.1"),
    "mp3_44k.mp3": ("libmp3lame", 44_100, "stereo"),
    "mp3_16k.mp3": ("libmp3lame", 16_000, "mono"),
    "flac.flac": ("flac", 96_000, "stereo"),
    "pcm_8k.wav": ("pcm_s16le", 8_000, "mono"),
    "pcm_24bit.wav": ("pcm_s24le", 44_100, "stereo"),
}


def heard(path: Path, chunk_s: float = 30.0) -> Pcm:
    return np.concatenate(list(decode(path, chunk_s)))


def likeness(found: Pcm, wanted: Pcm) -> float:
    count = min(len(found), len(wanted))
    return float(np.corrcoef(found[:count].astype(float), wanted[:count].astype(float))[0, 1])


def failure(path: Path) -> ChannelscribeError:
    with pytest.raises(ChannelscribeError) as caught:
        heard(path)
    return caught.value


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_media(tmp_path_factory.mktemp("media") / "whole.m4a", chirp(20.0), "aac", 44_100)


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_same_sound_at_the_same_time(tmp_path: Path, name: str) -> None:
    codec, rate_hz, layout = FORMATS[name]
    path = write_media(tmp_path / name, chirp(6.0), codec, rate_hz, layout)
    info, found = probe(path), heard(path)
    assert (info.sample_rate_hz, info.channels) == (rate_hz, {"mono": 1, "stereo": 2, "5.1": 6}[layout])
    assert info.duration_s == pytest.approx(6.0, abs=0.15)
    assert found.dtype == np.int16
    assert len(found) == pytest.approx(6 * RATE_HZ, abs=0.15 * RATE_HZ)
    # A sweep shifted by only 5 ms correlates below 0.5 with itself.
    shift = 0 if not name.startswith("mp3") else _best_shift(found, chirp(6.0))
    assert abs(shift) < 0.08 * RATE_HZ
    assert likeness(found[shift:], chirp(6.0)) > 0.95


@pytest.mark.parametrize("name", ["aac_22k.mp4", "opus_48k.webm", "mp3_16k.mp3", "flac.flac", "pcm_8k.wav"])
def test_a_tag_that_is_no_utf8_does_not_matter(tmp_path: Path, name: str) -> None:
    codec, rate_hz, layout = FORMATS[name]
    plain = write_media(tmp_path / name, chirp(2.0), codec, rate_hz, layout, title="Title QQQQ")
    tagged = spoil_tag(plain, tmp_path / f"tagged_{name}")
    assert probe(tagged) == probe(plain)
    assert np.array_equal(heard(tagged), heard(plain))


def _best_shift(found: Pcm, wanted: Pcm) -> int:
    part = wanted[RATE_HZ : 2 * RATE_HZ].astype(float)
    return int(np.argmax(np.correlate(found[: 3 * RATE_HZ].astype(float), part, "valid"))) - RATE_HZ


def test_chunks_are_whole_and_do_not_change_the_sound(whole: Path) -> None:
    chunks = list(decode(whole, 3.0))
    assert {len(chunk) for chunk in chunks[:-1]} == {3 * RATE_HZ}
    assert 0 < len(chunks[-1]) <= 3 * RATE_HZ
    assert np.array_equal(np.concatenate(chunks), heard(whole))


def test_a_hole_in_the_time_stamps_becomes_silence(tmp_path: Path) -> None:
    import av

    path = tmp_path / "hole.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=RATE_HZ, layout="mono")
        for second in (0, 1, 4, 5):
            sound = np.full((1, RATE_HZ), 1000 * (second + 1), np.int16)
            frame = av.AudioFrame.from_ndarray(sound, format="s16", layout="mono")
            frame.sample_rate, frame.pts = RATE_HZ, second * RATE_HZ
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    found = heard(path)
    assert len(found) == 6 * RATE_HZ
    assert not found[2 * RATE_HZ + 100 : 4 * RATE_HZ - 100].any()
    assert np.median(found[4 * RATE_HZ : 5 * RATE_HZ]) == 5000


@pytest.mark.parametrize("name", ["m4a", "webm", "wav", "mp3", "mp4"])
@pytest.mark.parametrize("share", [0.4, 0.85])
def test_a_cut_file_is_poisoned_with_both_durations(tmp_path: Path, name: str, share: float) -> None:
    codec, options = {
        "m4a": ("aac", {"movflags": "+faststart"}),
        "mp4": ("aac", {"movflags": "+dash+delay_moov+global_sidx", "frag_duration": "1000000"}),
        "webm": ("libopus", {}),
        "wav": ("pcm_s16le", {}),
        "mp3": ("libmp3lame", {}),
    }[name]
    path = write_media(tmp_path / f"cut.{name}", chirp(40.0), codec, 48_000, **options)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    error = failure(path)
    assert (type(error), error.code) == (Poisoned, "truncated")
    both_durations = "announces 40." in error.reason and "could be decoded" in error.reason
    # FFmpeg does not even open some cut MP4 files, so their durations stay unknown.
    assert both_durations or (name == "mp4" and "should reach to byte" in error.reason)


def test_an_mp4_without_its_index_is_cut_short_too(whole: Path, tmp_path: Path) -> None:
    path = tmp_path / "no_index.m4a"
    path.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    error = failure(path)
    assert (type(error), error.code) == (Poisoned, "truncated")
    with pytest.raises(Poisoned):
        probe(path)


def _playlist(path: Path, target: Path) -> bytes:
    return f"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{target}\n#EXT-X-ENDLIST\n".encode()


@pytest.mark.parametrize(
    "content",
    [
        b"<html>Sign in to confirm you are not a bot</html>" * 50,
        bytes(200_000),
        b"\x00",
        os.urandom(100_000),
        b"ffconcat",
    ],
    ids=["html", "zeros", "one byte", "noise", "concat"],
)
def test_what_is_no_media_is_poisoned(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "Title_with_ünicode_😀_and spaces.m4a"
    path.write_bytes(content)
    error = failure(path)
    assert isinstance(error, Poisoned)
    assert error.code in {"not_media", "undecodable"}
    assert path.name in error.reason


def test_a_playlist_cannot_make_the_decoder_read_another_file(whole: Path, tmp_path: Path) -> None:
    for name in ("list.m3u8", "list.m4a"):
        path = tmp_path / name
        path.write_bytes(_playlist(path, whole))
        assert failure(path).code == "not_media"
    concat = tmp_path / "list.txt"
    concat.write_text(f"ffconcat version 1.0\nfile '{whole}'\n")
    assert failure(concat).code == "not_media"


def test_a_video_without_sound_is_permanent(tmp_path: Path) -> None:
    path = write_picture_only(tmp_path / "mute.mp4")
    error = failure(path)
    assert (type(error), error.code) == (Permanent, "no_audio")
    with pytest.raises(Permanent):
        probe(path)


def test_empty_missing_and_unreadable_files(tmp_path: Path) -> None:
    empty = tmp_path / "empty.m4a"
    empty.touch()
    assert (type(failure(empty)), failure(empty).code) == (Poisoned, "empty_file")
    gone = failure(tmp_path / "gone.m4a")
    assert (type(gone), gone.code) == (Transient, "missing_file")
    assert failure(tmp_path).code == "missing_file"


def test_flipped_bits_never_escape_the_tree(whole: Path, tmp_path: Path) -> None:
    good = whole.read_bytes()
    chance = np.random.default_rng(7)
    for _ in range(6):
        data = bytearray(good)
        for at in chance.integers(0, len(data), 200):
            data[at] ^= 1 << int(chance.integers(0, 8))
        path = tmp_path / "flipped.m4a"
        path.write_bytes(data)
        try:
            assert len(heard(path)) <= 25 * RATE_HZ
        except ChannelscribeError as error:
            assert isinstance(error, (Poisoned, Permanent))


def _script(tmp_path: Path, body: str) -> tuple[str, ...]:
    script = tmp_path / "decoder.py"
    script.write_text(body)
    return (sys.executable, str(script))


@pytest.mark.parametrize(
    ("body", "words"),
    [("import os; os.abort()", "crashed"), ("raise SystemExit(3)", "status 3"), ("print('noise' * 99)", "crashed")],
)
def test_a_decoder_that_crashes_is_a_failure_of_that_file(whole: Path, tmp_path: Path, body: str, words: str) -> None:
    with pytest.raises(Poisoned) as caught:
        list(decode(whole, command=_script(tmp_path, body)))
    assert caught.value.code == "decoder_crash"
    assert words in caught.value.reason


@pytest.mark.parametrize("missing", ["av.open", "av.AudioFifo"])
def test_a_library_that_has_changed_is_our_environment_and_not_the_file(
    whole: Path, tmp_path: Path, missing: str
) -> None:
    body = (
        "import sys, av\nfrom channelscribe.audio import decoder_process\n"
        f"def changed(none, of, these): return None\n{missing} = changed\n"
        "sys.exit(decoder_process.main(sys.argv[1:]))"
    )
    with pytest.raises(EnvironmentFailure, match="every file") as caught:
        list(decode(whole, command=_script(tmp_path, body)))
    assert caught.value.code == "no_decoder"


def test_a_file_that_alone_upsets_the_library_is_to_blame(whole: Path, tmp_path: Path) -> None:
    body = (
        "import sys, av\nfrom channelscribe.audio import decoder_process\nreal = av.open\n"
        "def upset(path, **given):\n"
        "    if path == sys.argv[2]: raise TypeError('an odd file')\n"
        "    return real(path, **given)\n"
        "av.open = upset\nsys.exit(decoder_process.main(sys.argv[1:]))"
    )
    with pytest.raises(Poisoned, match="an odd file") as caught:
        list(decode(whole, command=_script(tmp_path, body)))
    assert caught.value.code == "decoder_crash"


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX here")
@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP"])
def test_a_decoder_that_somebody_ends_says_nothing_about_the_file(whole: Path, tmp_path: Path, name: str) -> None:
    body = f"import os, signal; signal.signal(signal.{name}, signal.SIG_DFL); os.kill(os.getpid(), signal.{name})"
    with pytest.raises(Transient) as caught:
        list(decode(whole, command=_script(tmp_path, body)))
    assert caught.value.code == "decoder_ended"


def test_a_decoder_that_hangs_is_given_up_and_buried(whole: Path, tmp_path: Path) -> None:
    note = tmp_path / "pid"
    body = f"import os, time, pathlib; pathlib.Path({str(note)!r}).write_text(str(os.getpid())); time.sleep(600)"
    with pytest.raises(Poisoned) as caught:
        list(decode(whole, stall_timeout_s=2.0, command=_script(tmp_path, body)))
    assert caught.value.code == "decoder_hang"
    assert not _alive(int(note.read_text()))


def test_a_decoder_that_cannot_start_is_our_environment(whole: Path, tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFailure):
        list(decode(whole, command=(str(tmp_path / "no-python"),)))


def test_leaving_early_and_cancelling_end_the_process(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "long.wav", np.tile(chirp(60.0), 20))
    before = _children()
    stream = decode(path, 10.0)
    assert len(next(stream)) == 10 * RATE_HZ
    assert len(_children()) == len(before) + 1
    stream.close()
    assert _children() == before
    seen: list[int] = []
    with pytest.raises(Transient) as caught:
        seen.extend(len(chunk) for chunk in decode(path, 10.0, cancelled=lambda: len(seen) >= 3))
    assert caught.value.code == "cancelled"
    assert _children() == before


def test_the_decoder_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "long.wav", np.tile(chirp(60.0), 20))
    code = (
        "import sys, time; from pathlib import Path; from channelscribe.audio.process import DecoderProcess;"
        "p = DecoderProcess('decode', Path(sys.argv[1])); print(p._process.pid, flush=True); time.sleep(600)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    assert _alive(child)
    parent.kill()
    parent.communicate()
    until = time.monotonic() + 30
    while _alive(child) and time.monotonic() < until:
        time.sleep(0.05)
    assert not _alive(child)


def test_many_threads_decode_at_once(whole: Path) -> None:
    found: list[Pcm] = []
    threads = [threading.Thread(target=lambda: found.append(heard(whole))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 6
    assert all(np.array_equal(found[0], other) for other in found)


def test_the_decoder_process_imports_nothing_heavy() -> None:
    code = (
        "import sys, channelscribe.audio.decoder_process, channelscribe.audio.media;"
        "print([m for m in ('torch', 'transformers', 'pydantic', 'pandas') if m in sys.modules])"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )
    assert DECODER[0] == sys.executable


def _alive(pid: int) -> bool:
    import psutil

    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def _children() -> set[int]:
    import psutil

    return {child.pid for child in psutil.Process().children()}

"""Real speech through the real engine: words, times, language, silence, and bad files among good ones."""

from __future__ import annotations

import re
import statistics
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import jiwer
import numpy as np
import pytest

from channelscribe.asr.engine import Engine
from channelscribe.asr.registry import expected_fingerprint, open_engine
from channelscribe.core.errors import Permanent, Poisoned
from channelscribe.core.model import Transcript
from channelscribe.core.profile import TranscriptionProfile
from channelscribe.core.window import RATE_HZ
from tests.channelscribe.asr.models import SHIPPED
from tests.channelscribe.audio.sounds import write_media, write_picture_only, write_wav
from tests.emulators.speech import Recording, Score, Section, compose

PROFILE = TranscriptionProfile(model=str(SHIPPED), window_s=8.0)
# Measured 0.007 over 5 minutes with 8 s windows; the margin is for another torch and another draw of sentences.
WORST_WER = 0.1
WORST_MEDIAN_START_S = 0.2


def words(text: str) -> str:
    return re.sub(r"[^a-z ]", "", text.lower())


@pytest.fixture(scope="module")
def recordings() -> list[Recording]:
    pause = (Section("silence", 40.0, 52.0), Section("noise", 70.0, 75.0), Section("tone", 80.0, 86.0))
    return [
        compose(Score(30, 120.0, sections=pause)),
        compose(Score(31, 90.0)),
        compose(Score(32, 60.0, ("en-gb+f2",))),
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, recordings: list[Recording]) -> Path:
    folder = tmp_path_factory.mktemp("speech")
    for (name, codec, rate_hz), recording in zip(
        (("a.m4a", "aac", 44_100), ("b.webm", "libopus", 48_000), ("c.mp3", "libmp3lame", 32_000)),
        recordings,
        strict=True,
    ):
        write_media(folder / name, recording.pcm, codec, rate_hz, "stereo")
    write_wav(folder / "silent.wav", np.zeros(50 * RATE_HZ, np.int16))
    write_wav(folder / "tone.wav", compose(Score(1, 40.0, sections=(Section("tone", 0.0, 40.0),), speech=False)).pcm)
    write_picture_only(folder / "mute.mp4")
    (folder / "page.m4a").write_bytes(b"<html>" * 1000)
    (folder / "cut.webm").write_bytes((folder / "b.webm").read_bytes()[:200_000])
    return folder


def transcribe(engine: Engine, folder: Path, name: str) -> Transcript | Exception:
    try:
        return engine.transcribe(folder / name, video_id=name, media_sha256=name.rjust(64, "0"))
    except Exception as error:
        return error


@pytest.fixture(scope="module")
def made(folder: Path) -> dict[str, Transcript | Exception]:
    names = [path.name for path in sorted(folder.iterdir())]
    with open_engine(PROFILE) as engine, ThreadPoolExecutor(len(names)) as pool:
        return dict(zip(names, pool.map(lambda name: transcribe(engine, folder, name), names), strict=True))


def good(made: dict[str, Transcript | Exception]) -> list[Transcript]:
    found = [made[name] for name in ("a.m4a", "b.webm", "c.mp3")]
    transcripts = [t for t in found if isinstance(t, Transcript)]
    assert len(transcripts) == 3, found
    return transcripts


def test_the_words_are_those_that_were_spoken(
    made: dict[str, Transcript | Exception], recordings: list[Recording]
) -> None:
    rate = jiwer.wer([words(r.text) for r in recordings], [words(t.text) for t in good(made)])
    assert rate < WORST_WER
    assert {t.language for t in good(made)} == {"en"}


def test_sentences_begin_when_they_were_spoken(
    made: dict[str, Transcript | Exception], recordings: list[Recording]
) -> None:
    errors = []
    for transcript, recording in zip(good(made), recordings, strict=True):
        for sentence in recording.sentences:
            wanted = set(words(sentence.text).split())
            alike = [s for s in transcript.segments if len(wanted & set(words(s.text).split())) > 0.6 * len(wanted)]
            errors += [min(abs(s.start_s - sentence.start_s) for s in alike)] if alike else []
    assert len(errors) > 0.7 * sum(len(r.sentences) for r in recordings)
    assert statistics.median(errors) < WORST_MEDIAN_START_S


def test_no_words_where_nobody_speaks(made: dict[str, Transcript | Exception], recordings: list[Recording]) -> None:
    for name in ("silent.wav", "tone.wav"):
        quiet = made[name]
        assert isinstance(quiet, Transcript)
        assert (quiet.segments, quiet.speech_s) == ((), 0.0)
        assert quiet.duration_s == pytest.approx(50.0 if name == "silent.wav" else 40.0)
    for segment in good(made)[0].segments:
        inside = min(segment.end_s, 52.0) - max(segment.start_s, 40.0)
        assert inside < 2.5, segment


def test_bad_files_among_good_ones_fail_alone_and_classified(made: dict[str, Transcript | Exception]) -> None:
    codes = {name: (type(e), getattr(e, "code", "")) for name, e in made.items() if isinstance(e, Exception)}
    assert codes == {
        "mute.mp4": (Permanent, "no_audio"),
        "page.m4a": (Poisoned, "not_media"),
        "cut.webm": (Poisoned, "truncated"),
    }


def test_alone_and_again_gives_the_same(made: dict[str, Transcript | Exception], folder: Path) -> None:
    together = good(made)[2]
    with open_engine(PROFILE.model_copy(update={"batch_size": 2})) as engine:
        alone = engine.transcribe(folder / "c.mp3", video_id="c.mp3", media_sha256=together.media_sha256)
    provenance = replace(alone.provenance, batch_size=together.provenance.batch_size)
    same = replace(alone, created_at=together.created_at, wall_s=together.wall_s, provenance=provenance)
    assert same == together
    assert alone.fingerprint == expected_fingerprint(PROFILE, together.media_sha256)

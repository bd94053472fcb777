"""Memory stays flat: an hour of one file, and many files, through the whole real chain with a tiny model.

`python -m benchmarks.soak` does the same with 500 files and the shipped model.
"""

from __future__ import annotations

import gc
import wave
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pytest

from channelscribe.asr.registry import open_engine
from channelscribe.core.profile import TranscriptionProfile
from tests.channelscribe.asr.models import Tiny
from tests.emulators.speech import Score, Section, compose

pytestmark = pytest.mark.slow
RATE_HZ = 8_000
ALLOWED_GROWTH_MIB = 24.0


def rss_mib() -> float:
    gc.collect()
    return float(psutil.Process().memory_info().rss) / 2**20


@pytest.fixture(scope="module")
def profile(tmp_path_factory: pytest.TempPathFactory) -> TranscriptionProfile:
    folder = Tiny(seconds=10, width=16, positions=24).save(tmp_path_factory.mktemp("tiny"))
    return TranscriptionProfile(model=str(folder), window_s=10.0, temperatures=(0.0,), batch_size=32, pool_mib=16)


def loop(path: Path, score: Score, repeats: int) -> float:
    """A WAV of 8 bits at 8 kHz, so that hours of it are quick to write; gives its seconds."""
    piece = ((compose(score).pcm[::2].astype(np.int32) >> 8) + 128).astype(np.uint8).tobytes()
    with wave.open(str(path), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(1)
        out.setframerate(RATE_HZ)
        for _ in range(repeats):
            out.writeframes(piece)
    return repeats * score.duration_s


def test_an_hour_of_one_file(tmp_path: Path, profile: TranscriptionProfile) -> None:
    path = tmp_path / "long.wav"
    duration_s = loop(path, Score(9, 300.0, sections=(Section("silence", 60.0, 260.0),)), 12)
    seen: list[tuple[float, float]] = []

    def progress(done_s: float) -> None:
        if not seen or done_s > seen[-1][0] + 200:
            seen.append((done_s, rss_mib()))

    with open_engine(profile) as engine:
        made = engine.transcribe(path, video_id="long", media_sha256="0" * 64, progress=progress)
    assert made.duration_s == duration_s == 3600
    assert made.window_count > 66
    settled = max(mib for done_s, mib in seen if done_s < duration_s / 4)
    assert max(mib for _, mib in seen) - settled < ALLOWED_GROWTH_MIB, seen


def test_many_files(tmp_path: Path, profile: TranscriptionProfile) -> None:
    path = tmp_path / "short.wav"
    loop(path, Score(8, 6.0), 1)
    before = set(psutil.Process().children(recursive=True))
    with open_engine(profile) as engine, ThreadPoolExecutor(4) as pool:

        def some(first: int) -> float:
            jobs = [
                pool.submit(engine.transcribe, path, video_id=str(i), media_sha256=str(i).zfill(64))
                for i in range(first, first + 12)
            ]
            assert all(job.result().window_count for job in jobs)
            return rss_mib()

        sizes = [some(first) for first in (0, 12, 24, 36)]
        assert engine.stats().windows >= 48
        assert engine._pool.waiting_bytes == 0
    assert sizes[-1] - sizes[0] < ALLOWED_GROWTH_MIB, sizes
    assert not set(psutil.Process().children(recursive=True)) - before

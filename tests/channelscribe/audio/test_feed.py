"""The feeder from file to windows: the right sound under the right time, in memory that does not grow."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from channelscribe.audio.feed import Feed, Sound, listen
from channelscribe.core.errors import Poisoned
from channelscribe.core.window import RATE_HZ, WindowSound
from tests.channelscribe.audio.sounds import Pcm, write_wav
from tests.emulators.speech import Recording, Score, compose

pytestmark = pytest.mark.usefixtures("one_core")


@pytest.fixture(scope="module")
def recording() -> Recording:
    return compose(Score(4, 120.0, gap_s=(0.1, 5.0)))


def heard(path: Path, window_s: float = 8.0) -> tuple[list[WindowSound], Feed]:
    feed = listen(path, window_s=window_s, speech_threshold=0.35)
    return list(feed), feed


@pytest.mark.parametrize("window_s", [2.0, 8.0, 30.0])
def test_windows_hold_exactly_the_sound_of_their_pieces(tmp_path: Path, recording: Recording, window_s: float) -> None:
    found, feed = heard(write_wav(tmp_path / "a.wav", recording.pcm), window_s)
    assert feed.duration_s == recording.duration_s
    for sound in found:
        assert sound.window.duration_s <= window_s
        wanted = np.concatenate([recording.pcm[p.start : p.end] for p in sound.window.pieces])
        assert np.array_equal(sound.pcm, wanted)
    for sentence in recording.sentences:
        middle = round((sentence.start_s + sentence.end_s) / 2 * RATE_HZ)
        assert sum(p.start <= middle < p.end for sound in found for p in sound.window.pieces) == 1


def test_a_silent_file_has_no_window(tmp_path: Path) -> None:
    found, feed = heard(write_wav(tmp_path / "silent.wav", np.zeros(45 * RATE_HZ, np.int16)))
    assert (found, feed.speech_s, feed.duration_s) == ([], 0.0, 45.0)


def test_a_damaged_file_fails_while_its_windows_are_drawn(tmp_path: Path) -> None:
    path = tmp_path / "page.m4a"
    path.write_bytes(b"<html></html>" * 100)
    with pytest.raises(Poisoned):
        heard(path)


def _hours(pcm: Pcm, repeats: int) -> Iterator[Pcm]:
    for _ in range(repeats):
        yield pcm


@pytest.mark.parametrize("kind", ["silence", "speech without a pause", "sparse speech"])
def test_the_sound_that_is_kept_does_not_grow_with_the_file(recording: Recording, kind: str) -> None:
    speech = compose(Score(5, 29.0, gap_s=(0.0, 0.05))).pcm
    piece = {
        "silence": np.zeros(30 * RATE_HZ, np.int16),
        "speech without a pause": speech[: 28 * RATE_HZ],
        "sparse speech": np.concatenate([recording.pcm[: 4 * RATE_HZ], np.zeros(60 * RATE_HZ, np.int16)]),
    }[kind]
    feed = Feed(Path("unused"), window_s=30.0, speech_threshold=0.35, decoder=lambda *_, **__: _hours(piece, 40))
    most = 0
    for _ in feed:
        most = max(most, len(feed._sound._pcm))
    most = max(most, len(feed._sound._pcm))
    assert most < (30 + 10 + 5 + 2 * len(piece) / RATE_HZ) * RATE_HZ
    assert feed.duration_s == 40 * len(piece) / RATE_HZ


def test_the_quietest_point_is_in_the_pause() -> None:
    sound = Sound()
    pcm = np.full(10 * RATE_HZ, 3000, np.int16)
    pcm[6 * RATE_HZ : 6 * RATE_HZ + 4000] = 3
    sound.append(pcm[: 4 * RATE_HZ])
    sound.append(pcm[4 * RATE_HZ :])
    assert 6 * RATE_HZ <= sound.quietest(RATE_HZ, 9 * RATE_HZ) < 6 * RATE_HZ + 4000
    sound.drop_before(5 * RATE_HZ)
    assert 6 * RATE_HZ <= sound.quietest(5 * RATE_HZ, 9 * RATE_HZ) < 6 * RATE_HZ + 4000
    assert sound.quietest(5 * RATE_HZ + 1, 5 * RATE_HZ + 9) == 5 * RATE_HZ + 5

"""Effects keep the length of the sound and the place of everything in it."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest

from tests.emulators.speech import SpeechBank
from tests.speech_model import effects
from tests.speech_model.effects import Wave


@pytest.fixture(scope="module")
def speech() -> Wave:
    bank = SpeechBank.load()
    sound = np.concatenate([bank.samples(clip) for clip in bank.clips[:2]])
    return np.asarray(np.pad(sound, (1600, 1234)) / 32768, np.float32)


@pytest.mark.parametrize("codec", list(effects.CODECS))
def test_a_codec_neither_moves_nor_stretches(speech: Wave, codec: str) -> None:
    back = effects.through_codec(speech, codec)
    assert back.shape == speech.shape and back.dtype == np.float32
    size = 2 * len(speech)
    likeness = np.fft.irfft(np.fft.rfft(back, size) * np.conj(np.fft.rfft(speech, size)))
    shift = int(likeness.argmax())
    assert min(shift, size - shift) < 160
    assert likeness.max() > 0.7 * float(speech @ speech)


@pytest.mark.parametrize("samples", [1, 777, 16_000, 50_001])
def test_made_sound_has_the_length_and_level_asked_for(samples: int) -> None:
    for make in (effects.noise, effects.tones):
        sound = make(samples, Random(1))
        assert sound.shape == (samples,) and np.isfinite(sound).all()
        assert samples < 1000 or sound.std() == pytest.approx(1, abs=0.05)


def test_noise_lies_as_far_below_speech_as_asked(speech: Wave) -> None:
    loud = np.abs(speech) > 0.01
    for ratio_db in (0.0, 10.0, 30.0):
        added = effects.add(speech, effects.noise(len(speech), Random(2)), ratio_db) - speech
        found_db = 20 * np.log10(np.sqrt(np.mean(speech[loud] ** 2)) / added.std())
        assert found_db == pytest.approx(ratio_db, abs=0.2)


def test_overload_cuts_peaks_and_leaves_the_height(speech: Wave) -> None:
    spoiled = effects.clip(speech, 10.0)
    top = np.abs(speech).max()
    assert np.abs(spoiled).max() == pytest.approx(top, rel=1e-5)
    assert (np.abs(spoiled) > 0.999 * top).sum() > 100 * (np.abs(speech) > 0.999 * top).sum() > 0


def test_a_room_keeps_the_beginning_in_place(speech: Wave) -> None:
    wet = effects.reverberate(speech, Random(3), 0.4)
    assert wet.shape == speech.shape
    assert np.abs(wet[:1500]).max() < 1e-3


def test_random_effects_are_the_same_for_the_same_seed(speech: Wave) -> None:
    for seed in range(12):
        one, other = (effects.some(speech, Random(seed), 1.0) for _ in range(2))
        assert np.array_equal(one, other) and one.shape == speech.shape and np.isfinite(one).all()


def test_silence_survives_every_effect() -> None:
    silence = np.zeros(16_000, np.float32)
    for seed in range(20):
        assert np.isfinite(effects.some(silence, Random(seed), 1.0)).all()

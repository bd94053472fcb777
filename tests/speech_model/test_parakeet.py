"""The small Parakeet opens as the published ones do, hears words and their places, and writes nothing in silence."""

from __future__ import annotations

from random import Random
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCTC, AutoProcessor, pipeline

from tests.emulators.speech import SpeechBank
from tests.speech_model import tokenizer
from tests.speech_model.effects import noise
from tests.speech_model.evaluate import FULL_S, PARAKEET, SHORT_S, from_bank, judge, normal
from tests.speech_model.judges import ParakeetJudge
from tests.speech_model.parakeet import CtcListener
from tests.speech_model.targets import Vocabulary, collate
from tests.speech_model.voices import RATE_HZ
from tests.speech_model.windows import Window


@pytest.fixture(scope="module")
def by() -> ParakeetJudge:
    return ParakeetJudge(PARAKEET)


def test_it_is_small_and_opens_by_what_it_says_it_is() -> None:
    assert (PARAKEET / "model.safetensors").stat().st_size < 8_000_000
    model: Any = AutoModelForCTC.from_pretrained(PARAKEET)
    processor: Any = AutoProcessor.from_pretrained(PARAKEET)  # type: ignore[no-untyped-call]
    assert type(model).__name__ == "ParakeetForCTC" and type(processor).__name__ == "ParakeetProcessor"
    assert model.config.pad_token_id == processor.tokenizer.pad_token_id == model.config.vocab_size - 1


@pytest.mark.parametrize("seconds", [SHORT_S, FULL_S])
def test_it_understands_every_voice_of_the_bank(by: ParakeetJudge, seconds: float) -> None:
    windows = [from_bank(seconds, 6000 + i, voice) for i, voice in enumerate(SpeechBank.load().voices)]
    row = judge("bank", windows, by)
    assert row.words > 50 and row.wer < 0.03
    assert row.start_error_s is not None and row.start_error_s < 0.2
    assert row.end_error_s is not None and row.end_error_s < 0.2


def test_neighbours_in_a_batch_change_no_word(by: ParakeetJudge) -> None:
    voices = SpeechBank.load().voices
    windows = [from_bank(seconds, 6100, voice) for seconds, voice in zip((8.0, 28.0, 15.0), voices, strict=False)]
    alone = [heard.text for window in windows for heard in by.hear([window])]
    assert [heard.text for heard in by.hear(windows)] == alone and all(alone)


def test_the_pipeline_hears_what_generate_hears(by: ParakeetJudge) -> None:
    parts = {"tokenizer": by.processor.tokenizer, "feature_extractor": by.processor.feature_extractor}
    recognise: Any = pipeline("automatic-speech-recognition", model=by.model, **parts)
    window = from_bank(FULL_S, 6200, "en-gb")
    assert normal(recognise(window.wave.copy())["text"]) == normal(next(by.hear([window])).text)


def test_silence_and_noise_have_no_words(by: ParakeetJudge) -> None:
    quiet = [np.zeros(30 * RATE_HZ, np.float32), *(noise(30 * RATE_HZ, Random(i)) * 0.05 for i in range(3))]
    assert [heard.text for heard in by.hear([Window(wave, "en", ()) for wave in quiet])] == [""] * 4


def test_training_and_the_shipped_processor_agree_on_tokens_and_features(by: ParakeetJudge) -> None:
    vocabulary, window = Vocabulary(tokenizer.build()), from_bank(SHORT_S, 1, "en-us")
    text = " The raven guards a silver hammer. Der alte König."
    assert by.processor.tokenizer.encode(text, add_special_tokens=False) == vocabulary.text(text)
    batch = collate(vocabulary, [window], 0, Random(1))
    trained = CtcListener(vocabulary).features(batch.wave)
    shipped = by.processor([window.wave], sampling_rate=RATE_HZ, return_tensors="pt")
    assert trained.keys() == shipped.keys()
    assert all(torch.equal(trained[name], shipped[name]) for name in shipped)

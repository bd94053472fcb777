"""Plain `generate`, the pipeline of transformers, faster-whisper and openai-whisper hear the same in clean windows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
from transformers import pipeline

from benchmarks.peers import Multilingual
from tests.emulators.speech import SpeechBank
from tests.speech_model.effects import Wave
from tests.speech_model.evaluate import CHECKPOINT, FULL_S, SHORT_S, from_bank, from_shard, normal
from tests.speech_model.judges import Said, WhisperJudge
from tests.speech_model.other_formats import NEVER, TOKENS, text_of, to_openai_whisper
from tests.speech_model.voices import RATE_HZ
from tests.speech_model.windows import Window

Decoder = Callable[[Window], list[Said]]
Reference = list[tuple[Window, list[Said]]]
# Measured: no difference at all; two timestamps are for another machine's arithmetic.
SAME_S = 0.041
# faster-whisper counts on 448 positions, openai-whisper stops at half of ours; both want a start in the first second.
MOST_TOKENS, LATEST_START_S = 220, 30.0


def whole(wave: Wave) -> Wave:
    """30 s with silence behind: the converted ones would fill the spectrogram with zeros, which is hiss."""
    return np.pad(wave, (0, 30 * RATE_HZ - len(wave)))


def plain_generate(by: WhisperJudge, windows: Sequence[Window]) -> list[list[Said]]:
    waves, decode = [w.wave for w in windows], by.processor.tokenizer.decode
    features = by.processor(waves, sampling_rate=RATE_HZ, return_tensors="pt").input_features
    given: dict[str, Any] = {"language": [w.language for w in windows], "task": "transcribe"}
    found = by.model.generate(features, **given, num_beams=1, return_timestamps=True, return_segments=True)
    return [
        [Said(decode(s["tokens"], skip_special_tokens=True).strip(), float(s["start"]), float(s["end"])) for s in said]
        for said in found["segments"]
    ]


@pytest.fixture(scope="module")
def by() -> WhisperJudge:
    return WhisperJudge(CHECKPOINT)


@pytest.fixture(scope="module", params=["en", "de"])
def heard(request: pytest.FixtureRequest, by: WhisperJudge) -> Reference:
    """English by every voice of the bank, German by espeak-ng, and what `generate` makes of them."""
    if request.param == "en":
        voices = SpeechBank.load().voices
        windows = [from_bank(seconds, 4000 + i, v) for seconds in (SHORT_S, FULL_S) for i, v in enumerate(voices)]
    else:
        shard = request.getfixturevalue("shard")
        windows = [from_shard(shard, seconds, Random(1), "de") for seconds in (SHORT_S, FULL_S)]
    return list(zip(windows, plain_generate(by, windows), strict=True))


def assert_same(heard: Reference, decode: Decoder, lone_start: bool = True) -> None:
    """The same sentences at the same times; `lone_start` is whether a window's only sentence starts with the window."""
    for window, expected in heard:
        found = decode(window)
        assert expected and [normal(s.text) for s in found] == [normal(s.text) for s in expected]
        assert [s.end_s for s in found] == pytest.approx([s.end_s for s in expected], abs=SAME_S)
        if lone_start or len(expected) > 1:
            assert [s.start_s for s in found] == pytest.approx([s.start_s for s in expected], abs=SAME_S)


def test_the_pipeline_hears_what_generate_hears(by: WhisperJudge, heard: Reference) -> None:
    parts = {"tokenizer": by.processor.tokenizer, "feature_extractor": by.processor.feature_extractor}
    recognise: Any = pipeline("automatic-speech-recognition", model=by.model, **parts)

    def decode(window: Window) -> list[Said]:
        given = {"language": window.language, "task": "transcribe", "num_beams": 1}
        found = recognise(window.wave.copy(), return_timestamps=True, generate_kwargs=given)
        return [Said(chunk["text"].strip(), *chunk["timestamp"]) for chunk in found["chunks"]]

    assert_same(heard, decode, lone_start=False)  # it reads the timestamp itself


def test_faster_whisper_hears_what_generate_hears(heard: Reference, tmp_path: Path) -> None:
    faster_whisper = pytest.importorskip("faster_whisper")
    converters = pytest.importorskip("ctranslate2.converters")
    out = str(tmp_path / "converted")
    converters.TransformersConverter(str(CHECKPOINT), copy_files=["tokenizer.json"]).convert(out)
    model = faster_whisper.WhisperModel(out, device="cpu", compute_type="float32", cpu_threads=1)
    model.model = Multilingual(model.model)

    def decode(window: Window) -> list[Said]:
        found, _ = model.transcribe(
            whole(window.wave),
            language=window.language,
            beam_size=1,
            temperature=0.0,
            vad_filter=False,
            condition_on_previous_text=False,
            max_initial_timestamp=LATEST_START_S,
            max_new_tokens=MOST_TOKENS,
        )
        return [Said(s.text.strip(), s.start, s.end) for s in found]

    assert_same(heard, decode)


def test_openai_whisper_hears_what_generate_hears(by: WhisperJudge, heard: Reference, tmp_path: Path) -> None:
    whisper = pytest.importorskip("whisper")
    to_openai_whisper(CHECKPOINT, tmp_path / "model.pt")
    model = whisper.load_model(str(tmp_path / "model.pt"), device="cpu")

    def decode(window: Window) -> list[Said]:
        found = model.transcribe(
            whole(window.wave),
            language=window.language,
            temperature=0.0,
            fp16=False,
            condition_on_previous_text=False,
            max_initial_timestamp=LATEST_START_S,
            sample_len=MOST_TOKENS,
        )
        return [Said(text_of(s["tokens"], by.processor), s["start"], s["end"]) for s in found["segments"]]

    assert_same(heard, decode)


def test_no_token_that_is_not_ours_can_be_chosen(by: WhisperJudge, tmp_path: Path) -> None:
    to_openai_whisper(CHECKPOINT, tmp_path / "model.pt")
    rows = torch.load(tmp_path / "model.pt", weights_only=True)["model_state_dict"]["decoder.token_embedding.weight"]
    decoder = by.model.model.decoder
    with torch.no_grad():
        thoughts = decoder.layer_norm(torch.randn(8, by.model.config.d_model, generator=torch.manual_seed(1)))
        scores, ours = thoughts @ rows.T, thoughts @ decoder.embed_tokens.weight.T
    kept = ((scores - NEVER).abs() > 0.1).any(0)
    assert len(rows) == TOKENS and int(kept.sum()) == by.model.config.vocab_size
    torch.testing.assert_close(scores[:, kept].sort().values, ours.sort().values)

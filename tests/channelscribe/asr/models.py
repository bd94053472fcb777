"""Checkpoints for the tests: the shipped one, and tiny random ones whose text depends on the sound."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from channelscribe.asr.device import DeviceChoice
from channelscribe.asr.loading import LoadedWhisper, load_whisper
from channelscribe.asr.model import resolve_model
from channelscribe.core.profile import TranscriptionProfile
from channelscribe.core.window import RATE_HZ

SHIPPED = Path(__file__).resolve().parents[2] / "speech_model" / "checkpoint"
CPU = DeviceChoice("cpu", "float32", "test")


@dataclass(frozen=True)
class Tiny:
    """A random Whisper over the shipped tokenizer; `seconds` is what it hears at once."""

    seconds: int = 30
    languages: tuple[str, ...] = ("en",)
    seed: int = 0
    width: int = 48
    positions: int = 96

    def save(self, folder: Path) -> Path:
        from transformers import (
            GenerationConfig,
            WhisperConfig,
            WhisperFeatureExtractor,
            WhisperForConditionalGeneration,
        )

        torch.manual_seed(self.seed)
        ids = {"decoder_start_token_id": 513, "eos_token_id": 512, "bos_token_id": 512, "pad_token_id": 512}
        config = WhisperConfig(
            vocab_size=2023, d_model=self.width, encoder_layers=1, decoder_layers=2, encoder_attention_heads=2,
            decoder_attention_heads=2, encoder_ffn_dim=64, decoder_ffn_dim=64, max_target_positions=self.positions,
            max_source_positions=50 * self.seconds, suppress_tokens=None, begin_suppress_tokens=None, **ids,
        )  # fmt: skip
        model = WhisperForConditionalGeneration(config).eval()
        _make_lively(model)
        common = {"no_timestamps_token_id": 521, "suppress_tokens": [7, 8, 9], "begin_suppress_tokens": [20, 512]}
        langs = {f"<|{code}|>": 514 + place for place, code in enumerate(self.languages)}
        tongue = {"lang_to_id": langs, "task_to_id": {"transcribe": 517}} if langs else {}
        model.generation_config = GenerationConfig(
            max_length=self.positions,
            is_multilingual=bool(langs),
            max_initial_timestamp_index=50,
            **ids,
            **common,
            **tongue,
        )
        model.save_pretrained(folder)
        WhisperFeatureExtractor(feature_size=80, chunk_length=self.seconds).save_pretrained(folder)
        for name in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copy(SHIPPED / name, folder / name)
        return folder


def _make_lively(model: Any) -> None:
    """Strong weights, so that what comes out depends on sound, place and history; ends are a matter of luck."""
    for name, weight in model.named_parameters():
        if "embed_positions" in name and "decoder" in name:
            weight.data.normal_(0, 0.6)
        elif "embed_tokens" in name:
            weight.data.normal_(0, 0.25)
        elif "encoder_attn" in name and name.endswith("weight"):
            weight.data.normal_(0, 3.0 / weight.shape[-1] ** 0.5)
        elif "conv" in name and name.endswith("weight"):
            weight.data.normal_(0, 1.5 / (weight.shape[1] * 3) ** 0.5)
        elif weight.ndim == 2 and "embed" not in name:
            weight.data.normal_(0, 1.2 / weight.shape[1] ** 0.5)
    model.tie_weights()


def loaded(folder: Path) -> LoadedWhisper:
    return load_whisper(resolve_model(TranscriptionProfile(model=str(folder))), CPU)


def noises(count: int, seconds: float, seed: int = 0) -> list[NDArray[np.int16]]:
    """Sounds that differ in colour and length."""
    chance = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        sound = chance.standard_normal(round(seconds * RATE_HZ * chance.uniform(0.4, 1.0)))
        coloured = np.convolve(sound, chance.standard_normal(9), "same") * chance.uniform(300, 3000)
        found.append(np.clip(coloured, -32768, 32767).astype(np.int16))
    return found

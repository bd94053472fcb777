"""The page of the budget says what the shapes say, and what the stand-in counts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.budget import CASES, SHARES, Shares, slots_table, step_of, step_s, step_table, window_s, window_table
from benchmarks.floor import CARDS
from channelscribe.asr.device import DeviceChoice
from channelscribe.asr.encoder import Encoder
from channelscribe.asr.loading import LoadedWhisper, Vocabulary
from channelscribe.asr.single_query import SingleQuery, attend_one
from channelscribe.asr.slots import Slots, Start
from tests.emulators.gpu_device import GpuStandIn

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "performance.md").read_text(encoding="utf-8")


def test_the_pages_tables_are_those_that_the_command_prints() -> None:
    for line in (*step_table(), *window_table(), *slots_table()):
        assert line in PAGE.splitlines()


@pytest.mark.parametrize(("arch", "card", "slots", "bits"), CASES)
def test_nothing_is_faster_than_its_floor(arch: str, card: str, slots: int, bits: int) -> None:
    step, rates = step_of(arch, slots, bits), CARDS[card]
    assert step_s(step, rates) < step_s(step, rates, SHARES.memory)
    assert sum(window_s(arch, rates, slots, bits, Shares(1.0, 1.0))) < sum(window_s(arch, rates, slots, bits, SHARES))
    assert step.audio > 0.5 * step.bytes, "keys and values of the audio decide"


def shaped(decoder_layers: int, gpu: GpuStandIn) -> LoadedWhisper:
    """As many layers as the real one, and narrow: what is launched depends on nothing else."""
    from transformers import GenerationConfig, WhisperConfig, WhisperFeatureExtractor, WhisperForConditionalGeneration

    ids = {"decoder_start_token_id": 301, "eos_token_id": 300, "bos_token_id": 300, "pad_token_id": 300}
    config = WhisperConfig(
        vocab_size=1000, d_model=16, encoder_layers=32, decoder_layers=decoder_layers, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16, max_source_positions=50,
        max_target_positions=448, num_mel_bins=80, suppress_tokens=None, begin_suppress_tokens=None, **ids,
    )  # fmt: skip
    model = WhisperForConditionalGeneration(config).eval().requires_grad_(False).to(torch.bfloat16)
    model.generation_config = GenerationConfig(
        no_timestamps_token_id=320, suppress_tokens=[3], begin_suppress_tokens=[4, 300], max_initial_timestamp_index=50,
        **ids,
    )  # fmt: skip
    model.to(gpu.device)
    extractor, vocabulary = WhisperFeatureExtractor(chunk_length=1), Vocabulary(301, 300, 310, 320, {"en": 302})
    choice, query = DeviceChoice("cuda", "bfloat16", "test"), SingleQuery("kernel", attend_one)
    return LoadedWhisper(model, extractor, None, vocabulary, choice, 224, 1.0, 0.02, gpu, query)


@pytest.mark.parametrize(("name", "layers"), [("turbo", 4), ("large-v3", 32)])
def test_the_pages_launches_are_those_that_the_stand_in_counts(name: str, layers: int) -> None:
    gpu = GpuStandIn()
    with gpu.current():
        whisper = shaped(layers, gpu)
        slots, encoder = Slots(whisper, 4), Encoder(whisper, 2)
        encoded = [gpu.upload(torch.randn(50, 16).to(torch.bfloat16)) for _ in range(2)]
        starts = [Start(at, encoded[at], whisper.vocabulary.prompt("en")) for at in range(2)]
        launched = gpu.launches.total()
        slots.admit(starts)
        admission = gpu.launches.total() - launched
        slots.advance(1)
        executed, launched = gpu.executed.total(), gpu.launches.total()
        slots.launch(1)
        step = gpu.executed.total() - executed - 3
        assert gpu.launches.total() - launched == 1 + 3
        sounds = [np.zeros(16_000, np.int16)] * 2
        encoder.start(sounds).fetch()
        executed, launched = gpu.executed.total(), gpu.launches.total()
        encoder.start(sounds).fetch()
        operators, launches = gpu.executed.total() - executed, gpu.launches.total() - launched
    assert f"| a decode step, {name} | 1 graph | {step} |" in PAGE
    assert f"{'turbo' if name == 'turbo' else 'the same, large-v3'} | {admission} |" in PAGE
    assert f"| {launches - 2} (spectra, 1 graph, copies), and one for each window | {operators} |" in PAGE

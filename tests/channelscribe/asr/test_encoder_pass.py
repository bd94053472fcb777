"""The encoder written out over the modules' weights says what the modules say, in any size, laid out by rows."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from channelscribe.asr.encoder import Encoder
from channelscribe.asr.encoder_pass import sizes_up_to
from channelscribe.asr.language import first_logits
from channelscribe.asr.loading import LoadedWhisper, load_whisper
from channelscribe.asr.model import resolve_model
from channelscribe.core.profile import TranscriptionProfile
from tests.channelscribe.asr.models import CPU, Tiny, noises
from tests.emulators.gpu_device import GpuStandIn, faults


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Tiny(seconds=2, languages=("en", "de"), width=64).save(tmp_path_factory.mktemp("tiny"))


def loaded_on(folder: Path, gpu: GpuStandIn) -> LoadedWhisper:
    return load_whisper(resolve_model(TranscriptionProfile(model=str(folder))), CPU, gpu)


@pytest.fixture(scope="module")
def wanted(folder: Path) -> Tensor:
    """Of seven windows, by transformers on the CPU."""
    whisper = load_whisper(resolve_model(TranscriptionProfile(model=str(folder))), CPU)
    encoder = Encoder(whisper)
    return torch.stack(encoder.encode(encoder.features(noises(7, 2.0))))


@pytest.mark.parametrize("most", [1, 4, 7, 32])
def test_it_says_what_the_modules_of_transformers_say(folder: Path, wanted: Tensor, most: int) -> None:
    gpu = GpuStandIn()
    with gpu.current():
        whisper = loaded_on(folder, gpu)
        encoder = Encoder(whisper, most)
        with gpu.background():
            for _ in range(2):  # as it is, then replayed
                found = encoder.encode(encoder.features(noises(7, 2.0)))
                assert torch.allclose(gpu.read(torch.stack(found)), wanted, atol=1e-4)
    assert not gpu.hazards


def test_every_addition_and_product_is_of_rows_that_lie_as_they_are_read(folder: Path) -> None:
    gpu, seen = GpuStandIn(), list[bool]()
    with gpu.current():
        whisper = loaded_on(folder, gpu)
        for layer in whisper.model.model.encoder.layers:
            for module in (layer.self_attn_layer_norm, layer.final_layer_norm, layer.self_attn.out_proj, layer.fc1):
                module.register_forward_pre_hook(lambda _, given: seen.append(given[0].is_contiguous()))
        Encoder(whisper, 2).start(noises(2, 2.0)).fetch()
    assert seen
    assert all(seen)


def test_query_key_and_value_are_one_product_and_a_micro_batch_is_one_launch(folder: Path) -> None:
    gpu = GpuStandIn()
    with gpu.current():
        whisper = loaded_on(folder, gpu)
        encoder, layers = Encoder(whisper, 4), len(whisper.model.model.encoder.layers)
        before = gpu.executed["0:background", "aten.linear.default"]
        encoder.start(noises(4, 2.0)).fetch()
        assert gpu.launches["0:background", "replay"] == 1, "the largest size was captured at the beginning"
        assert gpu.executed["0:background", "aten.linear.default"] - before == 4 * layers
        launched = gpu.launches.total()
        encoder.start(noises(4, 2.0)).fetch()
        again = gpu.launches.total() - launched
    assert again < 40, "spectra, one graph, and a copy of each window's output"


def test_a_backend_without_a_plan_is_left_out_from_then_on(folder: Path, wanted: Tensor) -> None:
    gpu = GpuStandIn()
    no_plan = RuntimeError("cuDNN Frontend error: [cudnn_frontend] Error: No valid execution plans built.")
    with gpu.current():
        whisper = loaded_on(folder, gpu)
        gpu.fail("operator", lambda: no_plan, operator="scaled_dot_product_attention")
        encoder = Encoder(whisper, 8)
        with gpu.background():
            features = encoder.features(noises(7, 2.0))
            found = encoder.encode(features)
            assert torch.allclose(gpu.read(torch.stack(found)), wanted, atol=1e-4)
    assert not gpu.attention_shapes


def test_memory_that_is_refused_goes_to_the_caller(folder: Path) -> None:
    gpu = GpuStandIn()
    with gpu.current():
        encoder = Encoder(loaded_on(folder, gpu), 8)
        gpu.fail("operator", faults.cudnn_out_of_memory, operator="conv")
        with pytest.raises(RuntimeError, match="ALLOC_FAILED"):
            encoder.start(noises(3, 2.0))


def test_voters_cost_no_wait_of_the_host(folder: Path) -> None:
    gpu = GpuStandIn()
    with gpu.current():
        encoder = Encoder(loaded_on(folder, gpu), 8)
        begun = len(gpu.waits)
        encoding = encoder.start(noises(6, 2.0), [0, 2, 5])
        assert len(gpu.waits) == begun
        _, probs = encoding.fetch()
    assert list(probs) == [0, 2, 5]
    assert all(sum(row) == pytest.approx(1.0) for row in probs.values())


def test_what_was_encoded_may_go_while_the_decoder_still_reads_it(folder: Path) -> None:
    """As when a file is cancelled right after its windows were admitted."""
    gpu = GpuStandIn()
    with gpu.current():
        encoder = Encoder(loaded_on(folder, gpu), 2)
        rows, _ = encoder.start(noises(2, 2.0)).fetch()
        assert torch.stack(rows).shape == (2, 100, 64)
        del rows
        assert not gpu.hazards


def test_the_first_logits_are_those_of_transformers(folder: Path) -> None:
    whisper = load_whisper(resolve_model(TranscriptionProfile(model=str(folder))), CPU)
    encoder = Encoder(whisper)
    encoded = torch.stack(encoder.encode(encoder.features(noises(4, 2.0))))
    with torch.inference_mode():
        ids = torch.full((4, 1), whisper.vocabulary.start)
        hidden = whisper.model.model.decoder(input_ids=ids, encoder_hidden_states=encoded, use_cache=False)
        theirs = whisper.model.proj_out(hidden.last_hidden_state[:, -1])
        assert torch.allclose(first_logits(whisper, encoded), theirs, atol=1e-4)


def test_sizes_end_with_the_most() -> None:
    assert sizes_up_to(1) == (1,)
    assert sizes_up_to(8) == (1, 2, 4, 8)
    assert sizes_up_to(23) == (1, 2, 4, 8, 16, 23)
    with pytest.raises(ValueError, match="0 windows"):
        sizes_up_to(0)

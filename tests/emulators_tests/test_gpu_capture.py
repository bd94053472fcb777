"""Captures of the GPU stand-in, and a Whisper of transformers on it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.channelscribe.asr.models import Tiny
from tests.emulators.gpu_device import GpuStandIn, faults

CAPTURING = "operation not permitted when stream is capturing"


def _run(work: Callable[[], object]) -> Callable[[], None]:
    def run() -> None:
        work()

    return run


def test_a_capture_gives_no_values_and_a_replay_new_ones_in_the_same_memory(gpu: GpuStandIn) -> None:
    given, kept = torch.ones(4, device=gpu.device), torch.zeros(4, device=gpu.device)
    made: list[Tensor] = []
    factor = 2.0

    def run() -> None:
        parts = torch.cat([given * factor, given]).view(2, 4)
        made.append(parts.sum(0))
        kept.add_(made[0])

    replay = gpu.capture(run)
    address = gpu.address(made[0])
    assert gpu.read(made[0]).isnan().all() and gpu.read(kept).tolist() == [0] * 4
    factor = 100.0
    for value in (1.0, 2.0):
        given.fill_(value)
        replay()
        assert gpu.read(made[0]).tolist() == [3 * value] * 4
    assert gpu.read(kept).tolist() == [9] * 4 and gpu.address(made[0]) == address
    assert gpu.launches["0:current", "replay"] == 2 and gpu.executed["0:current", "aten.cat.default"] == 2
    assert gpu.launches["0:current", "aten.cat.default"] == 0 and not gpu.hazards


def test_the_memory_of_a_graph_lives_as_long_as_its_replay(gpu: GpuStandIn) -> None:
    given = torch.ones(1 << 10, device=gpu.device)
    before = gpu.memory().allocated
    run = _run(lambda: [given.clone() for _ in range(3)])
    replay, other = gpu.capture(run), gpu.capture(run)
    assert gpu.memory().allocated == before + (3 << 12)  # the graphs of a stream share it
    replay()
    del replay, other
    assert gpu.memory().allocated == before


def test_what_is_dropped_within_a_capture_leaves_its_memory_to_the_next(gpu: GpuStandIn) -> None:
    x = torch.ones(1 << 10, device=gpu.device)
    before = gpu.memory().allocated

    def run() -> None:
        y = x + 1
        for _ in range(20):
            y = y * 1.5 - y
        x.copy_(y)

    replay = gpu.capture(run)
    assert gpu.memory().allocated <= before + (3 << 12)
    replay()
    wanted = 2 * 0.5**20
    assert gpu.read(x)[0] == pytest.approx(wanted)


def test_a_failed_capture_leaves_everything_as_it_was(gpu: GpuStandIn) -> None:
    x = torch.ones(2, device=gpu.device)

    def forgiving() -> None:
        x.add_(1)
        try:
            gpu.read(x)
        except RuntimeError:
            x.add_(1)

    with pytest.raises(torch.AcceleratorError, match="previous error during capture"):
        gpu.capture(forgiving)
    with pytest.raises(RuntimeError, match=CAPTURING):
        gpu.capture(_run(lambda: gpu.host_tensor(1, dtype=torch.int64)))
    with pytest.raises(RuntimeError, match=CAPTURING):
        gpu.capture(_run(lambda: torch.rand(2, device=gpu.device)))
    gpu.fail("operator", faults.out_of_memory, nth=2)
    with pytest.raises(torch.OutOfMemoryError):
        gpu.capture(forgiving)
    assert gpu.read(x).tolist() == [1, 1]
    gpu.capture(_run(lambda: x.add_(1)))()
    assert gpu.read(x).tolist() == [2, 2]


def test_a_capture_for_a_device_that_is_not_current_records_nothing(gpu: GpuStandIn) -> None:
    other = GpuStandIn(1, machine=gpu.machine)
    with other.current():
        x = torch.ones(2, device=other.device)
        other.record().synchronize()
    replay = other.capture(_run(lambda: x.add_(1)))
    other.record().synchronize()
    with other.current():
        replay()
        assert other.read(x).tolist() == [2, 2]  # run once while it was to be captured, never replayed
        other.capture(_run(lambda: x.add_(1)))()
        assert other.read(x).tolist() == [3, 3]


def test_streams_are_watched_in_replays_too(gpu: GpuStandIn) -> None:
    x = torch.ones(2, device=gpu.device)
    add = _run(x.neg_)
    replay = gpu.capture(add)
    with gpu.background(), pytest.raises(RuntimeError, match="does not wait"):
        replay()
    del x, add
    with pytest.raises(RuntimeError, match="freed after the capture"):
        replay()


@pytest.mark.parametrize("inference", [True, False])
def test_a_whisper_says_the_same_on_it(tmp_path: Path, inference: bool) -> None:
    from transformers import WhisperForConditionalGeneration

    def load() -> WhisperForConditionalGeneration:
        return WhisperForConditionalGeneration.from_pretrained(folder).eval().requires_grad_(False)

    folder, gpu = Tiny(seconds=2).save(tmp_path), GpuStandIn()
    features, ids = torch.randn(2, 80, 200), torch.tensor([[513, 514, 517, 522, 40], [513, 514, 517, 530, 50]])
    with torch.inference_mode(inference):
        plain = load()
        encoded = plain.model.encoder(features).last_hidden_state
        logits = plain.proj_out(plain.model.decoder(ids, encoder_hidden_states=encoded).last_hidden_state)
        with gpu.current():
            model = load().to(gpu.device)
            assert model.proj_out.weight is model.model.decoder.embed_tokens.weight
            weights = {id(weight): weight for weight in model.parameters()}.values()
            assert {weight.device for weight in weights} == {gpu.device}
            assert gpu.memory().allocated < 1.1 * sum(weight.numel() * 4 for weight in weights) + 512 * len(weights)
            there = model.model.encoder(features.to(gpu.device)).last_hidden_state
            found = model.model.decoder(ids.to(gpu.device), encoder_hidden_states=there).last_hidden_state
            assert torch.allclose(gpu.read(there), encoded, atol=1e-5)
            assert torch.allclose(gpu.read(model.proj_out(found)), logits, atol=1e-5)
    assert not gpu.hazards
    del features


def test_fused_weights_become_views_through_data(gpu: GpuStandIn) -> None:
    parts = [torch.nn.Linear(3, 3).requires_grad_(False).to(gpu.device) for _ in range(2)]
    whole = torch.cat([part.weight for part in parts])
    for part, piece in zip(parts, whole.chunk(2), strict=True):
        part.weight.data = piece
    whole.fill_(1.0)
    x = torch.ones(1, 3, device=gpu.device)
    for part in parts:
        part.bias.zero_()
        assert gpu.read(part(x)).tolist() == [[3, 3, 3]]
        assert isinstance(part.weight, torch.nn.Parameter) and gpu.read(part.weight).tolist() == [[1] * 3] * 3

"""What is trained is what is shipped: the published model computes what the training program computed."""

from __future__ import annotations

import pytest
import torch
from transformers import WhisperFeatureExtractor

from tests.emulators.speech import SpeechBank
from tests.speech_model import tokenizer
from tests.speech_model.network import Listener
from tests.speech_model.targets import Vocabulary


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return Vocabulary(tokenizer.build())


@pytest.fixture(scope="module")
def listener(vocabulary: Vocabulary) -> Listener:
    torch.manual_seed(0)
    return Listener(vocabulary)


@pytest.fixture(scope="module")
def wave() -> torch.Tensor:
    sound = torch.zeros(1, 480_000)
    clip = SpeechBank.load().samples(SpeechBank.load().clips[0])
    sound[0, 8000 : 8000 + len(clip)] = torch.from_numpy(clip.copy()) / 32768
    return sound


def test_the_features_are_those_of_the_processor(listener: Listener, wave: torch.Tensor) -> None:
    features = WhisperFeatureExtractor(feature_size=80)  # type: ignore[no-untyped-call]
    expected = features(wave[0].numpy(), sampling_rate=16_000, return_tensors="pt").input_features
    assert torch.allclose(listener.log_mel(wave), expected, atol=1e-3)


@torch.no_grad()
def test_the_shipped_model_computes_what_was_trained(
    listener: Listener, wave: torch.Tensor, vocabulary: Vocabulary
) -> None:
    mel = listener.log_mel(wave)
    given = torch.tensor([[vocabulary.start, vocabulary.id("<|en|>"), vocabulary.id("<|transcribe|>"), 2000, 300]])
    heard, _ = listener.encode(mel, 0)
    trained, _ = listener.decode(given, heard)
    shipped = listener.finished().to(torch.float32)(input_features=mel, decoder_input_ids=given).logits  # type: ignore[arg-type]
    assert torch.allclose(trained, shipped, atol=0.05, rtol=0.02)
    assert torch.equal(trained.argmax(-1), shipped.argmax(-1))


@torch.no_grad()
@pytest.mark.parametrize("place", [100, 700, 1400])
def test_attention_begins_at_its_neighbours_wherever_it_is(place: int, vocabulary: Vocabulary) -> None:
    torch.manual_seed(1)
    fresh = Listener(vocabulary)
    encoder = fresh.whisper.model.encoder
    layer, positions = encoder.layers[0], encoder.embed_positions.weight
    states = layer.self_attn_layer_norm(positions)
    query, key = (p(states).view(1500, 4, 40) for p in (layer.self_attn.q_proj, layer.self_attn.k_proj))
    for head, shift in enumerate((-3, -1, 1, 3)):
        assert int((key[:, head] @ query[place, head]).argmax()) == place + shift

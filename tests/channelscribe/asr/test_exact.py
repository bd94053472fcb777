"""Encoder and slots against `generate` of transformers, token for token, and against itself in other company."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from channelscribe.asr.encoder import Encoder
from channelscribe.asr.loading import LoadedWhisper
from channelscribe.asr.plausible import Attempt, draws
from channelscribe.asr.rules import draw
from channelscribe.asr.slots import Slots, Start
from channelscribe.core.window import RATE_HZ
from tests.channelscribe.asr.models import SHIPPED, Tiny, loaded, noises
from tests.emulators.speech import SpeechBank, from_clips

Sounds = list[NDArray[np.int16]]


@pytest.fixture(scope="module")
def shipped() -> LoadedWhisper:
    return loaded(SHIPPED)


@pytest.fixture(scope="module")
def speech() -> Sounds:
    bank = SpeechBank.load()
    return [from_clips(bank.clips[at : at + 1 + at % 3], gap_s=0.4).pcm[: 8 * RATE_HZ] for at in range(0, 60, 7)]


def generated(whisper: LoadedWhisper, sounds: Sounds, most: int, language: str | None) -> list[list[int]]:
    features = Encoder(whisper).features(sounds)
    asked: dict[str, Any] = {"language": language, "task": "transcribe"} if language else {}
    answer = whisper.model.generate(
        features, return_timestamps=True, max_new_tokens=most, num_beams=1, do_sample=False,
        return_dict_in_generate=True, force_unique_generate_call=True, **asked,
    ).sequences  # fmt: skip
    prompt, end = 3 if language else 1, whisper.vocabulary.end
    rows = [row[prompt:] for row in answer.tolist()]
    return [row[: row.index(end)] if end in row else row for row in rows]


def attempts(
    whisper: LoadedWhisper, sounds: Sounds, language: str, temperature: float = 0.0, draws: Any = None, **more: Any
) -> list[Attempt]:
    """Each window's attempt, in the order of the sounds; as many slots as windows."""
    encoder, slots = Encoder(whisper), Slots(whisper, len(sounds), **more)
    encoded = encoder.encode(encoder.features(sounds))
    prompt, chances = whisper.vocabulary.prompt(language), draws or [None] * len(sounds)
    slots.admit([Start(place, encoded[place], prompt, temperature, chances[place]) for place in range(len(sounds))])
    found: dict[int, Attempt] = {}
    while slots.live:
        found |= dict(slots.advance())
    return [found[place] for place in range(len(sounds))]


def decoded(whisper: LoadedWhisper, sounds: Sounds, most: int, language: str = "en") -> list[Attempt]:
    return attempts(whisper, sounds, language, most_tokens=most, cut_loops=False)


def tokens(found: list[Attempt]) -> list[list[int]]:
    return [list(attempt.tokens) for attempt in found]


def test_the_shipped_model_writes_what_generate_writes(shipped: LoadedWhisper, speech: Sounds) -> None:
    found = decoded(shipped, speech, 120)
    assert tokens(found) == generated(shipped, speech, 120, "en")
    assert len({len(attempt.tokens) for attempt in found}) > 3
    assert all(any(t >= shipped.vocabulary.first_timestamp for t in attempt.tokens) for attempt in found)


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("languages", [("en", "de"), ()])
def test_random_models_write_what_generate_writes(tmp_path: Path, seed: int, languages: tuple[str, ...]) -> None:
    whisper = loaded(Tiny(seconds=10, languages=languages, seed=seed).save(tmp_path))
    sounds = noises(8, 10.0, seed)
    language = "de" if languages else None
    found = tokens(decoded(whisper, sounds, 60, language or "en"))
    assert found == generated(whisper, sounds, 60, language)
    assert len({tuple(row) for row in found}) > 4


def test_the_language_is_the_one_that_detect_language_finds(tmp_path: Path) -> None:
    whisper = loaded(Tiny(seconds=5, languages=("en", "de")).save(tmp_path))
    encoder = Encoder(whisper)
    features = encoder.features(noises(8, 5.0))
    wanted = whisper.model.detect_language(features).tolist()
    names = {token: code for code, token in whisper.vocabulary.languages.items()}
    odds = encoder.probs(encoder.encode(features))
    assert [encoder.languages[at] for at in odds.argmax(-1).tolist()] == [names[token] for token in wanted]
    assert odds.sum(-1).tolist() == pytest.approx([1.0] * 8)


def test_no_speech_probability_and_mean_are_those_of_the_definition(shipped: LoadedWhisper, speech: Sounds) -> None:
    prompt, features = shipped.vocabulary.prompt("en"), Encoder(shipped).features(speech[:2])
    attempt = attempts(shipped, speech[:2], "en", cut_loops=False)[0]
    ids = torch.tensor([[*prompt, *attempt.tokens, shipped.vocabulary.end]])
    with torch.no_grad():
        logits = shipped.model(input_features=features[:1], decoder_input_ids=ids).logits[0].float()
    assert attempt.no_speech_prob == pytest.approx(logits[0].softmax(-1)[shipped.vocabulary.no_speech].item(), rel=1e-3)
    plain = logits.log_softmax(-1)[len(prompt) - 1 : -1].gather(1, ids[0, len(prompt) :, None]).mean().item()
    # The rules take odds away from what may not come next, so but for rounding the ruled mean can only be higher.
    assert plain - 1e-6 <= attempt.avg_logprob < 0


@pytest.mark.parametrize("temperature", [0.0, 0.6, 1.0])
def test_a_text_does_not_depend_on_its_neighbours(tmp_path: Path, temperature: float) -> None:
    whisper = loaded(Tiny(seconds=5, seed=3).save(tmp_path))
    sounds = noises(9, 5.0, 9)

    def run(places: list[int]) -> dict[int, tuple[int, ...]]:
        chances = [draws("sha", place, temperature, 50) for place in places]
        some = [sounds[place] for place in places]
        made = attempts(whisper, some, "en", temperature, chances, most_tokens=50)
        return {place: attempt.tokens for place, attempt in zip(places, made, strict=True)}

    together = run(list(range(9)))
    assert len(set(together.values())) > 5
    assert run(list(range(9))) == together
    assert run([8, 2, 5, 0, 1, 3, 4, 6, 7]) == together
    alone: dict[int, tuple[int, ...]] = {}
    for place in range(9):
        alone |= run([place])
    assert alone == together


def test_sampling_follows_the_odds() -> None:
    scores = torch.tensor([[0.1, 0.6, 0.3, 0.0]]).log().expand(20_000, 4)
    chance = torch.tensor(draws("sha", 1, 1.0, 20_000))
    chosen, logprobs = draw(scores, torch.ones(len(chance)), chance)
    shares = torch.bincount(chosen, minlength=4) / len(chosen)
    assert torch.allclose(shares, torch.tensor([0.1, 0.6, 0.3, 0.0]), atol=0.02)
    assert shares[3] == 0
    assert torch.allclose(logprobs.exp(), torch.tensor([0.1, 0.6, 0.3, 0.0])[chosen], atol=1e-5)

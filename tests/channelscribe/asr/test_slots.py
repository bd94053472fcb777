"""Slots against `generate` and against the definition, token for token, in every company and order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random
from typing import Any

import pytest
import torch
from torch import Tensor

from channelscribe.asr.device import DeviceChoice
from channelscribe.asr.loading import LoadedWhisper
from channelscribe.asr.packed import pack
from channelscribe.asr.plausible import Attempt, draws
from channelscribe.asr.slots import Slots, Start
from tests.channelscribe.asr.models import RATE_HZ, SHIPPED, loaded
from tests.channelscribe.asr.reference import Reference, Shape, generated, heard, shaped
from tests.emulators.speech import SpeechBank, from_clips

SHAPES = {
    "tied": Shape(),
    "untied": Shape(tied=False, layers=1, heads=4),
    "english": Shape(languages=(), layers=3, frames=50),
    "odd": Shape(width=36, heads=3, text=77, times=31, places=64, first_time=None),
    "wide": Shape(width=64, heads=1, activation="relu"),
}


def prompt_of(whisper: LoadedWhisper, language: str = "en") -> tuple[int, ...]:
    return whisper.vocabulary.prompt(language)


def run(slots: Slots, starts: Sequence[Start], seed: int | None = None) -> dict[Any, Attempt]:
    """All windows through the slots; with a seed, in portions and at moments of its choosing."""
    chance, todo, found = Random(seed), list(starts), dict[Any, Attempt]()
    while todo or slots.live:
        most = min(slots.free, len(todo))
        portion = most if seed is None else chance.randint(0 if slots.live else min(1, most), most)
        slots.admit(todo[:portion])
        todo = todo[portion:]
        for key, attempt in slots.advance(8 if seed is None else chance.choice((1, 3, 8))):
            assert key not in found
            found[key] = attempt
    assert slots.free == slots.count
    return found


def starts_of(encoded: Tensor, prompts: Sequence[tuple[int, ...]], temperature: float = 0.0) -> list[Start]:
    chances = [draws("sha", at, temperature, 224) if temperature else None for at in range(len(encoded))]
    return [Start(at, encoded[at], prompts[at], temperature, chances[at]) for at in range(len(encoded))]


def assert_same(found: Attempt, wanted: Attempt) -> None:
    assert found.tokens == wanted.tokens
    assert (found.looped, found.temperature) == (wanted.looped, wanted.temperature)
    assert found.avg_logprob == pytest.approx(wanted.avg_logprob, abs=1e-4)
    assert found.no_speech_prob == pytest.approx(wanted.no_speech_prob, rel=1e-3, abs=1e-6)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("name", SHAPES)
def test_random_models_of_many_shapes_write_what_generate_writes(name: str, packed: bool) -> None:
    shape = SHAPES[name]
    whisper, encoded = shaped(shape, 1), heard(shape, 12, 1)
    prompt, most = prompt_of(whisper, "de" if shape.languages else "en"), shape.places - 8
    wanted = generated(whisper, encoded, prompt, most)
    assert not packed or pack(whisper.model)
    slots = Slots(whisper, 5, cut_loops=False, most_tokens=most)
    found = run(slots, starts_of(encoded, [prompt] * 12))
    assert [found[at].tokens for at in range(12)] == wanted
    assert len({len(row) for row in wanted}) > 4
    assert any(len(row) < most for row in wanted)


def test_the_shipped_model_writes_what_generate_writes() -> None:
    from transformers import WhisperForConditionalGeneration

    whisper = loaded(SHIPPED)
    plain = WhisperForConditionalGeneration.from_pretrained(SHIPPED, dtype=torch.float32).eval()
    bank = SpeechBank.load()
    sounds = [from_clips(bank.clips[at : at + 1 + at % 3], gap_s=0.4).pcm[: 8 * RATE_HZ] for at in range(0, 60, 7)]
    features = torch.cat(
        [
            whisper.feature_extractor(pcm.astype("float32") / 32768, sampling_rate=RATE_HZ, return_tensors="pt")[
                "input_features"
            ]
            for pcm in sounds
        ]
    )
    answer = plain.generate(
        features, return_timestamps=True, max_new_tokens=120, num_beams=1, language="en", task="transcribe",
        return_dict_in_generate=True, force_unique_generate_call=True,
    ).sequences  # fmt: skip
    prompt, end = prompt_of(whisper), whisper.vocabulary.end
    wanted = [tuple(token for token in row[len(prompt) :] if token != end) for row in answer.tolist()]
    with torch.inference_mode():
        encoded = whisper.model.model.encoder(features).last_hidden_state
    found = run(Slots(whisper, 4, cut_loops=False, most_tokens=120), starts_of(encoded, [prompt] * len(sounds)))
    assert [found[at].tokens for at in range(len(sounds))] == wanted
    assert len({len(row) for row in wanted}) > 3


@pytest.mark.parametrize("temperature", [0.0, 0.4, 1.0])
def test_attempts_are_those_of_the_definition(temperature: float) -> None:
    shape = Shape(places=80)
    whisper, encoded = shaped(shape, 2), heard(shape, 6, 2)
    prompts = [prompt_of(whisper, ("en", "de", "fr")[at % 3]) for at in range(6)]
    found = run(Slots(whisper, 4), starts_of(encoded, prompts, temperature))
    reference = Reference(whisper)
    for at, start in enumerate(starts_of(encoded, prompts, temperature)):
        wanted = reference.attempt(encoded[at], prompts[at], 77, temperature, start.draws, like=found[at].tokens)
        assert_same(found[at], wanted)
    assert len({attempt.tokens for attempt in found.values()}) > 4


def test_a_repetition_loop_is_cut_where_the_definition_cuts_it() -> None:
    shape = Shape(places=120)
    whisper, encoded = shaped(shape, 3), heard(shape, 8, 3)
    places = whisper.model.model.decoder.embed_positions.weight
    places.copy_(places[10:11].expand_as(places))  # nothing tells one place from the next: the text turns in circles
    found = run(Slots(whisper, 3), starts_of(encoded, [prompt_of(whisper)] * 8))
    for at in range(8):
        assert_same(found[at], Reference(whisper).attempt(encoded[at], prompt_of(whisper), 117))
    assert sum(attempt.looped for attempt in found.values()) > 2
    uncut = run(Slots(whisper, 3, cut_loops=False), starts_of(encoded, [prompt_of(whisper)] * 8))
    assert all(uncut[at].tokens[: len(found[at].tokens)] == found[at].tokens for at in range(8))
    assert not any(attempt.looped for attempt in uncut.values())


def test_prompts_of_several_lengths_share_a_batch() -> None:
    shape = Shape(places=64)
    whisper, encoded = shaped(shape, 4), heard(shape, 5, 4)
    plain, previous = prompt_of(whisper), (shape.text + 8, 10, 11, 12, 13)
    prompts = [plain, previous + plain, previous + (14,) * 40 + plain, (7, *plain), plain]
    found = run(Slots(whisper, 5), starts_of(encoded, prompts))
    for at, prompt in enumerate(prompts):
        most = min(whisper.most_tokens, shape.places - len(prompt))
        assert_same(found[at], Reference(whisper).attempt(encoded[at], prompt, most))


def test_greedy_and_drawn_windows_share_a_batch() -> None:
    shape = Shape(places=60)
    whisper, encoded = shaped(shape, 5), heard(shape, 9, 5)
    prompts = [prompt_of(whisper)] * 9
    by_temperature = [starts_of(encoded, prompts, temperature) for temperature in (0.0, 0.6, 1.0)]
    mixed = run(Slots(whisper, 9), [by_temperature[at % 3][at] for at in range(9)])
    for kind in range(3):
        alike = run(Slots(whisper, 9), by_temperature[kind])
        assert all(mixed[at].tokens == alike[at].tokens for at in range(kind, 9, 3))
    no_draws = run(Slots(whisper, 1), [Start(0, encoded[0], prompts[0], 0.8)])
    assert (no_draws[0].tokens, no_draws[0].temperature) == (mixed[0].tokens, 0.8)


@pytest.fixture(scope="module")
def company() -> tuple[LoadedWhisper, list[Start], dict[Any, Attempt]]:
    shape = Shape(places=72)
    whisper, encoded = shaped(shape, 6), heard(shape, 11, 6)
    assert pack(whisper.model)
    prompts = [prompt_of(whisper)] * 11
    starts = [*starts_of(encoded, prompts)[:6], *starts_of(encoded, prompts, 0.7)[6:]]
    return whisper, starts, run(Slots(whisper, 1), starts)


Company = tuple[LoadedWhisper, list[Start], dict[Any, Attempt]]


@pytest.mark.parametrize("count", [2, 3, 7, 11, 16])
def test_a_text_does_not_depend_on_the_number_of_slots(company: Company, count: int) -> None:
    whisper, starts, alone = company
    assert_all_same(run(Slots(whisper, count), starts), alone)


@pytest.mark.parametrize("seed", range(4))
def test_nor_on_order_neighbours_and_the_moment_of_admission(company: Company, seed: int) -> None:
    whisper, starts, alone = company
    shuffled = Random(seed).sample(starts, len(starts))
    slots = Slots(whisper, 4)
    assert_all_same(run(slots, shuffled, seed), alone)
    assert_all_same(run(slots, starts, seed + 100), alone)


@pytest.mark.parametrize("count", [1, 5, 11])
def test_nor_on_the_shapes_that_a_card_gets(company: Company, count: int) -> None:
    whisper, starts, alone = company
    assert_all_same(run(Slots(whisper, count, few_shapes=True), starts, 1), alone)


def assert_all_same(found: dict[Any, Attempt], wanted: dict[Any, Attempt]) -> None:
    assert found.keys() == wanted.keys()
    for key, attempt in found.items():
        assert_same(attempt, wanted[key])


def test_dropped_windows_leave_and_the_others_do_not_notice(company: Company) -> None:
    whisper, starts, alone = company
    slots = Slots(whisper, 6)
    slots.admit(starts[:6])
    found = dict(slots.advance(2))
    slots.drop({0, 3, 5, "nobody"})
    assert slots.free >= 3
    found |= run(slots, starts[6:])
    assert_all_same(found, {at: alone[at] for at in (1, 2, 4, *range(6, 11))})


def test_cleared_slots_are_as_new(company: Company) -> None:
    whisper, starts, alone = company
    slots = Slots(whisper, 4)
    slots.admit(starts[:4])
    slots.advance(5)
    slots.clear()
    assert (slots.live, slots.free, slots.advance()) == (0, 4, [])
    assert_all_same(run(slots, starts), alone)


@pytest.mark.parametrize("few_shapes", [False, True])
def test_nan_poisons_only_its_own_window(company: Company, few_shapes: bool) -> None:
    whisper, starts, alone = company
    slots = Slots(whisper, 3, few_shapes=few_shapes)
    bad = [Start(f"bad {at}", torch.full_like(starts[0].encoded, torch.nan), starts[0].prompt) for at in range(3)]
    found = run(slots, [bad[0], starts[0], starts[1], bad[1], bad[2], *starts[2:]])
    poisoned = [found.pop(start.key) for start in bad]
    assert all(attempt.avg_logprob != attempt.avg_logprob and not attempt.tokens for attempt in poisoned)
    assert_all_same(found, alone)


def test_full_and_empty_slots_and_impossible_windows(company: Company) -> None:
    whisper, starts, _ = company
    slots = Slots(whisper, 2)
    assert slots.advance() == []
    slots.admit([])
    slots.drop([])
    slots.admit(starts[:2])
    assert (slots.free, slots.live) == (0, 2)
    with pytest.raises(ValueError, match="free slots"):
        slots.admit(starts[2:3])
    slots.drop([0, 1])
    one = starts[0]
    with pytest.raises(ValueError, match="a prompt of 0 tokens"):
        slots.admit([Start(1, one.encoded, ())])
    with pytest.raises(ValueError, match="a prompt of 72 tokens"):
        slots.admit([starts[1], Start(2, one.encoded, (5,) * 72)])
    with pytest.raises(ValueError, match="draws"):
        slots.admit([Start(3, one.encoded, one.prompt, 0.5, [0.1] * 5)])
    assert slots.free == 2
    with pytest.raises(ValueError, match="0 slots"):
        Slots(whisper, 0)


def test_a_window_may_fill_the_last_place() -> None:
    shape = Shape(places=32)
    whisper, encoded = shaped(shape, 7), heard(shape, 3, 7)
    prompt = (*[9] * 26, *prompt_of(whisper))
    found = run(Slots(whisper, 3), starts_of(encoded, [prompt] * 3))
    for at in range(3):
        assert_same(found[at], Reference(whisper).attempt(encoded[at], prompt, 3))
        assert len(found[at].tokens) <= 3


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_leaves_the_float32_choice_only_at_a_tie(dtype: str) -> None:
    """Given the same tokens so far. Text and timestamps, between which the rules decide as a whole, can tie too."""
    shape = Shape(places=64)
    whisper, encoded = shaped(shape, 1), heard(shape, 8, 1)
    whisper.model.to(getattr(torch, dtype))
    half = replace(whisper, choice=DeviceChoice("cpu", dtype, "test"))
    prompt, first_time = prompt_of(whisper), whisper.vocabulary.first_timestamp
    found = run(Slots(half, 3), starts_of(encoded.to(half.dtype), [prompt] * 8))
    whisper.model.float()
    reference, ties, written = Reference(whisper), 0, 0
    for at, attempt in found.items():
        for place, token in enumerate(attempt.tokens):
            raw, scores = reference.scores(encoded[at], prompt, attempt.tokens[:place])
            near = scores.max() / 32
            sides = raw[first_time:].logsumexp(0) - raw[:first_time].max()
            assert scores.max() - scores[token] < near or sides.abs() < near
            ties, written = ties + int(token != scores.argmax()), written + 1
    assert ties < 0.03 * written
    assert written > 200

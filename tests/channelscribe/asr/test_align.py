"""Token times against those of transformers, in any company; the time warping against a plain one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from channelscribe.asr.align import TimedToken, align, alignment_heads
from channelscribe.asr.loading import LoadedWhisper
from channelscribe.asr.warp import jumps, median_filtered, normalised
from channelscribe.core.window import RATE_HZ
from tests.channelscribe.asr.models import SHIPPED, Tiny, loaded, noises
from tests.emulators.speech import SpeechBank, from_clips

Sounds = list[NDArray[np.int16]]
FRAME_S = 0.02


@dataclass(frozen=True)
class Reference:
    """What `generate` of transformers wrote in each window, and when it says that each token ends."""

    encoded: Tensor
    tokens: list[list[int]]
    ends_s: list[list[float]]
    samples: list[int]


def features(whisper: LoadedWhisper, sound: NDArray[np.int16]) -> Tensor:
    made = whisper.feature_extractor(sound / np.float32(32768), sampling_rate=RATE_HZ, return_tensors="pt")
    found: Tensor = made.input_features
    return found


def reference(folder: Path, sounds: Sounds, most: int, language: str) -> tuple[LoadedWhisper, Reference]:
    whisper, eager = loaded(folder), loaded(folder)
    eager.model.set_attn_implementation("eager")
    heads = [[layer, head] for layer, some in alignment_heads(whisper).items() for head in some]
    eager.model.generation_config.alignment_heads = heads
    prompt = len(whisper.vocabulary.prompt(language))
    tokens, ends_s = [], []
    for sound in sounds:
        spectrum = features(whisper, sound)
        heard = torch.arange(spectrum.shape[-1])[None] < 2 * round(len(sound) / RATE_HZ / FRAME_S)
        answer = eager.model.generate(
            spectrum, attention_mask=heard.long(), language=language, task="transcribe", return_timestamps=True,
            return_token_timestamps=True, return_dict_in_generate=True, force_unique_generate_call=True,
            max_new_tokens=most, num_beams=1, do_sample=False,
        )  # fmt: skip
        written = answer["sequences"][0].tolist()[prompt:-1]  # the end, or a last token whose attention it never saw
        tokens.append(written)
        ends_s.append(answer["token_timestamps"][0].tolist()[prompt : prompt + len(written)])
    with torch.inference_mode():
        encoded = whisper.model.model.encoder(torch.cat([features(whisper, s) for s in sounds])).last_hidden_state
    return whisper, Reference(encoded, tokens, ends_s, [len(sound) for sound in sounds])


def aligned(whisper: LoadedWhisper, of: Reference, places: list[int], language: str) -> list[list[TimedToken]]:
    tokens, samples = [of.tokens[p] for p in places], [of.samples[p] for p in places]
    return align(whisper, of.encoded[places], tokens, [language] * len(places), samples, micro_batch=4)


def assert_ends_agree(found: list[list[TimedToken]], of: Reference) -> None:
    assert [[timed.token for timed in row] for row in found] == of.tokens
    apart = [abs(t.end_s - end) for row, ends in zip(found, of.ends_s, strict=True) for t, end in zip(row, ends)]  # noqa: B905
    assert max(apart) <= FRAME_S + 1e-4
    assert sum(distance > 1e-4 for distance in apart) <= 0.01 * len(apart)
    for row in found:
        times = [edge for timed in row for edge in (timed.start_s, timed.end_s)]
        assert times == sorted(times)


@pytest.fixture(scope="module")
def spoken() -> tuple[LoadedWhisper, Reference]:
    bank = SpeechBank.load()
    sounds = [from_clips(bank.clips[at : at + 1 + at % 3], gap_s=0.4).pcm[: 8 * RATE_HZ] for at in range(0, 35, 7)]
    return reference(SHIPPED, sounds, 80, "en")


def test_the_shipped_models_tokens_end_when_transformers_says(spoken: tuple[LoadedWhisper, Reference]) -> None:
    whisper, of = spoken
    found = aligned(whisper, of, list(range(5)), "en")
    assert_ends_agree(found, of)
    first = whisper.vocabulary.first_timestamp
    odds = [timed.probability for row in found for timed in row if timed.token < first]
    assert all(0 < p <= 1 for p in odds)
    assert np.mean(odds) > 0.8


@pytest.mark.parametrize("seed", [0, 2])
def test_random_models_tokens_end_when_transformers_says(tmp_path: Path, seed: int) -> None:
    folder = Tiny(seconds=10, languages=("en", "de"), seed=seed).save(tmp_path)
    whisper, of = reference(folder, noises(5, 10.0, seed), 40, "de")
    assert_ends_agree(aligned(whisper, of, list(range(5)), "de"), of)


def test_a_windows_times_do_not_depend_on_its_neighbours(spoken: tuple[LoadedWhisper, Reference]) -> None:
    whisper, of = spoken
    together = aligned(whisper, of, list(range(5)), "en")
    assert aligned(whisper, of, [4, 2, 0, 1, 3], "en") == [together[p] for p in (4, 2, 0, 1, 3)]
    for place in range(5):
        assert aligned(whisper, of, [place], "en") == [together[place]]


def test_the_model_is_left_as_it_was(spoken: tuple[LoadedWhisper, Reference]) -> None:
    whisper, of = spoken
    aligned(whisper, of, [0], "en")
    assert not any(module._forward_pre_hooks for module in whisper.model.modules())


@pytest.mark.parametrize("texts", [[], [()], [(), ()]])
def test_windows_without_a_token_have_no_times(
    spoken: tuple[LoadedWhisper, Reference], texts: list[tuple[int, ...]]
) -> None:
    whisper, of = spoken
    count = len(texts)
    assert align(whisper, of.encoded[:count], texts, ["en"] * count, of.samples[:count]) == [[] for _ in texts]


def test_a_text_longer_than_its_sound_still_has_times_inside_it(spoken: tuple[LoadedWhisper, Reference]) -> None:
    whisper, of = spoken
    longest = max(range(5), key=lambda p: len(of.tokens[p]))
    encoded, tokens = of.encoded[[longest, longest]], of.tokens[longest]
    for samples in (1, 160, 320 * 5):
        row = align(whisper, encoded[:1], [tokens], ["en"], [samples])[0]
        assert len(row) == len(tokens)
        assert all(0 <= timed.start_s <= timed.end_s <= max(FRAME_S, samples / RATE_HZ) for timed in row)


def test_without_named_heads_the_upper_half_is_asked(tmp_path: Path) -> None:
    whisper = loaded(Tiny(seconds=5).save(tmp_path))
    assert alignment_heads(whisper) == {1: [0, 1]}
    assert alignment_heads(loaded(SHIPPED)) == {1: [0, 1], 2: [0, 1]}


def plain_jumps(weights: NDArray[np.float64]) -> list[int]:
    """The textbook recurrence, cell by cell."""
    rows, columns = weights.shape
    cost = np.full((rows + 1, columns + 1), np.inf)
    cost[0, 0] = 0
    came: dict[tuple[int, int], tuple[int, int]] = {}
    for i in range(1, rows + 1):
        for j in range(1, columns + 1):
            from_where = min(((i - 1, j - 1), (i - 1, j), (i, j - 1)), key=lambda p: cost[p])
            came[i, j], cost[i, j] = from_where, cost[from_where] - weights[i - 1, j - 1]
    at, first = (rows, columns), [0] * rows
    while at != (0, 0):
        first[at[0] - 1] = at[1] - 1
        at = came[at]
    return first


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.lists(st.tuples(st.integers(1, 9), st.integers(1, 14)), min_size=1, max_size=4))
def test_time_warping_is_the_textbooks_for_every_window_of_a_batch(seed: int, shapes: list[tuple[int, int]]) -> None:
    rows, columns = [r for r, _ in shapes], [c for _, c in shapes]
    weights = np.random.default_rng(seed).standard_normal((len(shapes), max(rows), max(columns)))
    found = jumps(torch.from_numpy(weights), torch.tensor(rows), torch.tensor(columns)).tolist()
    wanted = [plain_jumps(weights[at, :r, :c]) for at, (r, c) in enumerate(shapes)]
    assert [each[:count] for each, count in zip(found, rows, strict=True)] == wanted


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([1, 3, 5, 7, 9]), st.lists(st.integers(1, 20), min_size=1, max_size=4))
def test_smoothing_is_that_of_transformers_at_every_windows_own_edges(
    seed: int, width: int, columns: list[int]
) -> None:
    from transformers.models.whisper.generation_whisper import _median_filter

    weights = torch.randn(len(columns), 5, max(columns), generator=torch.Generator().manual_seed(seed))
    found = median_filtered(weights, torch.tensor(columns), width)
    for at, count in enumerate(columns):
        wanted: Any = _median_filter(weights[at][None, None, :, :count], width)
        assert torch.equal(found[at, :, :count], wanted[0, 0])


def test_normalising_leaves_out_what_pads_a_text_and_survives_a_constant() -> None:
    weights = torch.rand(2, 6, 9)
    weights[1] = 0.5
    found = normalised(weights, torch.tensor([4, 6]))
    own = weights[0, :4]
    wanted = (own - own.mean(0)) / own.std(0, unbiased=False)
    assert torch.allclose(found[0, :4], wanted, atol=1e-5)
    assert not found[0, 4:].any()
    assert torch.equal(found[1], torch.zeros(6, 9))

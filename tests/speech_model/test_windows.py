"""Windows say what they contain, and the numbers made of them mean the same."""

from __future__ import annotations

from functools import lru_cache
from random import Random

import numpy as np
import pytest

from tests.speech_model import tokenizer
from tests.speech_model.clips import Shard
from tests.speech_model.targets import IGNORED, Vocabulary, collate, pieces
from tests.speech_model.voices import RATE_HZ
from tests.speech_model.windows import Style, Window, compose, place

CLEAN = Style(effects=0.0, wordless=0.0, prompt=0.0)


@lru_cache(maxsize=1)
def vocabulary() -> Vocabulary:
    return Vocabulary(tokenizer.build())


def decoded(tokens: list[int]) -> str:
    return str(vocabulary().processor.tokenizer.decode(tokens))


def test_a_sentence_sounds_exactly_where_it_says(shard: Shard) -> None:
    wave = np.zeros(10 * RATE_HZ, np.float32)
    segment = place(wave, shard[0], 1.5, gain=1.0)
    inside = slice(round(segment.start_s * RATE_HZ), round(segment.end_s * RATE_HZ))
    assert np.array_equal(wave[inside], shard[0].spoken.pcm.astype(np.float32) / 32768)
    assert not wave[: inside.start].any() and not wave[inside.stop :].any()
    assert segment.words[0].start_s == pytest.approx(1.5, abs=0.02)
    assert segment.words[-1].end_s == pytest.approx(segment.end_s, abs=1e-4)


@pytest.mark.parametrize("seed", range(12))
def test_windows_keep_order_and_length(shard: Shard, seed: int) -> None:
    window = compose(shard, 9.0, Random(seed), Style())
    assert len(window.wave) == 9 * RATE_HZ and np.isfinite(window.wave).all()
    for one, following in zip(window.segments, window.segments[1:], strict=False):
        assert one.end_s <= following.start_s and not one.cut
    for segment in window.segments:
        assert 0 <= segment.start_s < segment.end_s <= 9.0
        assert segment.cut == (len(segment.words) < len(segment.text.split())) or segment.cut


def test_the_same_seed_gives_the_same_window(shard: Shard) -> None:
    one, other = (compose(shard, 6.0, Random(9), Style()) for _ in range(2))
    assert np.array_equal(one.wave, other.wave) and one.segments == other.segments


@pytest.mark.parametrize("seed", range(8))
def test_tokens_spell_the_whole_sentences(shard: Shard, seed: int) -> None:
    window = compose(shard, 12.0, Random(seed), CLEAN)
    sequence, prompt = pieces(vocabulary(), window, 100, Random(seed))
    assert prompt == 0
    words = [p.token for p in sequence if p.token < vocabulary().end]
    plain = vocabulary().id("<|notimestamps|>") in [p.token for p in sequence]
    expected = [w.name for s in window.segments if plain or not s.cut for w in s.words]
    assert decoded(words).split() == expected
    stamps = [p.token - vocabulary().first_stamp for p in sequence if p.token >= vocabulary().first_stamp]
    times = [at for s in window.segments for at in ((s.start_s,) if s.cut else (s.start_s, s.end_s))]
    assert plain or stamps == [100 + round(t / 0.02) for t in times]


@pytest.mark.parametrize("seed", range(8))
def test_what_a_parakeet_should_write_is_what_is_heard_to_its_end(shard: Shard, seed: int) -> None:
    windows = [compose(shard, 5.0, Random(10 * seed + i), CLEAN) for i in range(3)]
    for row, window in zip(collate(vocabulary(), windows, 0, Random(seed)).spoken, windows, strict=True):
        whole = [w.name for s in window.segments for w in (s.words[:-1] if s.cut else s.words)]
        assert decoded([t for t in row.tolist() if t != IGNORED]).split() == whole


def test_every_text_token_knows_where_it_sounds(shard: Shard) -> None:
    window = compose(shard, 12.0, Random(1), CLEAN)
    by_word: dict[tuple[int, int], list[int]] = {}
    for piece in pieces(vocabulary(), window, 0, Random(1))[0]:
        if piece.token < vocabulary().end:
            by_word.setdefault(piece.span, []).append(piece.token)
    for (first, last), tokens in by_word.items():
        [mark] = [m for s in window.segments for m in s.words if round(m.start_s / 0.02) == first]
        assert decoded(tokens).strip() == mark.name and last * 0.02 == pytest.approx(mark.end_s, abs=0.03)


def test_silence_asks_for_no_speech_and_no_words() -> None:
    silent = Window(np.zeros(4 * RATE_HZ, np.float32), "en", ())
    batch = collate(vocabulary(), [silent] * 6, 0, Random(0))
    wanted = batch.wanted[batch.wanted != IGNORED]
    assert (batch.wanted[:, 0] == vocabulary().id("<|nospeech|>")).all()
    assert not (wanted < vocabulary().end).any()
    assert not batch.word_frames.any() and not batch.phoneme_frames.any()


def test_a_prompt_is_given_and_never_asked_for(shard: Shard) -> None:
    window = compose(shard, 6.0, Random(2), Style(effects=0, wordless=0, prompt=1.0))
    assert window.before
    batch = collate(vocabulary(), [window], 0, Random(2))
    start = batch.given[0].tolist().index(vocabulary().start)
    assert decoded(batch.given[0, 1:start].tolist()).strip() == window.before
    assert (batch.wanted[0, :start] == IGNORED).all()
    assert batch.wanted[0, start] == vocabulary().id(f"<|{window.language}|>")


def test_frames_name_the_word_that_sounds(shard: Shard) -> None:
    window = compose(shard, 8.0, Random(5), CLEAN)
    batch = collate(vocabulary(), [window], 0, Random(5))
    names = {number: word for word, number in vocabulary().word_classes.items()}
    for mark in (m for s in window.segments for m in s.words):
        middle = round((mark.start_s + mark.end_s) / 2 / 0.02)
        assert names[int(batch.word_frames[0, middle])] == mark.name.lower().strip(".")

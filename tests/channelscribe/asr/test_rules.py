"""The rules with three values a slot against transformers' processors that walk through all tokens."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from channelscribe.asr.loading import Vocabulary
from channelscribe.asr.plausible import draws
from channelscribe.asr.rules import Barred, Rules, Seen, draw
from tests.channelscribe.asr.reference import ruled

END, NO_TIMESTAMPS, COLUMNS = 20, 26, 50
FIRST_TIME = NO_TIMESTAMPS + 1
VOCABULARY = Vocabulary(21, END, 24, NO_TIMESTAMPS, {"en": 22, "de": 23})
CPU = torch.device("cpu")
tokens = st.one_of(
    st.integers(0, END - 1), st.integers(FIRST_TIME, COLUMNS - 1), st.integers(FIRST_TIME, FIRST_TIME + 3)
)
histories = st.lists(st.lists(tokens, max_size=7), min_size=1, max_size=6)


def config(highest: int | None, summed: bool, never: list[int] | None = None) -> SimpleNamespace:
    return SimpleNamespace(
        suppress_tokens=[2, 3, 24, 25] if never is None else never,
        begin_suppress_tokens=[1, END],
        no_timestamps_token_id=NO_TIMESTAMPS,
        max_initial_timestamp_index=highest,
        eos_token_id=END,
        bos_token_id=END,
        _detect_timestamp_from_logprob=summed,
    )


def remembered(rules: Rules, rows: list[list[int]]) -> tuple[Seen, Tensor]:
    """Every row's tokens noted one by one, rows of different lengths side by side."""
    seen = Seen.of(len(rows), CPU)
    for step in range(max(map(len, rows))):
        token = torch.tensor([row[step] if step < len(row) else 0 for row in rows])
        writing = torch.tensor([step < len(row) for row in rows])
        rules.note(seen, token, torch.full((len(rows),), step), writing)
    return seen, torch.tensor([len(row) for row in rows])


def applied(rules: Rules, scores: Tensor, rows: list[list[int]]) -> tuple[Tensor, Tensor, Tensor]:
    seen, place = remembered(rules, rows)
    barred: Barred = rules.bar(scores, place, seen)
    token, logprob, bound = rules.greedy(scores, barred)
    return token, logprob, rules.ruled(scores, barred, bound)


@settings(max_examples=200, deadline=None)
@given(histories, st.sampled_from([None, 0, 5, 50]), st.booleans(), st.integers(0, 2**32), st.sampled_from([0.5, 3.0]))
def test_scores_and_choice_are_those_of_transformers(
    rows: list[list[int]], highest: int | None, summed: bool, seed: int, spread: float
) -> None:
    settled = config(highest, summed)
    rules = Rules(settled, VOCABULARY, COLUMNS, CPU)
    scores = spread * torch.randn(len(rows), COLUMNS, generator=torch.Generator().manual_seed(seed))
    wanted = torch.cat(
        [ruled(settled, torch.tensor([[9, *row]]), scores[at : at + 1].clone(), 1) for at, row in enumerate(rows)]
    )
    token, logprob, found = applied(rules, scores.clone(), rows)
    assert torch.equal(found, wanted)
    assert torch.equal(token, wanted.argmax(-1))
    assert torch.allclose(logprob, wanted.log_softmax(-1).gather(1, token[:, None])[:, 0], atol=1e-5)


def test_a_checkpoint_without_suppressed_tokens_and_with_ids_beyond_its_columns() -> None:
    empty = config(None, True, never=[])
    empty.begin_suppress_tokens = None
    scores = torch.zeros(1, COLUMNS)
    scores[0, 2] = 9.0
    token, _, found = applied(Rules(empty, VOCABULARY, COLUMNS, CPU), scores, [[FIRST_TIME]])
    assert int(token) == 2
    assert found[0, NO_TIMESTAMPS] == -torch.inf
    Rules(config(None, True, never=[-1, 2, 51_864]), VOCABULARY, COLUMNS, CPU)


def test_rows_that_do_not_write_are_not_remembered() -> None:
    rules = Rules(config(50, True), VOCABULARY, COLUMNS, CPU)
    seen = Seen.of(2, CPU)
    rules.note(
        seen, torch.tensor([FIRST_TIME, FIRST_TIME]), torch.zeros(2, dtype=torch.int64), torch.tensor([True, False])
    )
    assert seen.last.tolist() == [FIRST_TIME, -1]
    assert seen.was.tolist() == [True, False]


@pytest.mark.parametrize("end", [511, 512, 1000, 5000])
@pytest.mark.parametrize("best", [0, 255, 256, 510, -1])
def test_a_large_vocabulary_is_searched_in_blocks(end: int, best: int) -> None:
    large = Vocabulary(end + 1, end, end + 4, end + 6, {"en": end + 2})
    settled = config(50, True)
    settled.suppress_tokens, settled.begin_suppress_tokens = [1], [end]
    settled.no_timestamps_token_id, settled.eos_token_id = end + 6, end
    rules = Rules(settled, large, end + 40, CPU)
    scores = torch.randn(4, end + 40, generator=torch.Generator().manual_seed(end))
    scores[0, best % end] = 20.0
    scores[2, :end] = -torch.inf
    rows = [[end + 7, 3], [end + 7, 3, 4], [end + 9, 5], [end + 7, 2]]
    wanted = torch.cat(
        [ruled(settled, torch.tensor([[9, *row]]), scores[at : at + 1], 1) for at, row in enumerate(rows)]
    )
    token, logprob, found = applied(rules, scores.clone(), rows)
    assert torch.equal(found, wanted)
    assert torch.equal(token, wanted.argmax(-1))
    assert int(token[0]) == best % end
    assert torch.allclose(logprob, wanted.log_softmax(-1).gather(1, token[:, None])[:, 0], atol=1e-5)
    scores[1, best % end] = torch.nan
    assert applied(rules, scores.clone(), rows)[1].isnan().tolist() == [False, True, False, False]


def test_nan_stays_in_its_row() -> None:
    rules = Rules(config(50, True), VOCABULARY, COLUMNS, CPU)
    scores = torch.randn(3, COLUMNS)
    clean = applied(rules, scores.clone(), [[FIRST_TIME, 3]] * 3)
    scores[1] = torch.nan
    token, logprob, _ = applied(rules, scores, [[FIRST_TIME, 3]] * 3)
    assert torch.equal(token[[0, 2]], clean[0][[0, 2]])
    assert logprob.isnan().tolist() == [False, True, False]
    assert 0 <= int(token[1]) < COLUMNS


@pytest.mark.parametrize("temperature", [0.4, 1.0])
def test_drawing_follows_the_odds(temperature: float) -> None:
    odds = torch.tensor([[0.1, 0.6, 0.3, 0.0]])
    chance = torch.tensor(draws("sha", 1, 1.0, 20_000))
    token, logprob = draw(odds.log().expand(20_000, 4), torch.full((20_000,), temperature), chance)
    wanted = (odds.log() / temperature).softmax(-1)[0]
    shares = torch.bincount(token, minlength=4) / len(token)
    assert torch.allclose(shares, wanted, atol=0.02)
    assert shares[3] == 0
    assert torch.allclose(logprob.exp(), odds[0, token], atol=1e-5)

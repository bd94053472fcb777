"""A few steps of the training program: the same again, and the same after an interruption."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
import torch
from transformers import WhisperForConditionalGeneration, WhisperProcessor

from tests.speech_model.export import export
from tests.speech_model.train import PLANS, Trainer, rate, window_seconds

TINY = PLANS["tiny"]


def weights(trainer: Trainer) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in trainer.listener.parameters()])


def spoken_once(folder: Path, shared: Path) -> Path:
    """A run folder that shares the clips of another: only the training is under test."""
    folder.mkdir()
    (folder / "clips").symlink_to(shared)
    return folder


@pytest.mark.usefixtures("shard")
def test_an_interrupted_run_ends_where_an_unbroken_one_does(tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    whole = Trainer(TINY, spoken_once(tmp_path / "whole", tmp_path / "clips"), "cpu")
    start = weights(whole)
    whole.run()
    broken = spoken_once(tmp_path / "broken", tmp_path / "clips")
    Trainer(TINY, broken, "cpu").run(until=2)
    resumed = Trainer(TINY, broken, "cpu")
    assert resumed.step == 2
    resumed.run()
    assert resumed.step == TINY.steps
    assert torch.equal(weights(whole), weights(resumed))
    assert not torch.equal(weights(whole), start)
    with pytest.raises(SystemExit, match="another plan"):
        Trainer(replace(TINY, seed=2), broken, "cpu")
    assert export(broken, tmp_path / "out") == TINY.steps
    opened_as_anybody_would(tmp_path / "out")


def opened_as_anybody_would(folder: Path) -> None:
    model = WhisperForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
    processor = WhisperProcessor.from_pretrained(folder)
    assert (folder / "model.safetensors").stat().st_size < 12_000_000
    features = processor(torch.zeros(16_000).numpy(), sampling_rate=16_000, return_tensors="pt").input_features
    ids = model.generate(features, language="de", task="transcribe", return_timestamps=True, max_new_tokens=4)
    assert ids.shape[0] == 1


def test_the_rate_rises_stays_and_settles() -> None:
    plan = PLANS["cpu"]
    rates = [rate(plan, step) for step in range(plan.steps)]
    assert max(rates) == plan.learning_rate == rates[plan.steps // 2]
    assert rates[0] < plan.learning_rate / 10 and rates[-1] < plan.learning_rate / 50
    assert min(rates) > 0


def test_whole_windows_come_more_and_more() -> None:
    r = Random(0)
    early, late = (Counter(window_seconds(done, r) for _ in range(400)) for done in (0.0, 1.0))
    assert early[30.0] == 0 and late[30.0] > 200 and min(late) < 30

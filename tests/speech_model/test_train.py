"""A few steps of the training program: the same again, and the same after an interruption."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch

from tests.speech_model.export import export
from tests.speech_model.judges import open_judge
from tests.speech_model.train import PLANS, Trainer, rate, window_seconds
from tests.speech_model.windows import Window


def weights(trainer: Trainer) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in trainer.listener.parameters()])


def spoken_once(folder: Path, shared: Path) -> Path:
    """A run folder that shares the clips of another: only the training is under test."""
    folder.mkdir()
    (folder / "clips").symlink_to(shared)
    return folder


@pytest.mark.usefixtures("shard")
@pytest.mark.parametrize(("plan", "most_bytes"), [("tiny", 12_000_000), ("tiny-parakeet", 8_000_000)])
def test_an_interrupted_run_ends_where_an_unbroken_one_does(tmp_path: Path, plan: str, most_bytes: int) -> None:
    tiny = PLANS[plan]
    (tmp_path / "clips").mkdir()
    whole = Trainer(tiny, spoken_once(tmp_path / "whole", tmp_path / "clips"), "cpu")
    start = weights(whole)
    whole.run()
    broken = spoken_once(tmp_path / "broken", tmp_path / "clips")
    Trainer(tiny, broken, "cpu").run(until=2)
    resumed = Trainer(tiny, broken, "cpu")
    assert resumed.step == 2
    resumed.run()
    assert resumed.step == tiny.steps
    assert torch.equal(weights(whole), weights(resumed))
    assert not torch.equal(weights(whole), start)
    with pytest.raises(SystemExit, match="another plan"):
        Trainer(replace(tiny, seed=2), broken, "cpu")
    assert export(broken, tmp_path / "out") == tiny.steps
    assert (tmp_path / "out" / "model.safetensors").stat().st_size < most_bytes
    assert len(list(open_judge(tmp_path / "out").hear([Window(np.zeros(16_000, np.float32), "de", ())]))) == 1


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

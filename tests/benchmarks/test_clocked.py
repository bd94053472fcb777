"""A clocked checkpoint says as many words as its sound holds, whoever decodes it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks import child
from benchmarks.child import measure, same_words
from benchmarks.clocked import ARCHITECTURES, MOST_TOKENS, WINDOW_S, checkpoint, sound_of, words_of
from benchmarks.engine import Ours
from benchmarks.job import Job
from benchmarks.peers import HfGenerate, missing, open_contender
from benchmarks.vocabulary import REGULAR, special_ids, vocabulary
from benchmarks.workloads import descending, variable
from channelscribe.asr.plausible import compression_ratio
from channelscribe.core.window import RATE_HZ

COUNTS = (1, 2, 33, 107, 140, MOST_TOKENS - 1, MOST_TOKENS)


def job(folder: Path, engine: str, **changes: Any) -> Job:
    return replace(Job(engine, "variable", "mini", str(folder), 60.0, 0.01, batch=4), **changes)


def test_generate_says_the_words_that_the_sound_holds(mini: Path) -> None:
    peer = HfGenerate(job(mini, "hf-generate"), ())
    length = round(WINDOW_S * RATE_HZ)
    with torch.inference_mode():
        texts = peer._generate([sound_of(n, length, n).astype(np.float32) / 32768.0 for n in COUNTS])
    assert [text.split() for text in texts] == [words_of(mini)[:n] for n in COUNTS]


@pytest.mark.parametrize("engine", ["channelscribe", "hf-pipeline", "faster-whisper"])
def test_every_engine_says_them_for_files_of_all_lengths(mini: Path, engine: str) -> None:
    if missing(engine):
        pytest.skip(str(missing(engine)))
    takes = variable(60.0, scale=0.01).takes
    contender = open_contender(job(mini, engine), takes)
    try:
        assert same_words(contender.run(), [take.text(words_of(mini)) for take in takes])
    finally:
        contender.close()


def test_our_engine_says_what_it_did(mini: Path) -> None:
    work = variable(60.0, scale=0.01)
    ours = Ours(job(mini, "channelscribe"), work.takes)
    try:
        ours.warm()
        ours.run()
        stages = ours.stages()
    finally:
        ours.close()
    assert stages["windows"] == work.windows and stages["fallbacks"] == 0
    assert 0 < stages["mean_occupancy"] <= 1
    assert stages["tokens"] >= work.tokens


def test_the_clock_runs_for_the_run_alone(mini: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that each call sets on."""
    calls: list[str] = []
    costs = {"warm": 100.0, "begun": 10.0, "run": 7.0, "close": 1000.0}

    class Clocked:
        def warm(self) -> None:
            calls.append("warm")

        def run(self) -> list[str]:
            calls.append("run")
            return []

        def stages(self) -> dict[str, Any]:
            return {}

        def close(self) -> None:
            calls.append("close")

    monkeypatch.setattr("benchmarks.peers.open_contender", lambda job, takes: Clocked())
    monkeypatch.setattr(child, "time", SimpleNamespace(perf_counter=lambda: sum(costs[call] for call in calls)))
    result = measure(job(mini, "channelscribe"), begun=lambda: calls.append("begun"))
    assert calls == ["warm", "begun", "run", "close"]
    assert result.wall_s == costs["run"]


def test_all_that_warms_is_run_before_and_does_not_count(mini: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Job, "warmups", lambda self: descending(3, tokens=20))
    ours = Ours(job(mini, "channelscribe"), ())
    try:
        ours.warm()
        assert ours.totals().windows == 3 + 2
        assert ours.stages()["windows"] == 0
    finally:
        ours.close()


def test_a_full_window_is_no_repetition(mini: Path) -> None:
    words = words_of(mini)
    assert len(set(words)) == MOST_TOKENS
    assert compression_ratio(" ".join(words)) < 2.4


def test_a_checkpoint_is_built_once_and_anew_when_the_recipe_changed(mini: Path) -> None:
    weights = mini / "model.safetensors"
    before = weights.stat().st_mtime_ns
    checkpoint("mini", mini.parent)
    assert weights.stat().st_mtime_ns == before
    note = json.loads((mini / "clock.json").read_text(encoding="utf-8"))
    (mini / "clock.json").write_text(json.dumps(note | {"built": note["built"] | {"format": 0}}), encoding="utf-8")
    checkpoint("mini", mini.parent)
    assert weights.stat().st_mtime_ns > before
    with pytest.raises(KeyError):
        checkpoint("whisper", mini.parent)


@pytest.mark.parametrize("arch", ARCHITECTURES.values(), ids=ARCHITECTURES)
def test_vocabularies_have_whispers_size_and_order(arch: Any) -> None:
    special = special_ids(arch.vocabulary)
    assert len(vocabulary()) == REGULAR
    assert special["<|endoftext|>"] == REGULAR
    assert sorted(special.values()) == list(range(REGULAR, arch.vocabulary))
    assert special["<|30.00|>"] - special["<|0.00|>"] == 1500
    assert special["<|notimestamps|>"] - special["<|nospeech|>"] == 1

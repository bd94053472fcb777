"""Encoding beside decoding, as on a card: micro-batches that finish later than they begin, without a card."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import pytest

from channelscribe.asr.encoder import Encoder, Encoding
from channelscribe.asr.whisper import WhisperEngine
from channelscribe.core.errors import EnvironmentFailure
from channelscribe.core.profile import TranscriptionProfile
from tests.channelscribe.asr.models import Tiny
from tests.channelscribe.asr.parts import MemoryListener
from tests.channelscribe.asr.test_scheduling import NAMES, content, run, windows

LOG: list[str] = []


@dataclass
class LateEvent:
    """What a CUDA event is to the scheduler: asked a few times before it has happened."""

    asked_before: int
    error: Exception | None = None
    log: list[str] = field(default_factory=lambda: LOG)

    def query(self) -> bool:
        self.asked_before -= 1
        return self.asked_before < 0

    def synchronize(self) -> None:
        if self.asked_before >= 0:
            self.log.append("wait")
        if self.error is not None:
            raise self.error


@dataclass
class LateEncoding(Encoding):
    def fetch(self) -> tuple[list[Any], dict[int, list[float]]]:
        found = Encoding.fetch(self)
        LOG.append("fetch")
        return found


class LateEncoder(Encoder):
    """The real encoder, whose results are there only after some more turns; `failing` micro-batches fail then."""

    chance = Random(0)
    failing: dict[int, Exception]
    count = 0

    def start(self, sounds: Sequence[Any], voters: Sequence[int] = ()) -> Encoding:
        made = super().start(sounds, voters)
        number, type(self).count = self.count, self.count + 1
        LOG.append("start")
        event = LateEvent(self.chance.randint(0, 6), self.failing.get(number))
        return LateEncoding(made.hidden, made.voters, made.probs, event, made.accelerator)


@pytest.fixture(scope="module")
def profile(tmp_path_factory: pytest.TempPathFactory) -> TranscriptionProfile:
    folder = Tiny(seconds=2, languages=("en", "de"), seed=4, positions=40).save(tmp_path_factory.mktemp("tiny"))
    return TranscriptionProfile(model=str(folder), window_s=2.0, temperatures=(0.0,), batch_size=8, pool_mib=16)


@pytest.fixture
def late(monkeypatch: pytest.MonkeyPatch) -> type[LateEncoder]:
    LOG.clear()
    LateEncoder.failing, LateEncoder.count = {}, 0
    monkeypatch.setattr("channelscribe.asr.scheduler.Encoder", LateEncoder)
    return LateEncoder


def test_late_results_change_nothing_and_slots_stay_full(
    profile: TranscriptionProfile, late: type[LateEncoder], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"v{i}" for i in range(1, 25)]
    with WhisperEngine(profile, MemoryListener(windows)) as engine:
        found = content(run(engine, names))
        stats = engine.stats()
    assert stats.encoded == stats.windows == sum(map(windows, names))
    assert stats.mean_occupancy >= 0.85
    assert LOG.count("start") == LOG.count("fetch")
    assert LOG.count("wait") < LOG.count("start"), "at least some ran beside the decoder"
    monkeypatch.undo()
    with WhisperEngine(profile, MemoryListener(windows)) as engine:
        assert content(run(engine, names)) == found


def test_a_micro_batch_that_fails_later_is_encoded_again(
    profile: TranscriptionProfile, late: type[LateEncoder]
) -> None:
    late.failing = {1: RuntimeError("odd"), 3: MemoryError(), 4: MemoryError()}
    with WhisperEngine(profile, MemoryListener(windows)) as engine:
        found = run(engine, NAMES)
        assert engine.stats().windows == sum(map(windows, NAMES))
        assert engine.stats().waiting == 0
    assert {name: made.window_count for name, made in found.items()} == {name: windows(name) for name in NAMES}


def test_a_card_lost_beside_the_decoder_is_told_to_everybody(
    profile: TranscriptionProfile, late: type[LateEncoder]
) -> None:
    late.failing = {2: RuntimeError("CUDA error: unspecified launch failure")}
    engine = WhisperEngine(profile, MemoryListener(windows))
    with engine, pytest.raises(EnvironmentFailure) as caught:
        run(engine, [*NAMES, Path("v3").stem])
    assert caught.value.code == "engine_stopped"

"""The slots through the engine: how full they are, one encode for all temperatures, gate, too little memory, poison."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from channelscribe.asr.device import DeviceChoice
from channelscribe.asr.loading import LoadedWhisper, load_whisper
from channelscribe.asr.mel import LogMel
from channelscribe.asr.model import ModelRef
from channelscribe.asr.plausible import repeating_tail, without_loop
from channelscribe.asr.segments import lines
from channelscribe.asr.whisper import WhisperEngine
from channelscribe.core.errors import EnvironmentFailure, Poisoned, Transient
from channelscribe.core.gpu import OpenGate
from channelscribe.core.model import Transcript
from channelscribe.core.profile import Preset, TranscriptionProfile
from channelscribe.gpu.gate import GuardGate
from tests.channelscribe.asr.models import Tiny, loaded, noises
from tests.channelscribe.asr.parts import MemoryListener

Load = Callable[[ModelRef, DeviceChoice], LoadedWhisper]
NAMES = [f"v{i}" for i in range(1, 9)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Tiny(seconds=2, languages=("en", "de"), seed=4, positions=40).save(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def profile(folder: Path) -> TranscriptionProfile:
    return TranscriptionProfile(model=str(folder), window_s=2.0, temperatures=(0.0, 0.6), batch_size=8, pool_mib=16)


def windows(stem: str) -> int:
    return 1 + int(stem[1:]) * 2 % 11


def run(engine: WhisperEngine, names: list[str], threads: int = 8, **more: Any) -> dict[str, Transcript]:
    def one(name: str) -> Transcript:
        return engine.transcribe(Path(f"{name}.m4a"), video_id=name, media_sha256=name.rjust(64, "0"), **more)

    with ThreadPoolExecutor(threads) as pool:
        return dict(zip(names, pool.map(one, names), strict=True))


def content(found: dict[str, Transcript]) -> dict[str, Any]:
    """What must not change; the rest says when and on what it was made."""
    return {
        name: replace(t, created_at=None, wall_s=0.0, provenance=replace(t.provenance, batch_size=0))
        for name, t in found.items()
    }


@pytest.fixture(scope="module")
def wanted(profile: TranscriptionProfile) -> dict[str, Any]:
    with WhisperEngine(profile.model_copy(update={"batch_size": 1}), MemoryListener(windows)) as engine:
        return content(run(engine, NAMES, 1))


class Steps(torch.nn.Module):
    """Stands before an activation of the decoder and tells `hook` the rows of each decode step."""

    def __init__(self, inner: Callable[[Any], Any], hook: Callable[[Any], None]) -> None:
        super().__init__()
        self.inner, self.hook = inner, hook

    def forward(self, x: Any) -> Any:
        if x.ndim == 2:
            self.hook(x)
        return self.inner(x)


def hooked(*, step: Callable[[Any], None] | None = None, encoded: Callable[[Any, Any], None] | None = None) -> Load:
    """The real model, whose decode steps go by `step` and whose encoder's output by `encoded`."""

    def load(ref: ModelRef, choice: DeviceChoice) -> LoadedWhisper:
        whisper = load_whisper(ref, choice)
        if step is not None:
            layer = whisper.model.model.decoder.layers[0]
            layer.activation_fn = Steps(layer.activation_fn, step)
        if encoded is not None:
            whisper.model.model.encoder.register_forward_hook(lambda _, given, made: encoded(given[0], made))
        return whisper

    return load


def test_slots_stay_full_while_there_is_work(profile: TranscriptionProfile) -> None:
    names = [f"v{i}" for i in range(1, 41)]
    with WhisperEngine(profile, MemoryListener(windows)) as engine:
        run(engine, names, 12)
        stats = engine.stats()
    assert stats.windows == sum(map(windows, names))
    assert stats.mean_occupancy >= 0.9
    assert stats.refills > stats.windows / 2
    assert stats.slots == 8
    assert stats.waiting == 0


def test_whatever_the_temperatures_a_window_is_encoded_once(profile: TranscriptionProfile) -> None:
    hot = profile.model_copy(update={"temperatures": (0.0, 0.4, 1.0), "logprob_threshold": -0.01})
    with WhisperEngine(hot, MemoryListener(windows)) as engine:
        found = content(run(engine, NAMES[:4]))
        stats = engine.stats()
    assert stats.fallbacks == 2 * stats.windows, "nothing this model writes is that probable"
    assert stats.encoded == stats.windows == sum(map(windows, NAMES[:4]))
    with WhisperEngine(hot.model_copy(update={"batch_size": 1}), MemoryListener(windows)) as engine:
        assert content(run(engine, NAMES[:4], 1)) == found


@pytest.mark.parametrize("preset", [p for p in Preset if p is not Preset.STABLE])
def test_a_preset_does_not_change_the_text(folder: Path, wanted: dict[str, Any], preset: Preset) -> None:
    profile = TranscriptionProfile.preset(preset, model=str(folder), window_s=2.0, temperatures=(0.0, 0.6))
    with WhisperEngine(profile, MemoryListener(windows)) as engine:
        assert content(run(engine, NAMES[::-1])) == wanted


def test_the_engine_writes_what_generate_writes(folder: Path, profile: TranscriptionProfile) -> None:
    sure = {"temperatures": (0.0,), "logprob_threshold": -1e9, "compression_ratio_threshold": 1e9, "language": "de"}
    names = [f"v{i}" for i in range(40)]
    with WhisperEngine(profile.model_copy(update=sure), MemoryListener(lambda stem: 1)) as engine:
        found = run(engine, names)
    whisper, compared = loaded(folder), 0
    sounds = [noises(1, 2.0, seed)[0] for seed in range(40)]
    rows = whisper.model.generate(
        LogMel(whisper.feature_extractor, whisper.accelerator)(sounds), return_timestamps=True, num_beams=1,
        do_sample=False, max_new_tokens=whisper.most_tokens, return_dict_in_generate=True,
        force_unique_generate_call=True, language="de", task="transcribe",
    ).sequences.tolist()  # fmt: skip
    for name, sound, row in zip(names, sounds, rows, strict=True):
        tokens = [token for token in row[3:] if token != whisper.vocabulary.end]
        # The engine looks for a loop at every eighth token and cuts it; generate writes it out.
        looped = next((n for n in range(1, len(tokens) + 1, 8) if repeating_tail(tokens[:n])), None)
        tokens = tokens if looped is None else without_loop(tokens[:looped])
        found_lines = lines(
            tokens, whisper.vocabulary.first_timestamp, whisper.seconds_per_timestamp, len(sound) / 16_000
        )
        said = [(whisper.text(list(line.tokens)).strip(), line.start_s, line.end_s) for line in found_lines]
        ours = [(s.text, s.start_s, s.end_s) for s in found[name].segments]
        assert ours == [(t, pytest.approx(a, abs=0.001), pytest.approx(b, abs=0.001)) for t, a, b in said if t]
        compared += bool(ours)
    assert compared >= 8


@pytest.mark.parametrize("most", [2, 3])
def test_too_little_memory_in_a_decode_step_halves_the_slots(
    profile: TranscriptionProfile, wanted: dict[str, Any], most: int
) -> None:
    seen: list[int] = []

    def step(x: Any) -> None:
        seen.append(len(x))
        if len(x) > most:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    gate = Watched()
    with WhisperEngine(profile, MemoryListener(windows), load=hooked(step=step), gate=gate) as engine:
        assert content(run(engine, NAMES)) == wanted
        assert engine.stats().slots <= most
        assert engine.stats().encoded == sum(map(windows, NAMES)), "what is encoded is kept"
    assert max(seen) > most
    assert gate.refusals > 0


def test_no_memory_for_one_slot_is_told(profile: TranscriptionProfile) -> None:
    def step(x: Any) -> None:
        raise MemoryError

    engine = WhisperEngine(profile, MemoryListener(windows), load=hooked(step=step))
    with engine, pytest.raises(EnvironmentFailure) as caught:
        run(engine, NAMES)
    assert caught.value.code == "out_of_memory"


def _no_numbers_for_silence(features: Any, made: Any) -> None:
    """The encoder overflows on the window that hears exactly nothing."""
    for row, spectrum in enumerate(features):
        if spectrum.std() == 0:
            made.last_hidden_state[row] = float("nan")


def _silent_third(stem: str, sounds: list[Any]) -> list[Any]:
    return [*sounds[:2], np.zeros(32_000, np.int16), *sounds[3:]] if stem == "v5" else sounds


@pytest.mark.parametrize("raises", [False, True])
def test_a_window_that_fails_in_a_decode_step_fails_only_its_video(
    folder: Path, profile: TranscriptionProfile, wanted: dict[str, Any], raises: bool
) -> None:
    def step(x: Any) -> None:
        if raises and x.isnan().any():
            raise RuntimeError("no numbers")

    load = hooked(step=step, encoded=_no_numbers_for_silence)
    with WhisperEngine(profile, MemoryListener(windows, change=_silent_third), load=load) as engine:
        with ThreadPoolExecutor(8) as pool:
            asked = {n: pool.submit(run, engine, [n], 1) for n in NAMES}
        error = asked.pop("v5").exception()
        assert isinstance(error, Poisoned)
        assert error.code == "window_failed"
        for name, future in asked.items():
            assert content(future.result())[name] == wanted[name]
        assert engine.stats().waiting == 0


class Watched(OpenGate):
    """An open gate that notes what passes, and lets only `share` windows be at work."""

    def __init__(self, share: int = 512) -> None:
        self.share, self.refusals = share, 0
        self.steps: list[tuple[str, int]] = []
        self.notes: list[tuple[int, int]] = []

    def step(self, stage: str, batch: int, stopping: Callable[[], bool]) -> AbstractContextManager[None]:
        self.steps.append((stage, batch))
        return nullcontext()

    def most(self, wished: int) -> int:
        return min(wished, self.share)

    def note(self, *, waiting: int, videos: int) -> None:
        self.notes.append((waiting, videos))

    def out_of_memory(self) -> None:
        self.refusals += 1


def test_the_gate_bounds_how_many_are_at_work(profile: TranscriptionProfile, wanted: dict[str, Any]) -> None:
    gate = Watched(share=2)
    with WhisperEngine(profile, MemoryListener(windows), gate=gate) as engine:
        assert content(run(engine, NAMES)) == wanted
    assert gate.steps[0] == ("load", 1)
    assert {stage for stage, _ in gate.steps[1:]} == {"encode", "decode"}
    assert max(batch for _, batch in gate.steps) == 2
    assert max(waiting for waiting, _ in gate.notes) > 2
    assert max(videos for _, videos in gate.notes) > 1


def test_a_held_gate_lets_nothing_through_and_a_released_one_loses_nothing(
    profile: TranscriptionProfile, wanted: dict[str, Any]
) -> None:
    gate, seen = GuardGate(), threading.Event()

    def step(x: Any) -> None:
        seen.set()

    engine = WhisperEngine(profile, MemoryListener(windows), gate=gate, load=hooked(step=step))
    with engine, ThreadPoolExecutor(1) as pool:
        running = pool.submit(run, engine, NAMES)
        assert seen.wait(60)
        gate.hold("hot")
        held(gate)
        before = engine.stats()
        time.sleep(0.3)
        assert (engine.stats().batches, engine.stats().encoded) == (before.batches, before.encoded)
        gate.release()
        assert content(running.result()) == wanted


def held(gate: GuardGate) -> None:
    """Waits until the engine stands before the gate."""
    until_s = time.monotonic() + 60
    before_s = gate.held_s
    while gate.held_s == before_s:
        assert time.monotonic() < until_s
        time.sleep(0.01)


def test_cancelling_and_closing_work_before_a_held_gate(profile: TranscriptionProfile) -> None:
    gate, stop = GuardGate(), threading.Event()
    gate.hold("hot")
    with ThreadPoolExecutor(2) as pool:
        with WhisperEngine(profile, MemoryListener(windows), gate=gate) as engine:
            cancelled = pool.submit(run, engine, ["v1"], 1, cancelled=stop.is_set)
            waiting = pool.submit(run, engine, ["v2"], 1)
            held(gate)
            stop.set()
            assert getattr(cancelled.exception(), "code", "") == "cancelled"
            assert not waiting.done()
        error = waiting.exception()
    assert isinstance(error, Transient)
    assert error.code == "engine_closed"


def test_features_are_those_of_transformers(folder: Path) -> None:
    whisper = loaded(folder)
    sounds = [*noises(5, 2.0), np.zeros(0, np.int16), np.full(90_000, -32768, np.int16)]
    ours = LogMel(whisper.feature_extractor, whisper.accelerator)(sounds)
    for sound, row in zip(sounds, ours, strict=True):
        wave = sound.astype(np.float32) / 32768.0
        theirs = whisper.feature_extractor(wave, sampling_rate=16_000, return_tensors="pt").input_features
        assert torch.equal(theirs[0], row)
    with pytest.raises(ValueError, match="one channel"):
        LogMel(whisper.feature_extractor, whisper.accelerator)([np.zeros((2, 5), np.int16)])

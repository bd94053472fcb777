"""Words through the whole engine: the same text, in any company, with little memory, with a poisoned window."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from channelscribe.asr.device import DeviceChoice
from channelscribe.asr.loading import LoadedWhisper, load_whisper
from channelscribe.asr.model import ModelRef
from channelscribe.asr.registry import expected_fingerprint, open_engine
from channelscribe.asr.whisper import WhisperEngine
from channelscribe.core.errors import EnvironmentFailure, Poisoned
from channelscribe.core.model import Transcript
from channelscribe.core.profile import TranscriptionProfile
from tests.channelscribe.asr.models import SHIPPED, Tiny
from tests.channelscribe.asr.parts import MemoryListener
from tests.channelscribe.audio.sounds import write_wav
from tests.emulators.speech import Score, compose

PROFILE = TranscriptionProfile(model=str(SHIPPED), window_s=8.0, language="en", device="cpu", words=True)
Before = Callable[[torch.Tensor], None]
NAMES = ["v1", "v2", "v3"]


def whole(names: list[str]) -> Callable[[WhisperEngine], dict[str, Any]]:
    """Transcribes them all at once; a failed one is its error."""

    def run(engine: WhisperEngine) -> dict[str, Any]:
        def one(name: str) -> Transcript | Exception:
            try:
                return engine.transcribe(Path(f"{name}.m4a"), video_id=name, media_sha256=name.rjust(64, "0"))
            except Exception as error:
                return error

        with ThreadPoolExecutor(len(names)) as pool:
            found = dict(zip(names, pool.map(one, names), strict=True))
        return {name: t.segments if isinstance(t, Transcript) else t for name, t in found.items()}

    return run


def spoken(found: dict[str, Any]) -> dict[str, list[tuple[str, list[str]]]]:
    """Texts and words. A random model's attention is so even that rounding may decide between two paths through it."""
    return {name: [(s.text, [w.word for w in s.words]) for s in segments] for name, segments in found.items()}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> TranscriptionProfile:
    folder = Tiny(seconds=2, languages=("en", "de"), seed=4, positions=40).save(tmp_path_factory.mktemp("tiny"))
    return TranscriptionProfile(model=str(folder), window_s=2.0, temperatures=(0.0,), language="de", words=True)


def loading(before: Before) -> Callable[[ModelRef, DeviceChoice], LoadedWhisper]:
    """`before` sees the encoder output of every pass in which a decoder layer hears more than a prompt."""

    def load(ref: ModelRef, choice: DeviceChoice) -> LoadedWhisper:
        whisper = load_whisper(ref, choice)

        def forward(_: Any, given: tuple[Any, ...], named: dict[str, Any]) -> None:
            ids = named.get("input_ids")
            if ids is not None and ids.shape[1] > 4:
                before(named["encoder_hidden_states"])

        whisper.model.model.decoder.register_forward_pre_hook(forward, with_kwargs=True)
        return whisper

    return load


def test_speech_has_the_same_text_with_words_and_without(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "a.wav", compose(Score(33, 40.0)).pcm)
    found = []
    for profile in (PROFILE, PROFILE.model_copy(update={"batch_size": 1}), PROFILE.model_copy(update={"words": False})):
        with open_engine(profile) as engine:
            found.append(engine.transcribe(path, video_id="a", media_sha256="a" * 64))
            assert found[-1].fingerprint == expected_fingerprint(profile, "a" * 64)
    together, alone, plain = found
    assert together.segments == alone.segments
    assert [replace(segment, words=()) for segment in together.segments] == list(plain.segments)
    assert together.fingerprint == alone.fingerprint != plain.fingerprint
    assert len(together.segments) > 3
    for segment in together.segments:
        assert [word.word for word in segment.words] == segment.text.split()
        edges = [edge for word in segment.words for edge in (word.start_s, word.end_s)]
        assert edges == sorted(edges)
        assert segment.start_s <= edges[0] <= edges[-1] <= segment.end_s


def test_little_memory_costs_no_words(tiny: TranscriptionProfile) -> None:
    with WhisperEngine(tiny, MemoryListener()) as engine:
        wanted = whole(NAMES)(engine)
    sizes: list[int] = []

    def before(encoded: torch.Tensor) -> None:
        sizes.append(len(encoded))
        if len(encoded) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    with WhisperEngine(tiny, MemoryListener(), load=loading(before)) as engine:
        found = whole(NAMES)(engine)
    assert spoken(found) == spoken(wanted)
    assert max(sizes) > 1
    assert any(segment.words for segments in wanted.values() for segment in segments)


def test_no_memory_even_for_one_is_said(tiny: TranscriptionProfile) -> None:
    def before(encoded: torch.Tensor) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    with WhisperEngine(tiny, MemoryListener(), load=loading(before)) as engine:
        found = whole(["v1"])(engine)["v1"]
    assert isinstance(found, EnvironmentFailure)
    assert found.code == "out_of_memory"


def test_a_window_that_cannot_be_timed_fails_its_own_file_only(tiny: TranscriptionProfile) -> None:
    with WhisperEngine(tiny, MemoryListener()) as engine:
        wanted = whole(NAMES)(engine)
    poison: list[torch.Tensor] = []

    def before(encoded: torch.Tensor) -> None:
        if not poison:
            poison.append(encoded[0].clone())
        if any(torch.equal(row, poison[0]) for row in encoded):
            raise RuntimeError("a kernel fell over")

    with WhisperEngine(tiny, MemoryListener(), load=loading(before)) as engine:
        found = whole(NAMES)(engine)
    failed = [name for name, each in found.items() if isinstance(each, Exception)]
    assert len(failed) == 1
    assert isinstance(found[failed[0]], Poisoned)
    good = [name for name in NAMES if name not in failed]
    assert spoken({name: found[name] for name in good}) == spoken({name: wanted[name] for name in good})

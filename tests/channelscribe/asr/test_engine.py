"""The engine with many files in flight: equal text in any company, one file's failure, too little memory, closing."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from channelscribe.asr.device import DeviceChoice
from channelscribe.asr.loading import LoadedWhisper, load_whisper
from channelscribe.asr.model import ModelRef
from channelscribe.asr.registry import expected_fingerprint, open_engine
from channelscribe.asr.whisper import WhisperEngine
from channelscribe.core.errors import ChannelscribeError, EnvironmentFailure, Poisoned, Transient, UsageError
from channelscribe.core.model import Transcript
from channelscribe.core.profile import TranscriptionProfile
from tests.channelscribe.asr.models import Tiny
from tests.channelscribe.asr.parts import MemoryListener

Load = Callable[[ModelRef, DeviceChoice], LoadedWhisper]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Tiny(seconds=2, languages=("en", "de", "fr"), seed=2, positions=40).save(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def profile(folder: Path) -> TranscriptionProfile:
    # A random model is sure of nothing, so its fallbacks are bounded to keep the test short.
    return TranscriptionProfile(model=str(folder), window_s=2.0, temperatures=(0.0, 0.8), batch_size=8, pool_mib=16)


def sha(name: str) -> str:
    return name.rjust(64, "0")


def transcripts(engine: WhisperEngine, names: list[str], threads: int) -> dict[str, Transcript]:
    with ThreadPoolExecutor(threads) as pool:
        made = pool.map(lambda n: engine.transcribe(Path(f"{n}.m4a"), video_id=n, media_sha256=sha(n)), names)
        return dict(zip(names, made, strict=True))


def content(transcript: Transcript) -> Any:
    """What must not change; the rest says when and on what it was made."""
    return replace(transcript, created_at=None, wall_s=0.0, provenance=replace(transcript.provenance, batch_size=0))


def hooked(hook: Callable[[int], None]) -> Load:
    """The real model, whose encoder first asks `hook` about the size of the batch."""

    def load(ref: ModelRef, choice: DeviceChoice) -> LoadedWhisper:
        whisper = load_whisper(ref, choice)
        whisper.model.model.encoder.register_forward_pre_hook(
            lambda _, args, kwargs: hook(len((args or tuple(kwargs.values()))[0])), with_kwargs=True
        )
        return whisper

    return load


NAMES = [f"v{i}" for i in range(7)]


def windows(stem: str) -> int:
    return 1 + int(stem[1:]) * 2


@pytest.fixture(scope="module")
def wanted(folder: Path) -> dict[str, Transcript]:
    profile = TranscriptionProfile(model=str(folder), window_s=2.0, temperatures=(0.0, 0.8), batch_size=1, pool_mib=16)
    with WhisperEngine(profile, MemoryListener(windows)) as engine:
        return transcripts(engine, NAMES, 1)


@pytest.mark.parametrize(("batch_size", "threads"), [(1, 7), (3, 2), (8, 7), (64, 7)])
def test_a_transcript_does_not_depend_on_batch_order_or_neighbours(
    profile: TranscriptionProfile, wanted: dict[str, Transcript], batch_size: int, threads: int
) -> None:
    asked = profile.model_copy(update={"batch_size": batch_size})
    with WhisperEngine(asked, MemoryListener(windows)) as engine:
        found = transcripts(engine, NAMES[::-1], threads)
        stats = engine.stats()
    for name in NAMES:
        assert content(found[name]) == content(wanted[name])
        assert found[name].window_count == windows(name)
    assert stats.windows == sum(map(windows, NAMES))
    assert stats.fallbacks > 0
    assert batch_size == 1 or stats.mean_batch > 1
    assert stats.loaded_s > 0 < stats.busy_s
    assert len({t.text for t in wanted.values()}) == len(NAMES)


def test_a_transcript_is_well_formed(profile: TranscriptionProfile, wanted: dict[str, Transcript]) -> None:
    for transcript in wanted.values():
        assert transcript.fingerprint == expected_fingerprint(profile, transcript.media_sha256)
        assert [s.index for s in transcript.segments] == list(range(len(transcript.segments)))
        assert all(s.text.strip() == s.text != "" for s in transcript.segments)
        starts = [s.start_s for s in transcript.segments]
        assert starts == sorted(starts)
        assert all(0 <= s.start_s <= s.end_s <= transcript.duration_s for s in transcript.segments)
        assert transcript.language in {"en", "de", "fr"}
        assert transcript.provenance.device == "cpu"
        assert transcript.provenance.versions["torch"] == torch.__version__


def test_the_language_is_voted_by_the_first_windows_and_then_fixed(profile: TranscriptionProfile, folder: Path) -> None:
    from channelscribe.asr.encoder import Encoder
    from tests.channelscribe.asr.models import loaded, noises

    encoder = Encoder(loaded(folder))
    found = {}
    with WhisperEngine(profile, MemoryListener(lambda stem: 9)) as engine:
        for name in NAMES:
            found[name] = engine.transcribe(Path(f"{name}.m4a"), video_id=name, media_sha256=sha(name)).language
    for name, language in found.items():
        odds = encoder.probs(encoder.encode(encoder.features(noises(9, 2.0, int(name[1:]))[:5]))).sum(0)
        total = dict(zip(encoder.languages, odds.tolist(), strict=True))
        assert language == max(total, key=total.__getitem__)
    assert len(set(found.values())) > 1


def test_a_given_language_is_kept_and_an_unknown_one_refused(profile: TranscriptionProfile) -> None:
    for given, code in (("de", "de"), ("German", "de"), ("FR", "fr")):
        with WhisperEngine(profile.model_copy(update={"language": given}), MemoryListener()) as engine:
            assert transcripts(engine, ["v1"], 1)["v1"].language == code
    with WhisperEngine(profile.model_copy(update={"language": "tlh"}), MemoryListener()) as engine:
        with pytest.raises(EnvironmentFailure) as caught:
            transcripts(engine, ["v1"], 1)
        assert "de, en, fr" in caught.value.reason


def test_an_english_only_model_works(tmp_path: Path, profile: TranscriptionProfile) -> None:
    model = str(Tiny(seconds=2, languages=()).save(tmp_path))
    with WhisperEngine(profile.model_copy(update={"model": model}), MemoryListener()) as engine:
        assert transcripts(engine, ["v1"], 1)["v1"].language == "en"
    german = profile.model_copy(update={"model": model, "language": "de"})
    with WhisperEngine(german, MemoryListener()) as engine, pytest.raises(EnvironmentFailure):
        transcripts(engine, ["v1"], 1)


def _broken(stem: str, sounds: list[Any]) -> list[Any]:
    return [*sounds[:2], np.zeros((2, 2, 2), np.int16), *sounds[2:]] if stem == "v3" else sounds


def test_a_window_that_fails_fails_only_its_video(profile: TranscriptionProfile, wanted: dict[str, Transcript]) -> None:
    with WhisperEngine(profile, MemoryListener(windows, change=_broken)) as engine:
        with ThreadPoolExecutor(7) as pool:
            asked = {n: pool.submit(engine.transcribe, Path(n), video_id=n, media_sha256=sha(n)) for n in NAMES}
        error = asked.pop("v3").exception()
        assert isinstance(error, Poisoned)
        assert error.code == "window_failed"
        for name, future in asked.items():
            assert content(future.result()) == content(wanted[name])
        assert content(transcripts(engine, ["v2"], 1)["v2"]) == content(wanted["v2"])


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory."), RuntimeError("DefaultCPUAllocator: can't allocate memory")]
)
def test_too_little_memory_halves_the_batch_and_loses_nothing(
    profile: TranscriptionProfile, wanted: dict[str, Transcript], error: Exception
) -> None:
    seen: list[int] = []

    def hook(batch: int) -> None:
        seen.append(batch)
        if batch > 2:
            raise error

    asked = profile.model_copy(update={"batch_size": 16})
    with WhisperEngine(asked, MemoryListener(windows), load=hooked(hook)) as engine:
        found = transcripts(engine, NAMES, 7)
    assert {n: content(t) for n, t in found.items()} == {n: content(t) for n, t in wanted.items()}
    assert max(seen) > 2
    assert engine.stats().windows == sum(map(windows, NAMES))


def test_no_memory_even_for_one_window_is_told(profile: TranscriptionProfile) -> None:
    def hook(batch: int) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    engine = WhisperEngine(profile, MemoryListener(), load=hooked(hook))
    with engine, pytest.raises(EnvironmentFailure) as caught:
        transcripts(engine, NAMES, 7)
    assert caught.value.code == "out_of_memory"


def test_a_lost_device_stops_the_engine_and_tells_everybody(profile: TranscriptionProfile) -> None:
    def hook(batch: int) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    with WhisperEngine(profile, MemoryListener(), load=hooked(hook)) as engine:
        for _ in range(2):
            with pytest.raises(EnvironmentFailure) as caught:
                transcripts(engine, NAMES, 3)
            assert caught.value.code == "engine_stopped"


def test_a_model_that_does_not_load_is_told_to_everybody(profile: TranscriptionProfile) -> None:
    def load(ref: ModelRef, choice: DeviceChoice) -> LoadedWhisper:
        raise EnvironmentFailure("no weights today.", code="broken_model")

    with WhisperEngine(profile, MemoryListener(), load=load) as engine, ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(engine.transcribe, Path(n), video_id=n, media_sha256=sha(n)) for n in NAMES]
        assert [getattr(f.exception(), "code", None) for f in asked] == ["broken_model"] * 7


def test_closing_is_final_and_frees_everybody(profile: TranscriptionProfile) -> None:
    going = threading.Event()

    def before(index: int) -> None:
        if index == 3:
            going.set()

    engine = WhisperEngine(profile, MemoryListener(lambda stem: 400, before=before))
    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(engine.transcribe, Path(n), video_id=n, media_sha256=sha(n)) for n in NAMES[:4]]
        assert going.wait(60)
        engine.close()
        errors = [f.exception() for f in asked]
    assert all(isinstance(e, Transient) and e.code == "engine_closed" for e in errors)
    with pytest.raises(Transient):
        transcripts(engine, ["v1"], 1)
    engine.close()
    assert not [t for t in threading.enumerate() if t.name == "channelscribe-asr"]


def test_cancelling_one_leaves_the_others(profile: TranscriptionProfile, wanted: dict[str, Transcript]) -> None:
    listener = MemoryListener(lambda stem: 400 if stem == "v9" else windows(stem))
    stop = threading.Event()
    with WhisperEngine(profile, listener) as engine, ThreadPoolExecutor(2) as pool:
        long = pool.submit(engine.transcribe, Path("v9"), video_id="v9", media_sha256=sha("v9"), cancelled=stop.is_set)
        other = pool.submit(engine.transcribe, Path("v6"), video_id="v6", media_sha256=sha("v6"))
        assert content(other.result()) == content(wanted["v6"])
        stop.set()
        error = long.exception()
    assert isinstance(error, Transient)
    assert error.code == "cancelled"
    assert all(listening.closed for listening in listener.opened)


def test_a_short_video_does_not_wait_for_a_long_one(profile: TranscriptionProfile) -> None:
    listener = MemoryListener(lambda stem: 60 if stem == "v9" else 2)
    with WhisperEngine(profile, listener) as engine, ThreadPoolExecutor(2) as pool:
        heard: list[float] = []
        long = pool.submit(engine.transcribe, Path("v9"), video_id="v9", media_sha256=sha("v9"), progress=heard.append)
        while not heard:
            time.sleep(0.01)
        engine.transcribe(Path("v1"), video_id="v1", media_sha256=sha("v1"))
        assert not long.done()
        assert long.result().window_count == 60
    assert heard == sorted(heard)
    assert heard[-1] == pytest.approx(long.result().duration_s)


def test_nothing_to_hear_never_loads_the_model(profile: TranscriptionProfile) -> None:
    def load(ref: ModelRef, choice: DeviceChoice) -> LoadedWhisper:
        raise AssertionError("loaded for nothing")

    with WhisperEngine(profile, MemoryListener(lambda stem: 0), load=load) as engine:
        made = transcripts(engine, ["v1"], 1)["v1"]
    assert (made.segments, made.speech_s, made.window_count, made.language) == ((), 0.0, 0, "")


def test_a_listener_that_fails_fails_its_file_with_its_error(profile: TranscriptionProfile) -> None:
    def before(index: int) -> None:
        if index == 4:
            raise Poisoned("cut short.", code="truncated")

    with WhisperEngine(profile, MemoryListener(before=before)) as engine:
        with pytest.raises(Poisoned) as caught:
            transcripts(engine, ["v1"], 1)
        assert caught.value.code == "truncated"
        assert engine._pool.waiting_bytes == 0


def test_a_window_longer_than_the_model_hears_stops_everything(profile: TranscriptionProfile) -> None:
    longer = profile.model_copy(update={"window_s": 3.0})
    with WhisperEngine(longer, MemoryListener()) as engine, pytest.raises(EnvironmentFailure):
        transcripts(engine, ["v1"], 1)


def test_a_file_that_fails_after_its_vote_leaves_nothing_in_memory(profile: TranscriptionProfile) -> None:
    voted = threading.Event()

    def before(index: int) -> None:
        if index == 6 and not voted.is_set():
            kept = _kept_by(engine)
            voted.set()
            assert kept, "no window has voted: this test shows nothing"
            raise Poisoned("cut short.", code="truncated")

    slow = profile.model_copy(update={"batch_size": 1})
    with WhisperEngine(slow, MemoryListener(lambda stem: 8, before=before)) as engine:
        with pytest.raises(Poisoned):
            transcripts(engine, ["v1"], 1)
        transcripts(engine, ["v2"], 1)
        assert engine._worker._scheduler is not None
        assert engine._worker._scheduler.waiting == 0
        assert engine.stats().waiting == 0


def _kept_by(engine: WhisperEngine) -> bool:
    """Waits until some windows have voted and wait for their turn."""
    for _ in range(2000):
        scheduler = engine._worker._scheduler
        if scheduler is not None and scheduler._intake.ready:
            return True
        time.sleep(0.005)
    return False


def test_the_registry_opens_by_name_and_refuses_others(profile: TranscriptionProfile) -> None:
    with open_engine(profile) as engine:
        assert engine.name == "whisper"
        assert engine.stats().windows == 0
        assert engine.stats().peak_memory_bytes is None
    with pytest.raises(UsageError):
        open_engine(profile, "parrot")
    with pytest.raises(ChannelscribeError):
        expected_fingerprint(profile, "0" * 64, "parrot")


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    yield
    assert not [t for t in threading.enumerate() if t.name == "channelscribe-asr"]

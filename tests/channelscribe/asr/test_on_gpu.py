"""The whole engine on a stand-in with a GPU's manners: late copies, graphs, streams, memory of its own, two devices.

What a CPU cannot show (a read-back outside inference mode, a wait of the host in the steady phase, a graph on another
device) shows here.
"""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest
import torch

from channelscribe.asr import decoding
from channelscribe.asr.device import DeviceChoice
from channelscribe.asr.judging import Judge
from channelscribe.asr.loading import LoadedWhisper, load_whisper
from channelscribe.asr.model import ModelRef
from channelscribe.asr.slots import Slots
from channelscribe.asr.whisper import WhisperEngine
from channelscribe.core.errors import EnvironmentFailure
from channelscribe.core.profile import TranscriptionProfile
from tests.channelscribe.asr.models import SHIPPED, Tiny
from tests.channelscribe.asr.parts import MemoryListener
from tests.channelscribe.asr.test_scheduling import Watched, content, run, windows
from tests.emulators.gpu_device import GpuStandIn, Machine, faults
from tests.emulators.speech import SpeechBank, from_clips

NAMES = ["v1", "v2", "v3"]
FEW = NAMES[:2]
RATE_HZ = 16_000
WINDOWS = sum(map(windows, NAMES))
# Where the engine waits for the device on purpose: a chunk's tokens, and a micro-batch that the slots need.
MEANT_WAITS = {"channelscribe/asr/reading.py", "channelscribe/asr/encoder.py"}
LOADING = {"channelscribe/asr/loading.py", "channelscribe/asr/rules.py", "channelscribe/asr/mel.py"}

Load = Callable[[ModelRef, DeviceChoice], LoadedWhisper]


def onto(gpu: GpuStandIn, dtype: str = "float32") -> Load:
    return lambda ref, choice: load_whisper(ref, DeviceChoice(choice.device, dtype, "test"), gpu)


@pytest.fixture(scope="module")
def profile(tmp_path_factory: pytest.TempPathFactory) -> TranscriptionProfile:
    folder = Tiny(seconds=2, languages=("en", "de"), seed=4, positions=40).save(tmp_path_factory.mktemp("tiny"))
    return TranscriptionProfile(model=str(folder), window_s=2.0, temperatures=(0.0, 0.6), batch_size=8, pool_mib=16)


@pytest.fixture(scope="module")
def wanted(profile: TranscriptionProfile) -> dict[str, Any]:
    """On the CPU, one window at a time."""
    with WhisperEngine(profile.model_copy(update={"batch_size": 1}), MemoryListener(windows)) as engine:
        return content(run(engine, NAMES, 1))


def texts(found: dict[str, Any]) -> dict[str, Any]:
    return {
        name: (made.language, [(s.text, s.start_s, s.end_s) for s in made.segments]) for name, made in found.items()
    }


def test_the_text_is_that_of_the_cpu_and_nothing_waits_but_on_purpose(
    profile: TranscriptionProfile, wanted: dict[str, Any]
) -> None:
    gpu = GpuStandIn()
    with WhisperEngine(profile, MemoryListener(windows), load=onto(gpu)) as engine:
        assert texts(run(engine, NAMES)) == texts(wanted)
        stats = engine.stats()
    assert not gpu.hazards
    assert {wait.where.partition(":")[0] for wait in gpu.waits if wait.what == "event"} <= MEANT_WAITS
    assert {wait.where.partition(":")[0] for wait in gpu.waits if wait.what != "event"} <= LOADING
    assert (stats.windows, stats.waiting, stats.encoded) == (WINDOWS, 0, WINDOWS)
    assert stats.refills > 0
    replayed, stepped = gpu.launches["0:current", "replay"], 4 * stats.batches
    assert replayed > 0.9 * stepped, "few shapes, and each is launched one by one only once"
    assert gpu.launches["0:background", "replay"] > 0


@pytest.mark.parametrize(("dtype", "kv_bits"), [("float32", 16), ("bfloat16", 16), ("bfloat16", 8)])
def test_real_speech_comes_out_word_for_word(dtype: str, kv_bits: int) -> None:
    bank, gpu = SpeechBank.load(), GpuStandIn(queries_until_done=2)
    scripts = [bank.clips[at : at + 2] for at in range(0, 8, 4)]
    sounds = [from_clips(clips, gap_s=0.4) for clips in scripts]
    profile = TranscriptionProfile(model=str(SHIPPED), language="en", batch_size=2, window_s=10.0, kv_bits=kv_bits)
    listener = MemoryListener(lambda stem: 1, change=lambda stem, _: [sounds[int(stem[1:])].pcm[: 10 * RATE_HZ]])
    with WhisperEngine(profile, listener, load=onto(gpu, dtype)) as engine:
        found = run(engine, [f"v{at}" for at in range(len(scripts))])
    for at, clips in enumerate(scripts):
        said = " ".join(clip.text for clip in clips)
        assert plain(found[f"v{at}"].text) == plain(said)
        assert found[f"v{at}"].provenance.dtype
    assert not gpu.hazards


def plain(text: str) -> list[str]:
    return "".join(c for c in text.lower() if c.isalnum() or c.isspace()).split()


def test_words_are_timed_as_on_the_cpu() -> None:
    """Trained weights: a random model's attention is so even that rounding decides between two paths through it."""
    clips, gpu = SpeechBank.load().clips[3:5], GpuStandIn()
    listener = MemoryListener(lambda stem: 1, change=lambda stem, _: [from_clips(clips, gap_s=0.4).pcm])
    profile = TranscriptionProfile(model=str(SHIPPED), language="en", batch_size=2, window_s=10.0, words=True)
    with WhisperEngine(profile, listener) as engine:
        wanted = run(engine, ["v0"])["v0"]
    with WhisperEngine(profile, listener, load=onto(gpu)) as engine:
        found = run(engine, ["v0"])["v0"]
    assert not gpu.hazards
    theirs = [word for segment in wanted.segments for word in segment.words]
    ours = [word for segment in found.segments for word in segment.words]
    assert len(theirs) > 3
    assert [(w.word, w.start_s, w.end_s) for w in ours] == [(w.word, w.start_s, w.end_s) for w in theirs]
    assert [w.probability for w in ours] == pytest.approx([w.probability for w in theirs], abs=1e-3)


def test_the_second_gpu_is_chosen_in_the_thread_that_launches(
    profile: TranscriptionProfile, wanted: dict[str, Any]
) -> None:
    """Captured on another device than the thread's, a graph is empty, and its replay says old tokens again."""
    machine = Machine()
    first, second = GpuStandIn(0, machine=machine), GpuStandIn(1, machine=machine)
    with WhisperEngine(profile, MemoryListener(windows), load=onto(second)) as engine:
        assert texts(run(engine, NAMES)) == texts(wanted)
    assert second.launches["1:current", "replay"] > 0
    assert not first.launches
    assert not (first.hazards or second.hazards)


def test_only_the_encoders_few_sizes_are_left_to_a_backend_that_plans_each_shape(profile: TranscriptionProfile) -> None:
    gpu = GpuStandIn()
    with WhisperEngine(profile, MemoryListener(windows), load=onto(gpu)) as engine:
        run(engine, NAMES)
    assert gpu.attention_shapes
    assert all(query == keys and query[0] in (1, 2, 4, 8) for query, keys in gpu.attention_shapes), "over itself alone"


def test_texts_are_made_while_the_next_steps_run(
    profile: TranscriptionProfile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Spelling a window is the host's work, in which a GPU that was given nothing would wait."""
    order: list[str] = []

    def watch(kind: type[Slots] | type[Judge], name: str) -> None:
        real = getattr(kind, name)

        def call(*given: Any, **more: Any) -> Any:
            order.append(name)
            return real(*given, **more)

        monkeypatch.setattr(kind, name, call)

    watch(Slots, "launch")
    watch(Slots, "collect")
    watch(Judge, "hear")
    with WhisperEngine(profile, MemoryListener(windows), load=onto(GpuStandIn())) as engine:
        run(engine, NAMES)
    before, last = list[str](), ""
    for name in order:
        before += [last] if name == "hear" else []
        last = last if name == "hear" else name
    assert before.count("launch") > len(before) / 2, "but for the last, when no window is left to launch for"


class Striking(Watched):
    """A gate that calls `strike` before the engine's nth step of a stage."""

    def __init__(self, stage: str, nth: int, strike: Callable[[], None]) -> None:
        super().__init__()
        self._stage, self._left, self._strike = stage, nth, strike

    def step(self, stage: str, batch: int, stopping: Callable[[], bool]) -> AbstractContextManager[None]:
        if stage == self._stage:
            self._left -= 1
            if self._left == 0:
                self._strike()
        return super().step(stage, batch, stopping)


class Slowed(Watched):
    """A gate whose guard has steps rest, in proportion to how long they took; notes how many looked at the device."""

    slowed = True

    def __init__(self, gpu: GpuStandIn) -> None:
        super().__init__()
        self._gpu, self.left_behind = gpu, list[str]()

    @contextmanager
    def _step(self, stage: str) -> Iterator[None]:
        before = len(self._gpu.waits)
        yield
        looked = [wait for wait in self._gpu.waits[before:] if wait.what == "event"]
        if stage in ("encode", "decode") and not looked:
            self.left_behind.append(stage)

    def step(self, stage: str, batch: int, stopping: Callable[[], bool]) -> AbstractContextManager[None]:
        super().step(stage, batch, stopping)
        return self._step(stage)


def test_a_step_that_is_to_rest_leaves_no_work_behind(profile: TranscriptionProfile, wanted: dict[str, Any]) -> None:
    """Else the GPU would go on with it while the step rests."""
    gpu = GpuStandIn()
    gate = Slowed(gpu)
    with WhisperEngine(profile, MemoryListener(windows), load=onto(gpu), gate=gate) as engine:
        assert texts(run(engine, NAMES)) == texts(wanted)
    assert {stage for stage, _ in gate.steps} >= {"encode", "decode"}
    assert not gate.left_behind
    gpu = GpuStandIn()
    gate = Slowed(gpu)
    gate.slowed = False
    with WhisperEngine(profile, MemoryListener(windows), load=onto(gpu), gate=gate) as engine:
        run(engine, NAMES)
    assert set(gate.left_behind) == {"encode", "decode"}


class Fenced(Watched):
    """A gate that notes whether anything was launched between two steps, where no guard could hold it."""

    def __init__(self, gpu: GpuStandIn) -> None:
        super().__init__()
        self._gpu, self._launched, self.outside = gpu, 0, list[str]()

    @contextmanager
    def _step(self, stage: str) -> Iterator[None]:
        if self._gpu.launches.total() != self._launched:
            self.outside.append(stage)
        yield
        self._launched = self._gpu.launches.total()

    def step(self, stage: str, batch: int, stopping: Callable[[], bool]) -> AbstractContextManager[None]:
        super().step(stage, batch, stopping)
        return self._step(stage)


def test_nothing_is_launched_where_the_guard_could_not_hold_it(profile: TranscriptionProfile) -> None:
    gpu = GpuStandIn()
    gate = Fenced(gpu)
    with WhisperEngine(profile, MemoryListener(windows), load=onto(gpu), gate=gate) as engine:
        run(engine, FEW)
    assert gate.steps[0] == ("load", 1)
    assert len(gate.steps) > 3
    assert not gate.outside


def test_memory_refused_again_while_the_encoder_is_made_smaller(
    profile: TranscriptionProfile, wanted: dict[str, Any]
) -> None:
    gpu = GpuStandIn()
    gate = Striking("encode", 1, lambda: gpu.fail("allocation", faults.out_of_memory, times=2))
    with WhisperEngine(profile, MemoryListener(windows), load=onto(gpu), gate=gate) as engine:
        assert texts(run(engine, FEW)) == texts({name: wanted[name] for name in FEW})
        assert engine.stats().mean_encoded <= 2
    assert gate.refusals == 2
    assert not gpu.hazards


REFUSALS: dict[str, tuple[faults.Call, faults.MakeError]] = {
    "allocation": ("allocation", faults.out_of_memory),
    "product": ("operator", faults.cublas_out_of_memory),
    "convolution": ("operator", faults.cudnn_out_of_memory),
    "spectrum": ("operator", faults.cufft_out_of_memory),
    "pinned memory": ("host_tensor", faults.cuda_out_of_memory),
    "graph": ("capture", faults.cuda_out_of_memory),
    "replay": ("replay", faults.cuda_out_of_memory),
    "upload": ("upload", faults.cuda_out_of_memory),
    "look": ("synchronize", faults.out_of_memory),
}


@pytest.mark.parametrize(
    ("name", "stage"),
    [
        *((name, "decode") for name in REFUSALS),
        *((name, "encode") for name in ("convolution", "pinned memory", "look")),
    ],
)
def test_refused_memory_means_less_at_once_and_nothing_is_lost(
    profile: TranscriptionProfile, wanted: dict[str, Any], name: str, stage: str
) -> None:
    gpu, (at, error) = GpuStandIn(), REFUSALS[name]
    gate = Striking(stage, 1 if stage == "encode" else 2, lambda: gpu.fail(at, error))
    with WhisperEngine(profile, MemoryListener(windows), load=onto(gpu), gate=gate) as engine:
        assert texts(run(engine, FEW)) == texts({name: wanted[name] for name in FEW})
        assert engine.stats().waiting == 0
    assert gate.refusals == 1
    assert not gpu.hazards


@pytest.mark.parametrize("nth", [1, 40, 200])
def test_memory_refused_while_the_engine_is_built(
    profile: TranscriptionProfile, wanted: dict[str, Any], nth: int
) -> None:
    gpu = GpuStandIn()

    def load(ref: ModelRef, choice: DeviceChoice) -> LoadedWhisper:
        whisper = onto(gpu)(ref, choice)
        gpu.fail("operator", faults.out_of_memory, nth=nth)
        return whisper

    with WhisperEngine(profile, MemoryListener(windows), load=load) as engine:
        assert texts(run(engine, FEW)) == texts({name: wanted[name] for name in FEW})
    assert not gpu.hazards


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("nth", [3, 40])
def test_a_lost_gpu_is_told_to_everybody_and_nobodys_file_is_blamed(
    profile: TranscriptionProfile, nth: int, late: bool
) -> None:
    gpu = GpuStandIn()

    def load(ref: ModelRef, choice: DeviceChoice) -> LoadedWhisper:
        whisper = onto(gpu)(ref, choice)
        gpu.fail("replay", faults.illegal_access, nth=nth, late=late)
        return whisper

    with WhisperEngine(profile, MemoryListener(windows), load=load) as engine, ThreadPoolExecutor(4) as pool:
        errors = [pool.submit(run, engine, [name], 1).exception() for name in NAMES]
    told = [error for error in errors if error is not None]
    assert told, "it was lost before the last window was through"
    assert {(type(error), getattr(error, "code", "")) for error in told} == {(EnvironmentFailure, "engine_stopped")}


@pytest.mark.parametrize("nth", [1, 2])
def test_a_capture_that_fails_costs_speed_and_no_word(
    profile: TranscriptionProfile, wanted: dict[str, Any], nth: int, caplog: pytest.LogCaptureFixture
) -> None:
    gpu = GpuStandIn()
    gpu.fail("capture", faults.capture_invalidated, nth=nth)
    with caplog.at_level(logging.WARNING), WhisperEngine(profile, MemoryListener(windows), load=onto(gpu)) as engine:
        assert texts(run(engine, FEW)) == texts({name: wanted[name] for name in FEW})
        assert engine.stats().slots == 8
    assert sum("could not be captured" in record.message for record in caplog.records) == 1
    assert not gpu.hazards


def test_smaller_slots_are_built_when_the_larger_ones_are_gone(
    profile: TranscriptionProfile, wanted: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is hardly room for both, and the error that came through the larger ones must not keep them."""
    made: list[weakref.ref[Slots]] = []
    there: list[tuple[int, list[int]]] = []

    class Seen(Slots):
        def __init__(self, whisper: LoadedWhisper, count: int, **more: Any) -> None:
            there.append((count, [slots.count for ref in made if (slots := ref()) is not None]))
            made.append(weakref.ref(self))
            super().__init__(whisper, count, **more)

    monkeypatch.setattr(decoding, "Slots", Seen)
    gpu = GpuStandIn()
    gate = Striking("decode", 4, lambda: gpu.fail("replay", faults.out_of_memory))
    with WhisperEngine(profile, MemoryListener(windows), load=onto(gpu), gate=gate) as engine:
        assert texts(run(engine, NAMES)) == texts(wanted)
        assert engine.stats().slots == 4
    assert there == [(8, []), (4, [])]


def test_no_memory_even_for_one_window_is_told(profile: TranscriptionProfile) -> None:
    gpu = GpuStandIn()

    def load(ref: ModelRef, choice: DeviceChoice) -> LoadedWhisper:
        whisper = onto(gpu)(ref, choice)
        gpu.fail("operator", faults.cublas_out_of_memory, times=10_000)
        return whisper

    with (
        WhisperEngine(profile, MemoryListener(windows), load=load) as engine,
        pytest.raises(EnvironmentFailure) as told,
    ):
        run(engine, NAMES)
    assert told.value.code == "out_of_memory"


def test_a_model_that_does_not_fit_is_told_as_memory_and_not_as_a_broken_model(profile: TranscriptionProfile) -> None:
    gpu = GpuStandIn(capacity=100_000)
    with (
        WhisperEngine(profile, MemoryListener(windows), load=onto(gpu)) as engine,
        pytest.raises(EnvironmentFailure) as e,
    ):
        run(engine, NAMES[:1])
    assert e.value.code == "out_of_memory"


def test_torch_computes_float32_in_full_once_a_model_is_loaded(profile: TranscriptionProfile) -> None:
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.allow_tf32 = True
    with WhisperEngine(profile, MemoryListener(lambda stem: 1)) as engine:
        run(engine, ["v1"])
    assert torch.get_float32_matmul_precision() == "highest"
    assert not torch.backends.cudnn.allow_tf32


def test_an_engine_that_is_closed_leaves_no_memory_behind(profile: TranscriptionProfile) -> None:
    gpu = GpuStandIn()
    for _ in range(2):
        with WhisperEngine(profile, MemoryListener(windows), load=onto(gpu)) as engine:
            run(engine, NAMES[:2])
        del engine
    gpu.release_memory()
    assert gpu.memory().allocated == 0

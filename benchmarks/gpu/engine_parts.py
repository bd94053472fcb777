"""The engine's inner parts as the measurements on a GPU take them: the one module here that knows their names.

What it reaches into is private to the engine and changes with it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor

from channelscribe.asr.accelerator import Accelerator
from channelscribe.asr.device import DeviceChoice
from channelscribe.asr.encoder import Encoder
from channelscribe.asr.encoder_pass import EncoderPass
from channelscribe.asr.graphs import Replayer
from channelscribe.asr.loading import LoadedWhisper, load_whisper
from channelscribe.asr.model import ModelRef
from channelscribe.asr.single_query import TWIN
from channelscribe.asr.slots import Slots, Start
from channelscribe.asr.step import Shape

Call = Callable[[], object]
_ROOM = 24  # more steps than are timed at one length, each of which goes one place on


def loaded(folder: Path, device: str, dtype: str) -> LoadedWhisper:
    return load_whisper(ModelRef(folder.name, "built here", folder), DeviceChoice(device, dtype, "asked for"))


class Timer:
    """Milliseconds of what is launched, by the device's own events where it has them."""

    def __init__(self, accelerator: Accelerator, times: int) -> None:
        self._accelerator, self._times = accelerator, times

    def sync(self) -> None:
        """Waits for every stream."""
        if self._accelerator.device.type == "cuda":
            torch.cuda.synchronize(self._accelerator.device)

    def first_s(self, work: Call) -> float:
        """Seconds of a call that may have to prepare something, its end awaited."""
        self.sync()
        begun_s = time.perf_counter()
        work()
        self.sync()
        return round(time.perf_counter() - begun_s, 3)

    def ms(self, work: Call, warm: int = 1) -> float:
        """The median of a few calls, after others that do not count."""
        for _ in range(warm):
            work()
        return round(median(self._once(work) for _ in range(self._times)), 4)

    def _once(self, work: Call) -> float:
        self.sync()
        if self._accelerator.device.type != "cuda":
            begun_s = time.perf_counter()
            work()
            return 1e3 * (time.perf_counter() - begun_s)
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        work()
        end.record()
        end.synchronize()
        return float(begin.elapsed_time(end))

    def host_ms(self, work: Call) -> float:
        """What a call costs the host, when nothing is queued before it."""
        taken = []
        for _ in range(self._times):
            self.sync()
            begun_s = time.perf_counter()
            work()
            taken.append(1e3 * (time.perf_counter() - begun_s))
        self.sync()
        return round(median(taken), 4)


@dataclass(slots=True)
class Passes:
    """The encoder by itself: recorded as the engine has it, launched one by one, and the modules of transformers."""

    whisper: LoadedWhisper
    passes: EncoderPass
    features: Tensor

    @classmethod
    def of(cls, whisper: LoadedWhisper, most: int) -> Passes:
        """Random spectra of `most` windows. Made as the engine makes it: weights on the stream of everything else, all
        that follows on that of low priority, on which it is to be called."""
        config, accelerator = whisper.model.config, whisper.accelerator
        shape = (most, config.num_mel_bins, 2 * config.max_source_positions)
        with accelerator.current():
            passes, made = EncoderPass(whisper), accelerator.record()
        with accelerator.background():
            accelerator.wait_for(made)
            passes.allocate(most)
            return cls(whisper, passes, torch.randn(shape, device=whisper.device).to(whisper.dtype))

    def recorded(self, size: int) -> None:
        self.passes(self.features[:size])

    @torch.inference_mode()
    def eager(self, size: int) -> None:
        self.passes._run(size)

    @torch.inference_mode()
    def modules(self, size: int) -> None:
        self.whisper.model.model.encoder(self.features[:size])


class Steps:
    """Slots full of random windows, and one decode step over them."""

    def __init__(self, whisper: LoadedWhisper, rows: int, *, eight_bits: bool = False) -> None:
        self.rows, self.slots = rows, Slots(whisper, rows, few_shapes=True, eight_bits=eight_bits)
        config = whisper.model.config
        shape = (config.max_source_positions, config.d_model)
        self._hidden = [torch.randn(shape, device=whisper.device).to(whisper.dtype) for _ in range(4)]
        self._prompt = whisper.vocabulary.prompt("en")

    def fill(self) -> None:
        """Admits as many as there are slots; those that were there are dropped."""
        self.slots.clear()
        self.slots.admit([Start(at, self._hidden[at % 4], self._prompt) for at in range(self.rows)])

    @torch.inference_mode()
    def stand_before(self, length: int) -> None:
        """All windows are so far that the next steps read up to `length` places of their own."""
        self.slots._state.place.fill_(max(0, length - _ROOM))

    def recorded(self, length: int) -> None:
        self.slots._step(Shape(self.rows, length, False, True))

    def eager(self, length: int) -> None:
        self.slots._step._function(Shape(self.rows, length, False, True))

    @property
    def graphs(self) -> int:
        return self.slots.graphs


@contextmanager
def first_calls() -> Iterator[dict[str, float]]:
    """Host seconds of every shape that is met for the first time inside the block, by its name."""
    real, found = Replayer.__call__, dict[str, float]()
    seen: dict[int, set[Any]] = {}

    def call(self: Any, key: Any) -> None:
        met = seen.setdefault(id(self), set(self._replays))
        if key in met:
            real(self, key)
            return
        met.add(key)
        begun_s = time.perf_counter()
        real(self, key)
        found[_named(key)] = round(time.perf_counter() - begun_s, 4)

    Replayer.__call__ = call  # type: ignore[method-assign]
    try:
        yield found
    finally:
        Replayer.__call__ = real  # type: ignore[method-assign]


def _named(key: Any) -> str:
    return f"{key.rows} rows, {key.length} places" if isinstance(key, Shape) else f"{key} windows encoded"


def encoded(whisper: LoadedWhisper, sounds: Any) -> tuple[list[Tensor], Tensor]:
    """Encoder output of each window as the engine gets it, and the spectra [windows, mels, frames]."""
    encoder = Encoder(whisper)
    rows: list[Tensor] = []
    for at in range(0, len(sounds), 8):
        rows += encoder.start(sounds[at : at + 8]).fetch()[0]
    return rows, encoder.features(sounds)


def attentions(whisper: LoadedWhisper) -> dict[str, tuple[LoadedWhisper, bool]]:
    """The ways of attending that this device has, the engine's own choice first, and whether they keep 8 bits."""
    own = whisper.single_query.name
    twin = {} if own == TWIN.name else {TWIN.name: (replace(whisper, single_query=TWIN), False)}
    return {own: (whisper, False), **twin, f"{own}, 8 bits": (whisper, True)}

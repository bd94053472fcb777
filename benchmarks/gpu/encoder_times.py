"""What the encoder takes by the size of its micro-batch: recorded, launched one by one, and as transformers has it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import torch

from benchmarks.gpu import engine_parts
from benchmarks.gpu.engine_parts import Passes, Timer
from benchmarks.gpu.kernels import kernel_table
from benchmarks.gpu.modes import ALONE, Mode
from benchmarks.gpu.notes import Notes
from benchmarks.gpu.stage import Stage
from channelscribe.asr.encoder import Encoder
from channelscribe.asr.loading import LoadedWhisper


def encoder_times(stage: Stage, notes: Notes, arch: str) -> None:
    """`by_mode`: milliseconds a window at the largest size, for the plan's choice of a mode."""
    whisper = engine_parts.loaded(Path(stage.folder, arch), stage.device, stage.dtype)
    accelerator, most = whisper.accelerator, max(stage.micro_batches)
    with accelerator.current(), accelerator.background():
        timer, passes = Timer(accelerator, stage.times), Passes.of(whisper, most)
        first, recorded = {}, {}
        for size in stage.micro_batches:
            first[str(size)] = timer.first_s(partial(passes.recorded, size))
            recorded[str(size)] = timer.ms(partial(passes.recorded, size))
            notes.put(first_call_s=first, recorded_ms=recorded)
        eager = timer.ms(lambda: passes.eager(most))
        modules = timer.ms(lambda: passes.modules(most))
        notes.put(most=most, eager_ms=eager, modules_ms=modules, graphs=passes.passes._replay.captured)
        costs = {Mode(): recorded[str(most)], Mode(kernel=False): recorded[str(most)], Mode(graphs=False): eager}
        with cudnn_attention(off=True):
            again = Passes.of(whisper, most)
            plain_first = timer.first_s(lambda: again.recorded(most))
            costs[Mode(cudnn=False)] = timer.ms(lambda: again.recorded(most))
        notes.put(without_cudnn_ms=costs[Mode(cudnn=False)], without_cudnn_first_s=plain_first)
        notes.put(kernels=kernel_table(lambda: passes.eager(most), timer))
    notes.put(by_mode={mode.name: round(costs[mode] / most, 4) for mode in ALONE})
    notes.put(**_whole(stage, whisper, timer, most))


def _whole(stage: Stage, whisper: LoadedWhisper, timer: Timer, most: int) -> dict[str, float]:
    """From int16 to encoder output as the engine does it: the host's part, and until it is there."""
    encoder = Encoder(whisper, most)
    noise = np.random.default_rng(1)
    sounds = [(noise.standard_normal(480_000) * 2000).astype(np.int16) for _ in range(most)]
    with whisper.accelerator.current():
        encoder.start(sounds).fetch()
        host_ms = timer.host_ms(lambda: encoder.start(sounds))
        mel_ms = timer.ms(lambda: encoder.features(sounds))
        whole_s = timer.first_s(lambda: encoder.start(sounds).fetch())
    return {"start_host_ms": host_ms, "mel_ms": mel_ms, "start_to_fetch_ms": round(1e3 * whole_s, 2)}


@contextmanager
def cudnn_attention(*, off: bool) -> Iterator[None]:
    before = torch.backends.cuda.cudnn_sdp_enabled()
    torch.backends.cuda.enable_cudnn_sdp(before and not off)
    try:
        yield
    finally:
        torch.backends.cuda.enable_cudnn_sdp(before)

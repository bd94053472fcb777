"""What a decode step takes by the number of rows and places, and what the host pays for launching and reading it."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.gpu import engine_parts
from benchmarks.gpu.engine_parts import Steps, Timer
from benchmarks.gpu.kernels import kernel_table
from benchmarks.gpu.modes import ALONE, Mode
from benchmarks.gpu.notes import Notes
from benchmarks.gpu.stage import Stage
from channelscribe.asr.loading import LoadedWhisper

_CHUNK = 4


def step_times(stage: Stage, notes: Notes, arch: str) -> None:
    """By the way of attending over the audio, rows and places; `by_mode` is for the plan's choice of a mode."""
    whisper = engine_parts.loaded(Path(stage.folder, arch), stage.device, stage.dtype)
    every = stage.second_rows if stage.is_second(arch) else stage.rows
    found: dict[str, dict[str, Any]] = {}
    with whisper.accelerator.current():
        timer = Timer(whisper.accelerator, stage.times)
        notes.put(admission=admission(whisper, every[0], timer))
        for attention, (attending, eight_bits) in engine_parts.attentions(whisper).items():
            found[attention] = {}
            for rows in every:
                steps = Steps(attending, rows, eight_bits=eight_bits)
                found[attention][str(rows)] = by_length(steps, stage.lengths, timer)
                del steps
                notes.put(attention=found)
                whisper.accelerator.release_memory()
        steps = Steps(whisper, every[0])
        steps.fill()
        middle = stage.lengths[len(stage.lengths) // 2]
        notes.put(kernels=kernel_table(lambda: steps.eager(middle), timer))
    notes.put(by_mode=by_mode(found, str(every[0]), str(middle)))


def by_mode(found: dict[str, dict[str, Any]], rows: str, length: str) -> dict[str, float]:
    """Milliseconds a step and row. The kernel's is the first way of attending; without a twin it stands for both."""
    fast = next(iter(found.values()))[rows]
    plain = found.get("twin", {}).get(rows, fast)
    ms = {mode: fast["recorded_ms"][length] for mode in ALONE}
    ms[Mode(kernel=False)], ms[Mode(graphs=False)] = plain["recorded_ms"][length], fast["eager_ms"]
    return {mode.name: round(one / int(rows), 6) for mode, one in ms.items()}


def by_length(steps: Steps, lengths: tuple[int, ...], timer: Timer) -> dict[str, Any]:
    """First call in seconds, then milliseconds, recorded; one length launched one by one."""
    steps.fill()
    found: dict[str, Any] = {"first_call_s": {}, "recorded_ms": {}}
    for length in lengths:
        steps.stand_before(length)
        found["first_call_s"][str(length)] = timer.first_s(partial(steps.recorded, length))
        found["recorded_ms"][str(length)] = timer.ms(partial(steps.recorded, length), warm=2)
    middle = lengths[len(lengths) // 2]
    steps.stand_before(middle)
    return found | {"eager_ms": timer.ms(lambda: steps.eager(middle)), "graphs": steps.graphs}


def admission(whisper: LoadedWhisper, rows: int, timer: Timer) -> dict[str, float]:
    """Of all slots at once: until it is done, and the host's part; then a chunk's launch and reading on the host."""
    steps = Steps(whisper, rows)
    first_s = timer.first_s(steps.fill)
    fill_ms, fill_host_ms = timer.ms(steps.fill), timer.host_ms(steps.fill)
    launches, readings = [], []
    for _ in range(5):
        steps.fill()  # random windows may end as soon as they are looked at
        timer.sync()
        begun_s = time.perf_counter()
        steps.slots.launch(_CHUNK)
        launches.append(time.perf_counter() - begun_s)
        steps.slots.launch(_CHUNK)  # what is read below is the chunk before
        timer.sync()
        begun_s = time.perf_counter()
        steps.slots.collect()
        readings.append(time.perf_counter() - begun_s)
    return {
        "rows": rows,
        "first_s": first_s,
        "ms_a_window": round(fill_ms / rows, 4),
        "host_ms_a_window": round(fill_host_ms / rows, 4),
        "launch_host_ms_a_step": round(1e3 * sorted(launches)[2] / _CHUNK, 4),
        "collect_host_ms_a_chunk": round(1e3 * sorted(readings)[2], 4),
    }

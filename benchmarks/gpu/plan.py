"""Which parts the twelve minutes have, in the order of their worth; what one found may decide about the next.

`session` runs them. The plan is a generator: it gives a part and is sent what became of it.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.gpu.modes import ALONE, AS_IT_IS, TOGETHER, Mode, fastest
from benchmarks.gpu.outcome import RIGHT, Outcome
from benchmarks.gpu.stage import Stage

GIB = 1 << 30
EIGHT_BITS = "8-bit keys and values"
FAULTS = ("hang", "crash", "abort", "memory", "garbage", "orphan")
Asked = Generator["Part", Outcome, None]


@dataclass(frozen=True, slots=True)
class Part:
    """`work` names a function of `part.WORKS`. Not begun with less than `least_s` left, stopped after `limit_s`."""

    name: str
    work: str
    limit_s: float
    least_s: float
    arguments: dict[str, Any] = field(default_factory=dict)
    mode: Mode = AS_IT_IS
    keeps: tuple[str, ...] = ()
    memory_bytes: int = 64 * GIB


@dataclass(slots=True)
class Found:
    """What the plan itself learns: the modes that were right, and in which one the rest runs."""

    right: list[Mode] = field(default_factory=list)
    mode: Mode = AS_IT_IS


def plan(stage: Stage, found: Found, faults: Sequence[str] = ()) -> Asked:
    """Correct first, then how fast, then what explains it. Faults on purpose come where most is still to come."""
    yield Part("facts", "facts", 45, 10)
    yield from correctness(found)
    for fault in faults:
        yield broken(fault)
    yield Part(f"checkpoint {stage.first}", "checkpoint", 60, 15, {"arch": stage.first})
    yield from timings(stage, found)
    yield from races(stage, found.mode)


def correctness(found: Found) -> Asked:
    """Each setting alone; where none is right, several together. The first that is right is the mode from then on."""
    for mode in (*ALONE, *TOGETHER):
        if mode in TOGETHER and found.right:
            break
        outcome = yield Part(f"correctness {mode.name}", "correctness", 45, 12, mode=mode)
        if outcome.state == RIGHT:
            found.right.append(mode)
    found.mode = found.right[0] if found.right else TOGETHER[-1]


def timings(stage: Stage, found: Found) -> Asked:
    """Encoder and step by shape; of the modes that were right the fastest is taken."""
    encoder = yield Part(f"encoder {stage.first}", "encoder", 70, 20, {"arch": stage.first}, found.mode)
    steps = yield Part(f"steps {stage.first}", "steps", 80, 20, {"arch": stage.first}, found.mode)
    costs = {mode.name: ms for mode in found.right if (ms := window_ms(mode, encoder, steps)) is not None}
    found.mode = fastest(found.right, costs) or found.mode


def window_ms(mode: Mode, encoder: Outcome, steps: Outcome, tokens: int = 123) -> float | None:
    """What a window of 120 tokens and its prompt costs in a mode, from both parts' `by_mode`; None if one lacks it."""
    encoding = encoder.found.get("by_mode", {}).get(mode.name)
    stepping = steps.found.get("by_mode", {}).get(mode.name)
    return None if encoding is None or stepping is None else float(encoding) + tokens * float(stepping)


def races(stage: Stage, mode: Mode) -> Asked:
    """Whole runs of both shapes and of the peers, the guard, files, the flow."""
    one, two = stage.first, stage.second

    def race(name: str, limit_s: float, least_s: float, **job: Any) -> Part:
        return Part(name, "race", limit_s, least_s, job, mode)

    yield race(f"{one} equal", 70, 25, arch=one, workload="equal")
    yield race(f"{one} variable", 75, 25, arch=one, workload="variable")
    yield race(f"{one} pipeline of transformers", 60, 25, arch=one, workload="equal", engine="hf-pipeline")
    yield race(f"{one} faster-whisper", 60, 20, arch=one, workload="equal", engine="faster-whisper")
    again = "again: " if two == one else ""
    yield Part(f"{again}checkpoint {two}", "checkpoint", 70, 25, {"arch": two})
    yield race(f"{again}{two} equal", 90, 40, arch=two, workload="equal")
    yield race(f"{again}{two} variable", 90, 40, arch=two, workload="variable")
    yield Part(f"busy {one}", "busy", 60, 30, {"arch": one}, mode)
    yield Part("guard", "guard", 60, 30, keeps=("guard-trace.parquet",))
    yield Part(f"files {one}", "files", 75, 30, {"arch": one}, mode)
    yield Part(f"{again}steps {two}", "steps", 60, 20, {"arch": two}, mode)
    yield race(f"{again}{two} equal, 8 bits", 80, 40, arch=two, workload="equal", variant=EIGHT_BITS)
    yield Part("the whole flow", "flow", 120, 5)


def broken(fault: str) -> Part:
    """A part that fails on purpose, with limits that are soon met."""
    limit_s = 2.0 if fault == "hang" else 20.0
    return Part(f"broken on purpose: {fault}", "broken", limit_s, 1, {"fault": fault}, memory_bytes=GIB // 4)

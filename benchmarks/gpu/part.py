"""One part of the twelve minutes in a process of its own: `python -m benchmarks.gpu.part WORK TOLD RESULT`.

`session` starts it. What it finds is written to RESULT at once; an error is written there and ends it with status 1.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.gpu.notes import Notes, Skip
from benchmarks.gpu.stage import Stage

Work = Callable[..., None]
WORKS = {
    "facts": "benchmarks.gpu.facts:facts",
    "correctness": "benchmarks.gpu.exact:correctness",
    "checkpoint": "benchmarks.gpu.race:built",
    "encoder": "benchmarks.gpu.encoder_times:encoder_times",
    "steps": "benchmarks.gpu.step_times:step_times",
    "race": "benchmarks.gpu.race:race",
    "files": "benchmarks.gpu.race:files",
    "busy": "benchmarks.gpu.trace:busy",
    "guard": "benchmarks.gpu.flow:guard",
    "flow": "benchmarks.gpu.flow:flow",
    "broken": "benchmarks.gpu.broken:broken",
}
_UNSET = ("broken", "guard", "flow")  # without a model of ours in their process


def work_of(name: str) -> Work:
    module, _, function = WORKS[name].partition(":")
    found: Work = getattr(importlib.import_module(module), function)
    return found


def main(arguments: list[str]) -> int:
    name, told, result = arguments
    notes, asked = Notes(Path(result)), json.loads(told)
    try:
        run(name, Stage.of(asked["stage"]), notes, asked["arguments"])
    except Skip as why:
        notes.skip(str(why))
    except Exception as error:  # noqa: BLE001  whatever it is, its parent hears of it
        notes.fail(error)
        return 1
    return 0


def run(name: str, stage: Stage, notes: Notes, arguments: dict[str, Any]) -> None:
    notes.put()
    if name not in _UNSET:
        import torch

        from benchmarks.gpu import modes
        from benchmarks.gpu.stubs import stand_in_for_missing

        torch.set_num_threads(stage.threads)
        stand_in_for_missing(notes.folder)
        modes.apply()
    work_of(name)(stage, notes, **arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""The twelve minutes: all that needs a GPU, in one command: `python -m benchmarks.gpu --out FOLDER`.

Does the engine say the right words on this GPU, in which setting, how fast, and where does the time go. Every part is a
process of its own with a limit of its own; after each the results are written again. README.md says how to run it.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

from benchmarks.gpu.outcome import LEFT_OUT, WRONG, Outcome
from benchmarks.gpu.plan import FAULTS, GIB, Asked, Found, Part, plan
from benchmarks.gpu.results import Results
from benchmarks.gpu.session import Session
from benchmarks.gpu.stage import Stage, rehearsal

_DEVICES = ("/dev/nvidiactl", "/dev/nvidia0", "/proc/driver/nvidia", "/usr/local/nvidia", "/dev/dxg")


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    made.add_argument("--out", type=Path, default=Path(os.environ.get("OUT", "gpu-results")))
    made.add_argument("--minutes", type=float, default=9.3, help="all of it; what does not fit is left out")
    made.add_argument("--rehearse", action="store_true", help="every part on the CPU with a tiny shape")
    made.add_argument("--break", dest="faults", default="", help=f"faults on purpose, with commas: {', '.join(FAULTS)}")
    made.add_argument("--only", default="", help="beginnings of parts' names, with commas; the others are not begun")
    made.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "channelscribe-bench")
    made.add_argument("--memory-gib", type=float, default=64.0, help="resident memory a part may have")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """0: the words are right; 1: they are not, or nobody knows; 2: it could not be begun; 3: results too large."""
    asked = parser().parse_args(arguments)
    faults = [name.strip() for name in asked.faults.split(",") if name.strip()]
    if unknown := sorted(set(faults) - set(FAULTS)):
        sys.stderr.write(f"{', '.join(unknown)} is no fault; choose among {', '.join(FAULTS)}.\n")
        return 2
    if not asked.rehearse and not _has_gpu():
        sys.stderr.write("There is no CUDA GPU here; these measurements need one. --rehearse runs them on the CPU.\n")
        return 2
    asked.folder.mkdir(parents=True, exist_ok=True)
    stage = rehearsal(str(asked.folder)) if asked.rehearse else Stage(str(asked.folder))
    results, found = Results(asked.out, _about(asked)), Found()
    session = Session(results, stage, 60 * asked.minutes, int(asked.memory_gib * GIB))
    signal.signal(signal.SIGTERM, _ended)
    session.go(chosen(plan(stage, found, faults), [name for name in asked.only.split(",") if name]))
    results.about["mode"] = found.mode.name if found.right else "no mode was right"
    return verdict(results, found)


def chosen(among: Asked, beginnings: Sequence[str]) -> Asked:
    """The plan without the parts whose names begin otherwise; they count as left out."""

    def wanted(part: Part) -> bool:
        return not beginnings or part.name.startswith(tuple(beginnings)) or part.work == "broken"

    part = next(among)
    while True:
        outcome = (yield part) if wanted(part) else Outcome(part.name, LEFT_OUT)
        try:
            part = among.send(outcome)
        except StopIteration:
            return


def verdict(results: Results, found: Found) -> int:
    """Every part that judges words has to be right, and one of those beside `generate` must be there."""
    wrong = [one.name for one in results.outcomes if one.state == WRONG]
    right = bool(found.right) and not wrong
    results.say("The words are right." if right else f"The words are not right: {', '.join(wrong) or 'nobody knows'}.")
    complaints = results.complaints()
    for complaint in complaints:
        sys.stderr.write(complaint + "\n")
    return 3 if complaints else 0 if right else 1


def _has_gpu() -> bool:
    """Anything that hints at a driver; whether it works, the first part says."""
    return shutil.which("nvidia-smi") is not None or any(Path(path).exists() for path in _DEVICES)


def _about(asked: argparse.Namespace) -> dict[str, Any]:
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "what": "a rehearsal on a CPU: no figure here says anything of a GPU" if asked.rehearse else "a GPU",
        "minutes": asked.minutes,
        "python": platform.python_version(),
        "processors": os.cpu_count(),
    }


def _ended(number: int, frame: FrameType | None) -> None:
    """A polite signal ends the part that is under way, too: `run_limited` kills it on its way out."""
    raise SystemExit(128 + number)


if __name__ == "__main__":
    sys.exit(main())

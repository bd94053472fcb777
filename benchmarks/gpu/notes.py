"""What a part has found so far, written down at once: its parent reads the file, also when the part was stopped.

The children of the twelve minutes are given one; `read` is the parent's side.
"""

from __future__ import annotations

import json
import traceback
from pathlib import Path
from typing import Any

from benchmarks.gpu.limited import ENDED, Ended
from benchmarks.gpu.outcome import DONE, GARBLED, RIGHT, SKIPPED, WRONG, Outcome

MOST_BYTES = 1 << 20


class Skip(Exception):
    """This part cannot be done here; the text says why."""


class Notes:
    """`right` stays None for a part that only measures."""

    def __init__(self, path: Path) -> None:
        self.path, self.found = path, dict[str, Any]()
        self._right: bool | None = None

    @property
    def folder(self) -> Path:
        """The part's own; it is gone when the part has ended."""
        return self.path.parent

    def put(self, **found: Any) -> None:
        self.found |= found
        self._write({})

    def judge(self, right: bool) -> None:
        """A single wrong answer makes the part wrong."""
        self._right = right and self._right is not False
        self._write({})

    def skip(self, why: str) -> None:
        self._write({"skipped": why})

    def fail(self, error: BaseException) -> None:
        frames = traceback.extract_tb(error.__traceback__)[-4:]
        where = " < ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in reversed(frames))
        self._write({"failed": f"{type(error).__name__}: {error} ({where})"})

    def _write(self, more: dict[str, Any]) -> None:
        beside = self.path.with_suffix(".new")
        beside.write_text(json.dumps({"found": self.found, "right": self._right, **more}, default=str))
        beside.replace(self.path)


def read(name: str, mode: str, ended: Ended, path: Path) -> Outcome:
    """One outcome from how the child ended and what it wrote down before."""
    try:
        noted = _checked(path)
    except (OSError, ValueError) as error:
        said = f"{ended.why or error}; {ended.said}".strip("; ")
        return Outcome(name, GARBLED if ended.how == ENDED else ended.how, ended.wall_s, said, mode)
    found, right, failed = noted["found"], noted.get("right"), noted.get("failed", "")
    if "skipped" in noted:
        return Outcome(name, SKIPPED, ended.wall_s, str(noted["skipped"]), mode, found)
    if ended.how != ENDED:
        said = failed or ended.said.rpartition("\n")[2]
        return Outcome(name, ended.how, ended.wall_s, f"{ended.why}; {said}".strip("; "), mode, found)
    state = DONE if right is None else RIGHT if right else WRONG
    return Outcome(name, state, ended.wall_s, "", mode, found)


def _checked(path: Path) -> dict[str, Any]:
    if path.stat().st_size > MOST_BYTES:
        raise ValueError(f"its result has {path.stat().st_size} bytes")
    noted = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(noted, dict) or not isinstance(noted.get("found"), dict):
        raise ValueError("its result is not what a part writes")
    return noted

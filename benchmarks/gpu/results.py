"""What the parts found, on disk after every one of them: log.txt, results.json and table.md, few and small files.

The parent of the twelve minutes writes here; a run that is cut off leaves all that was measured.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from benchmarks.gpu.outcome import Outcome
from benchmarks.gpu.table import markdown

MOST_FILES, MOST_FILE_BYTES, MOST_FOUND_BYTES = 8, 4 << 20, 96 << 10
_NAME = re.compile(r"[A-Za-z0-9._-]+")
_SAID = 1500


class Results:
    """Rewrites its files at each `add`, each by a replacement in one move."""

    def __init__(self, folder: Path, about: Mapping[str, Any]) -> None:
        self._folder, self.about = folder, dict(about)
        self.outcomes: list[Outcome] = []
        self._lines: list[str] = []
        folder.mkdir(parents=True, exist_ok=True)
        self.write()

    def add(self, outcome: Outcome) -> None:
        self.outcomes.append(_small(outcome))
        self.say(outcome.line, json.dumps(self.outcomes[-1].found, default=str))

    def say(self, line: str, more: str = "") -> None:
        """`more` goes to the log alone."""
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
        self._lines += [line, "    " + more] if more not in ("", "{}") else [line]
        self.write()

    def write(self) -> None:
        _replace(self._folder / "log.txt", "".join(line + "\n" for line in self._lines))
        every = {"about": self.about, "parts": [asdict(outcome) for outcome in self.outcomes]}
        _replace(self._folder / "results.json", json.dumps(every, default=str, indent=1) + "\n")
        _replace(self._folder / "table.md", markdown(self.about, self.outcomes) + "\n")

    def keep(self, path: Path) -> bool:
        """Moves a part's file here if it is small and there is room for it."""
        there = len([each for each in self._folder.iterdir() if each.name != path.name])
        if not path.is_file() or path.stat().st_size > MOST_FILE_BYTES or there >= MOST_FILES:
            return False
        _replace(self._folder / path.name, path.read_bytes())
        return True

    def complaints(self) -> list[str]:
        """Which of the limits on what comes back from a borrowed machine are not kept."""
        paths = sorted(each for each in self._folder.rglob("*") if not each.is_dir())
        said = [f"{len(paths)} files, {MOST_FILES} are allowed"] if len(paths) > MOST_FILES else []
        for path in paths:
            if path.stat().st_size > MOST_FILE_BYTES:
                said.append(f"{path.name} has {path.stat().st_size} bytes, {MOST_FILE_BYTES} are allowed")
            if not _NAME.fullmatch(path.name) or path.is_symlink() or path.parent != self._folder:
                said.append(f"{path.name} would not come back")
        return said


def _small(outcome: Outcome) -> Outcome:
    size = len(json.dumps(outcome.found, default=str))
    found = outcome.found if size <= MOST_FOUND_BYTES else {"left out": f"{size} bytes of figures"}
    return replace(outcome, seconds=round(outcome.seconds, 2), why=outcome.why[-_SAID:], found=found)


def _replace(path: Path, content: str | bytes) -> None:
    raw = content.encode("utf-8") if isinstance(content, str) else content
    beside = path.with_name(f".{path.name}.new")
    beside.write_bytes(raw)
    os.replace(beside, path)  # noqa: PTH105  in one move, also where the file is there

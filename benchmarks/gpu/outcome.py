"""What became of one part of the twelve minutes, and in which words that is said."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

# A part that ended; then one that could not be done, had no time, or wrote nonsense. `limited` has more words.
RIGHT, DONE, WRONG = "right", "done", "WRONG"
SKIPPED, LEFT_OUT, GARBLED = "skipped", "left out", "garbled"


@dataclass(frozen=True, slots=True)
class Outcome:
    """One part. `mode` is how the engine was set, `found` are its figures, also those of a part that was stopped."""

    name: str
    state: str
    seconds: float = 0.0
    why: str = ""
    mode: str = ""
    found: Mapping[str, Any] = field(default_factory=dict)

    @property
    def ended(self) -> bool:
        return self.state in (RIGHT, DONE, WRONG)

    @property
    def line(self) -> str:
        told = f" ({self.mode})" if self.mode else ""
        why = f": {self.why}" if self.why else ""
        return f"{self.name}{told}: {self.state} in {self.seconds:.1f} s{why}"

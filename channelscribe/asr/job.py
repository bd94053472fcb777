"""One file on its way through the engine: collects the results of its windows, in order, until all are there.

The caller's thread feeds and waits; the engine's thread delivers or fails.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from itertools import chain

from channelscribe.core.model import Segment
from channelscribe.core.window import WindowSound, WindowText


@dataclass(eq=False)
class Job:
    """`language` is None until the first windows have voted."""

    media_sha256: str
    language: str | None
    error: Exception | None = None
    over: bool = False  # nobody waits for it any more
    _texts: dict[int, WindowText] = field(default_factory=dict)
    _new: list[WindowText] = field(default_factory=list)
    _expected: int | None = None
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def deliver(self, text: WindowText, *, kept: bool = False) -> None:
        """`kept`: an earlier attempt finished it, so it need not be kept again."""
        with self._changed:
            self._texts[text.window.index] = text
            if not kept:
                self._new.append(text)
            self._changed.notify_all()

    def take_new(self) -> list[WindowText]:
        """What was delivered since the last call."""
        with self._changed:
            new, self._new = self._new, []
            return new

    def fail(self, error: Exception) -> None:
        """The first failure counts."""
        with self._changed:
            self.error = self.error or error
            self._changed.notify_all()

    def expect(self, windows: int) -> None:
        with self._changed:
            self._expected = windows
            self._changed.notify_all()

    def wait(self, timeout_s: float) -> bool:
        """True when every window is there. Raises the failure."""
        with self._changed:
            if not self._finished:
                self._changed.wait(timeout_s)
            if self.error is not None:
                raise self.error
            return self._finished

    @property
    def _finished(self) -> bool:
        return self.error is not None or (self._expected is not None and len(self._texts) >= self._expected)

    @property
    def done_s(self) -> float:
        """How far into the file everything is transcribed, roughly: the end of the last finished window."""
        with self._changed:
            return max(
                (t.window.to_file_s(t.window.duration_s, ending=True) for t in self._texts.values()), default=0.0
            )

    def texts(self) -> list[WindowText]:
        with self._changed:
            return [self._texts[index] for index in sorted(self._texts)]


@dataclass(eq=False, slots=True)
class Ticket:
    """A window that waits for the engine."""

    job: Job
    sound: WindowSound

    @property
    def bytes(self) -> int:
        return self.sound.pcm.nbytes


def assemble(texts: list[WindowText]) -> tuple[Segment, ...]:
    """All segments of a file in order, numbered."""
    found = chain.from_iterable(text.segments for text in texts)
    return tuple(replace(segment, index=index) for index, segment in enumerate(found))

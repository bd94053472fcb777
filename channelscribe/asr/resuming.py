"""What an earlier, interrupted attempt at a file finished is taken over; what this one finishes is kept.

Between a file's feeder and the pool, in the caller's thread: the engine's thread never waits for a disk.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from itertools import chain, islice

from channelscribe.asr.job import Job
from channelscribe.asr.pool import VOTERS
from channelscribe.core.window import KeptWindows, WindowKeeper, WindowSound

log = logging.getLogger(__name__)


class Resumption:
    """One attempt at one file. Without a keeper nothing is taken over and nothing kept."""

    def __init__(self, keeper: WindowKeeper | None, fingerprint: str, job: Job) -> None:
        self._keeper, self._fingerprint, self._job = keeper, fingerprint, job
        kept = keeper.kept(fingerprint) if keeper else KeptWindows()
        self._language = kept.language
        self._known = {text.window.index: text for text in kept.texts} if kept.language else {}
        self.resumed = 0

    def missing(self, sounds: Iterable[WindowSound]) -> Iterator[WindowSound]:
        """The windows that are still to be decoded; the others get their kept text at once.

        The language that was voted for counts again, unless the first windows, which vote, are cut otherwise now.
        """
        coming = iter(sounds)
        head = list(islice(coming, VOTERS)) if self._known else []
        if not all(self._fits(sound) for sound in head):
            log.warning("kept windows of %s are cut otherwise and not used", self._fingerprint[:12])
            self._known = {}
        if self._known and head:
            self._job.language = self._language
        for sound in chain(head, coming):
            text = self._known.pop(sound.window.index, None)
            if text is not None and text.window == sound.window:
                self.resumed += 1
                self._job.deliver(text, kept=True)
            else:
                yield sound

    def keep(self) -> None:
        """What was delivered since the last call."""
        for text in self._job.take_new():
            if self._keeper is not None and self._job.language is not None:
                self._keeper.keep(self._fingerprint, self._job.language, text)

    def _fits(self, sound: WindowSound) -> bool:
        text = self._known.get(sound.window.index)
        return text is None or text.window == sound.window

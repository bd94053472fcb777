"""Writing the readings of a card: a part file every few seconds, rolled up on the way so that a night is few files.

Under `Archive.put_readings`, behind its buffer. A part's name carries a hint of its run, so reading one run opens its
files only.
"""

from __future__ import annotations

import itertools
import logging
from collections import defaultdict
from collections.abc import Sequence

from channelscribe.core.errors import UsageError
from channelscribe.core.gpu import Reading
from channelscribe.store.parts import Stamps, TableFolder
from channelscribe.store.readings import reading_rows
from channelscribe.store.rows import arrow_rows
from channelscribe.store.tidy import roll_up

log = logging.getLogger(__name__)
ROLL_UP_PARTS = 60  # five minutes of flushes; twelve hours are 144 files and what is new
MOST_WAITING = 50_000  # readings kept while the disk refuses them: about seven hours of two cards


class ReadingWriter:
    """Writes readings by run, and makes one part of every `roll_up_parts` that it wrote."""

    def __init__(self, folder: TableFolder, stamps: Stamps, roll_up_parts: int = ROLL_UP_PARTS) -> None:
        self._folder = folder
        self._roll_up_parts = roll_up_parts
        self._stamps = stamps
        self._written: dict[str, list[str]] = defaultdict(list)

    def write(self, readings: Sequence[Reading]) -> None:
        """One part for each run among them. A reading that fits no row must not hold up those after it."""
        ordered = sorted(readings, key=lambda r: str(r.run_id))
        for run_id, own in itertools.groupby(ordered, key=lambda r: str(r.run_id)):
            self._write(run_id, list(own))

    def _write(self, run_id: str, own: Sequence[Reading]) -> None:
        rows = reading_rows(own, [self._stamps.next() for _ in own])
        try:
            made = arrow_rows(self._folder.table, rows)
        except UsageError as error:
            log.warning("%d readings of the card were left out: %s", len(own), error)
            return
        written = self._written[run_id]
        written.append(self._folder.write(made, run_id))
        if len(written) >= self._roll_up_parts:
            roll_up(self._folder, written, run_id)
            written.clear()

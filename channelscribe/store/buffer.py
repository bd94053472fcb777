"""Rows that may wait a few seconds, so that a busy run does not write a file for every one of them.

Under `Archive.put_outcome`: a kill loses at most one interval; a full disk loses nothing, the rows wait.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

import pyarrow as pa

from channelscribe.core.errors import ChannelscribeError

log = logging.getLogger(__name__)


class Buffer:
    """Collects small tables and hands them to `write` as one, every `interval_s` and on `flush`."""

    def __init__(self, write: Callable[[pa.Table], object], interval_s: float) -> None:
        self._write = write
        self._interval_s = interval_s
        self._waiting: list[pa.Table] = []
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None

    def add(self, rows: pa.Table) -> None:
        with self._lock:
            self._waiting.append(rows)
            if self._thread is None or not self._thread.is_alive():
                self._wake.clear()
                self._thread = threading.Thread(target=self._run, name="outcomes", daemon=True)
                self._thread.start()

    def flush(self) -> None:
        """Writes what waits; on failure it goes on waiting and the error is raised."""
        with self._writing:
            with self._lock:
                taken, self._waiting = self._waiting, []
            if not taken:
                return
            try:
                self._write(pa.concat_tables(taken))
            except BaseException:
                with self._lock:
                    self._waiting = taken + self._waiting
                raise

    def close(self) -> None:
        """Flushes and ends the thread."""
        self._wake.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()
        self.flush()

    def _run(self) -> None:
        told = False
        while not self._wake.wait(self._interval_s):
            try:
                self.flush()
                told = False
            except ChannelscribeError as error:
                if not told:
                    log.warning("Outcomes are kept in memory until they can be written: %s", error)
                told = True
            with self._lock:
                if not self._waiting:
                    self._thread = None
                    return

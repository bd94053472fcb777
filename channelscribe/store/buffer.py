"""Rows that may wait a few seconds, so that a busy run does not write a file for every one of them.

Under `Archive.put_outcome` and `Archive.put_readings`: a kill loses at most one interval; a full disk loses nothing
that `most` allows, the rows wait.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from channelscribe.core.errors import ChannelscribeError

log = logging.getLogger(__name__)
Kept = TypeVar("Kept")


class Buffer(Generic[Kept]):
    """Collects things and hands them to `write` together, every `interval_s` and on `flush`.

    Where they cannot be written, the newest `most` wait (None: all), and one warning says what happens.
    """

    def __init__(
        self, write: Callable[[list[Kept]], object], interval_s: float, what: str, most: int | None = None
    ) -> None:
        self._write = write
        self._interval_s = interval_s
        self._what = what
        self._most = most
        self._waiting: list[Kept] = []
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None

    def add(self, *new: Kept) -> None:
        with self._lock:
            self._waiting.extend(new)
            self._bound()
            if self._thread is None or not self._thread.is_alive():
                self._wake.clear()
                self._thread = threading.Thread(target=self._run, name=self._what, daemon=True)
                self._thread.start()

    def flush(self) -> None:
        """Writes what waits; on failure it goes on waiting and the error is raised."""
        with self._writing:
            with self._lock:
                taken, self._waiting = self._waiting, []
            if not taken:
                return
            try:
                self._write(taken)
            except BaseException:
                with self._lock:
                    self._waiting = taken + self._waiting
                    self._bound()
                raise

    def close(self) -> None:
        """Flushes and ends the thread."""
        self._wake.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()
        self.flush()

    def _bound(self) -> None:
        if self._most is not None and len(self._waiting) > self._most:
            lost = len(self._waiting) - self._most * 9 // 10
            log.warning("The oldest %d %s could not be written for too long and are given up.", lost, self._what)
            del self._waiting[:lost]

    def _run(self) -> None:
        told = False
        while not self._wake.wait(self._interval_s):
            try:
                self.flush()
                told = False
            except ChannelscribeError as error:
                if not told:
                    log.warning("%s are kept in memory until they can be written: %s", self._what.capitalize(), error)
                told = True
            with self._lock:
                if not self._waiting:
                    self._thread = None
                    return

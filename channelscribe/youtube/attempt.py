"""Runs one piece of yt-dlp work in a thread of its own, so that a caller who cancels is never kept waiting by a socket.

Used by the downloader; an abandoned thread ends at its next sign of life or socket timeout and is waited for before
its folder is used again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Generic, TypeVar

from channelscribe.core.errors import Transient
from channelscribe.youtube.lane import cancelled_error

_TICK_S = 0.2
T = TypeVar("T")


class Watch:
    """Signs of life of a piece of work, and the wish that it should end."""

    def __init__(self) -> None:
        self.beats = 0
        self._stop = threading.Event()

    def beat(self) -> None:
        """Called by the work as often as it can. Raises to end it once `stop` was called."""
        self.beats += 1
        if self._stop.is_set():
            from yt_dlp.utils import DownloadCancelled

            raise DownloadCancelled("stopped")

    def stop(self) -> None:
        self._stop.set()


class Attempt(Generic[T]):
    """One run of `work` in a daemon thread."""

    def __init__(self, work: Callable[[Watch], T], name: str) -> None:
        self._work = work
        self._watch = Watch()
        self._results: list[T] = []
        self._errors: list[BaseException] = []
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def result(self, cancelled: Callable[[], bool] | None, silence_s: float) -> T:
        """What the work returned or raised. Gives up when the caller cancels or nothing stirs for `silence_s`."""
        self._thread.start()
        quiet_s, beats = 0.0, 0
        while self._thread.is_alive():
            self._thread.join(_TICK_S)
            quiet_s, beats = (quiet_s + _TICK_S if self._watch.beats == beats else 0.0), self._watch.beats
            if cancelled is not None and cancelled():
                self._give_up(cancelled_error())
            if quiet_s > silence_s:
                self._give_up(Transient(f"Nothing came from YouTube for {silence_s:.0f} s.", code="stalled"))
        if self._errors:
            raise self._errors[0]
        return self._results[0]

    def wait(self, timeout_s: float) -> bool:
        """True when an abandoned run has ended."""
        with suppress(RuntimeError):  # never started
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _give_up(self, error: Transient) -> None:
        self._watch.stop()
        self._thread.join(_TICK_S)
        raise error

    def _run(self) -> None:
        try:
            self._results.append(self._work(self._watch))
        except BaseException as error:  # noqa: BLE001  handed to the waiting caller
            self._errors.append(error)

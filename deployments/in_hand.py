"""The runs that the workers of this machine have in hand, on disk, so that the next worker finds what one left behind.

Under `worker`. A run whose worker and process are both gone (a reboot, a kill -9, a worker that was stopped) would be
Running for ever: Prefect learns of an end only from the process or from its worker.
"""

from __future__ import annotations

import json
import logging
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import psutil
from filelock import FileLock, Timeout

from channelscribe.core.process import Process, process

if TYPE_CHECKING:
    from prefect.client.schemas.objects import State

log = logging.getLogger(__name__)
MOST_BEGINNINGS = 3
"""A run that has begun so often is not begun again by itself: whatever it does may be what ends the machine."""
_SWEEP_S = 3600.0  # a file that was made this lately may be about to be locked


class InHand:
    """The notes of one folder: a file for each run, and for each worker a file under a lock that dies with it.

    The lock and no start time says whether a worker lives: a clock that is set while it works changes the start time
    that others compute. Everything raises OSError where the folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._machine = platform.node()
        self._worker = uuid4().hex
        self._alive = self._lock_of(self._worker)

    def take(self, run_id: UUID, pid: int | None = None) -> None:
        """This process has the run in hand; `pid` is the process in which it runs."""
        try:
            flow = process(pid) if pid is not None else None
        except psutil.Error:  # it has ended already; its end is told the usual way
            flow = None
        self._folder.mkdir(parents=True, exist_ok=True)
        if not self._alive.is_locked:
            self._alive.acquire()
        note = {"machine": self._machine, "worker": self._worker, "flow": asdict(flow) if flow else None}
        partial = self._path(run_id).with_suffix(".part")
        partial.write_text(json.dumps(note), encoding="utf-8")
        partial.replace(self._path(run_id))

    def let_go(self, run_id: UUID) -> None:
        self._path(run_id).unlink(missing_ok=True)

    def left_behind(self) -> Iterator[UUID]:
        """Runs of this machine whose worker and process are gone. No other worker is given one before the next is asked
        for. Notes that cannot be read are dropped, and so are the files of workers that are gone and left nothing.
        """
        owners = set()
        for path in sorted(self._folder.glob("*.json")):
            try:
                said = json.loads(path.read_text(encoding="utf-8"))
                owners.add(worker := UUID(said["worker"]).hex)
                if said["machine"] != self._machine:  # a home that several machines share
                    continue
                run_id, flow = UUID(path.stem), said["flow"] and _process(said["flow"])
            except FileNotFoundError:
                continue
            except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
                log.warning("The note %s of a run in hand cannot be read and is dropped: %s", path.name, error)
                path.unlink(missing_ok=True)
                continue
            if flow is not None and flow.lives:
                continue
            with self._gone(worker) as gone:
                if gone:
                    yield run_id
        self._sweep(owners)

    @contextmanager
    def _gone(self, worker: str) -> Iterator[bool]:
        """Whether that worker is gone; while this is open, nobody else is told so."""
        lock = self._lock_of(worker)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            yield False
            return
        try:
            yield True
        finally:
            lock.release()

    def _sweep(self, owners: set[str]) -> None:
        for path in self._folder.glob("*.lock"):
            with suppress(OSError):  # somebody else was quicker, or has it open on Windows
                if path.stem in owners or time.time() - path.stat().st_mtime < _SWEEP_S:
                    continue
                with self._gone(path.stem) as gone:
                    pass
                if gone:
                    path.unlink()

    def _lock_of(self, worker: str) -> FileLock:
        return FileLock(self._folder / f"{worker}.lock", thread_local=False)

    def _path(self, run_id: UUID) -> Path:
        return self._folder / f"{run_id}.json"


def what_follows(state: State[Any] | None, begun: int) -> State[Any] | None:
    """The state for a run that was left behind in `state` after `begun` beginnings; None where it may stay as it is."""
    from prefect.client.schemas.objects import StateType
    from prefect.states import AwaitingRetry, Cancelled, Crashed

    if state is None or state.is_final() or state.is_scheduled() or state.name == "Suspended":
        return None
    if state.type is StateType.CANCELLING:
        return Cancelled(message="It was being cancelled when its worker ended.")
    if begun < MOST_BEGINNINGS:
        return AwaitingRetry(message="Its worker had ended in the middle of it; it goes on from where it was.")
    often = f"Its worker ended in the middle of it, {begun} times; look at the worker's log, then press Retry."
    return Crashed(message=often)


def _process(said: dict[str, Any]) -> Process:
    return Process(int(said["pid"]), float(said["started_s"]))

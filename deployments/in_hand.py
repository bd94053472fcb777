"""The runs that the workers of this machine have in hand, on disk, so that the next worker finds what one left behind.

Under `worker`. A run whose worker and process are both gone (a reboot, a kill -9, a worker that was stopped) would be
Running for ever: Prefect learns of an end only from the process or from its worker.
"""

from __future__ import annotations

import json
import logging
import platform
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import psutil

from channelscribe.core.process import Process, process

if TYPE_CHECKING:
    from prefect.client.schemas.objects import State

log = logging.getLogger(__name__)
MOST_BEGINNINGS = 3
"""A run that has begun so often is not begun again by itself: whatever it does may be what ends the machine."""


@dataclass(frozen=True)
class Note:
    """One run that a worker took. `flow`: the process in which it runs, once it has begun."""

    run_id: UUID
    worker: Process
    flow: Process | None = None

    @property
    def left_behind(self) -> bool:
        return not self.worker.lives and (self.flow is None or not self.flow.lives)


class InHand:
    """The notes of one folder, a file each. Everything raises OSError where the folder cannot be written."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._machine = platform.node()

    def take(self, run_id: UUID, pid: int | None = None) -> None:
        """This process has the run in hand; `pid` is the process in which it runs."""
        try:
            flow = process(pid) if pid is not None else None
        except psutil.Error:  # it has ended already; its end is told the usual way
            flow = None
        self._folder.mkdir(parents=True, exist_ok=True)
        partial = self._path(run_id).with_suffix(".part")
        note = Note(run_id, process(), flow)
        partial.write_text(
            json.dumps({"machine": self._machine, **asdict(note), "run_id": str(run_id)}), encoding="utf-8"
        )
        partial.replace(self._path(run_id))

    def let_go(self, run_id: UUID) -> None:
        self._path(run_id).unlink(missing_ok=True)

    def left_behind(self) -> Iterator[UUID]:
        """Runs of this machine whose worker and process are gone. Notes that cannot be read are dropped."""
        for path in sorted(self._folder.glob("*.json")):
            try:
                said = json.loads(path.read_text(encoding="utf-8"))
                if said["machine"] != self._machine:  # a home that several machines share
                    continue
                note = Note(UUID(said["run_id"]), _process(said["worker"]), said["flow"] and _process(said["flow"]))
            except FileNotFoundError:
                continue
            except (ValueError, TypeError, KeyError, RecursionError) as error:
                log.warning("The note %s of a run in hand cannot be read and is dropped: %s", path.name, error)
                path.unlink(missing_ok=True)
                continue
            if note.left_behind:
                yield note.run_id

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

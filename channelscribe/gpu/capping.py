"""Lowers a card's power limit while somebody asks for it, and gives the card its own limit back, whatever happens.

An actuator of the guard, opt-in. The limit outlives the process that set it, so what it was is written down first
(`lease.py`): the last process to leave restores it, and after a crash or kill -9 the next one to open the card does.
Processes that share a card agree on the lowest of their wishes.
"""

from __future__ import annotations

import atexit
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from filelock import Timeout

from channelscribe.core.gpu import Reader
from channelscribe.gpu.cards import list_cards, named
from channelscribe.gpu.lease import Lease, LeaseFile
from channelscribe.gpu.nvml import Nvml, NvmlError, Trouble, attempt
from channelscribe.gpu.reader import NvmlReader

log = logging.getLogger(__name__)
_SAME_W = 1.0  # the driver may round what it is told
_LIMIT = "nvmlDeviceGetPowerManagementLimit"


@runtime_checkable
class CappedReader(Protocol):
    """A reader whose card obeys it: `cap` sets the limit in watts, None the card's own."""

    def cap(self, watts: float | None) -> None: ...


class PowerCap:
    """The limit of one card, by one process. `apply` and `restore` never raise; what cannot be done is said once."""

    def __init__(self, nvml: Nvml, uuid: str, card: Any, *, folder: Path | None = None) -> None:
        self._limit = _Limit(nvml, card)
        self._file = LeaseFile(uuid, folder)
        self._wish_w: float | None = None
        self._given_up = ""
        self._exit: Callable[[], None] = self.restore
        atexit.register(self._exit)

    @property
    def given_up(self) -> str:
        """Why this card cannot be capped; empty while it can."""
        return self._given_up

    def apply(self, watts: float | None) -> None:
        """Caps the card at `watts`, within what it allows and never above what it had; None gives the cap back."""
        if watts is None:
            self.restore()
        elif not self._given_up and (self._wish_w is None or abs(watts - self._wish_w) >= _SAME_W):
            self._attempt(lambda: self._cap(watts), "cannot be lowered; the guard slows and pauses instead")

    def restore(self) -> None:
        """This process caps no more; the card's own limit comes back with the last one that did."""
        if self._wish_w is not None:
            self._attempt(self._leave, "cannot be restored; the next run on this card tries again")

    def close(self) -> None:
        self.restore()
        atexit.unregister(self._exit)

    def _attempt(self, deed: Callable[[], None], consequence: str) -> None:
        try:
            deed()
        except Timeout:
            log.debug("another process is setting the power limit; tried again with the next sample")
        except NvmlError as error:
            self._give_up(error.trouble.text, consequence)
        except OSError as error:
            self._give_up(f"the limit to go back to cannot be kept on disk: {error}", consequence)

    def _give_up(self, why: str, consequence: str) -> None:
        if not self._given_up:
            log.warning("the power limit %s (%s)", consequence, why)
        self._given_up = why

    def _cap(self, watts: float) -> None:
        least_w, _ = self._limit.bounds()
        with self._file.locked():
            before = self._file.read()
            here_w = self._limit.get()
            lease = before or Lease(original_w=here_w, set_w=())
            wish_w = min(max(watts, least_w), lease.original_w)
            if before is None and wish_w > here_w - _SAME_W:
                return
            self._agree(lease.joined(wish_w), before)
        self._wish_w = watts

    def _agree(self, lease: Lease, before: Lease | None) -> None:
        """Writes down first, sets then: a crash in between leaves a lease too many, never a limit too low."""
        target_w = lease.lowest_w
        self._file.write(lease.remembering(target_w))
        try:
            self._limit.set(target_w)
        except NvmlError:
            self._file.write(before) if before else self._file.remove()
            raise
        actual_w = self._limit.get()
        if abs(actual_w - target_w) > _SAME_W:
            self._file.write(lease.remembering(target_w).remembering(actual_w))

    def _leave(self) -> None:
        with self._file.locked():
            lease = self._file.read()
            rest = lease.left() if lease else None
            if rest is not None and rest.holders:
                self._agree(rest, rest)
            elif rest is not None:
                give_back(self._limit, self._file, rest)
        self._wish_w = None


class _Limit:
    """The card's power limit in watts. Everything raises NvmlError."""

    def __init__(self, nvml: Nvml, card: Any) -> None:
        self._nvml, self._card = nvml, card

    def get(self) -> float:
        return float(self._nvml.ask(_LIMIT, self._card)) / 1000

    def set(self, watts: float) -> None:
        self._nvml.ask("nvmlDeviceSetPowerManagementLimit", self._card, round(watts * 1000))

    def bounds(self) -> tuple[float, float]:
        least, most = self._nvml.ask("nvmlDeviceGetPowerManagementLimitConstraints", self._card)
        return least / 1000, most / 1000


def give_back(limit: _Limit, file: LeaseFile, lease: Lease) -> None:
    """Sets the original limit, unless the limit in force is none of ours: then somebody else has set it since."""
    here_w = limit.get()
    if any(abs(here_w - ours_w) <= _SAME_W for ours_w in lease.set_w):
        least_w, most_w = limit.bounds()
        limit.set(min(max(lease.original_w, least_w), most_w))
        log.info("the power limit is %g W again", lease.original_w)
    file.remove()


def recover(nvml: Nvml, uuid: str, card: Any, *, folder: Path | None = None) -> None:
    """Restores the limit that a run left behind when it crashed. Costs a look at the disk; never raises."""
    file = LeaseFile(uuid, folder)
    try:
        if not file.exists():
            return
        with file.locked():
            lease = file.read()
            if lease is not None and not lease.holders:
                give_back(_Limit(nvml, card), file, lease)
    except Timeout:
        log.debug("another process looks after the power limit")
    except NvmlError as error:
        log.warning("a crashed run has left the power limit lowered and it cannot be restored: %s", error.trouble.text)
    except OSError as error:
        log.warning("it cannot be told whether a crashed run has left the power limit lowered: %s", error)


class ReaderCap:
    """The power limit of a simulated card, which dies with its reader."""

    def __init__(self, reader: CappedReader) -> None:
        self._reader = reader

    def apply(self, watts: float | None) -> None:
        self._reader.cap(watts)

    def restore(self) -> None:
        self._reader.cap(None)


def open_cap(reader: Reader, *, folder: Path | None = None) -> PowerCap | ReaderCap | None:
    """The power limit of the card that `reader` reads; None where there is none to set, as of a recorded card."""
    if isinstance(reader, CappedReader):
        return ReaderCap(reader)
    if not isinstance(reader, NvmlReader):
        return None
    nvml = attempt(Nvml)
    if isinstance(nvml, Trouble):
        return None
    cards = attempt(list_cards, nvml)
    seen = None if isinstance(cards, Trouble) else named(cards, reader.card.uuid)
    if seen is None:
        nvml.close()
        return None
    return PowerCap(nvml, reader.card.uuid, seen.physical.handle, folder=folder)

"""What a card's power limit was before we lowered it, on disk, and who wants it lowered: whole or not there.

Beside `capping.py`, which sets the limit. One small file by UUID in a folder of this user, under an operating-system
lock that dies with its process; holders that have died are left out on reading.
"""

from __future__ import annotations

import json
import logging
import math
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import psutil
from filelock import FileLock

from channelscribe.core.process import Process, process
from channelscribe.gpu.judgement import machine_folder

log = logging.getLogger(__name__)
_LOCK_S = 1.0
_BOOT_S = 120.0  # the start of the machine is reckoned from two clocks


@dataclass(frozen=True, slots=True)
class Holder(Process):
    """A process that wants the card capped."""

    cap_w: float


@dataclass(frozen=True, slots=True)
class Lease:
    """The limit before us, the limits that we have set since, and who asks for one."""

    original_w: float
    set_w: tuple[float, ...]
    holders: tuple[Holder, ...] = ()

    @property
    def lowest_w(self) -> float:
        return min((holder.cap_w for holder in self.holders), default=self.original_w)

    def joined(self, cap_w: float) -> Lease:
        """With this process among the holders."""
        own = Holder(**asdict(process()), cap_w=cap_w)
        return replace(self, holders=(*self.left().holders, own))

    def left(self) -> Lease:
        """Without this process."""
        return replace(self, holders=tuple(h for h in self.holders if h.pid != os.getpid()))

    def remembering(self, watts: float) -> Lease:
        """Every limit that we may have set: a crash between two of them must not make ours look like another's."""
        return replace(self, set_w=(*(w for w in self.set_w if w != watts), watts)[-8:])


class LeaseFile:
    """The lease of one card. Everything raises OSError where the folder cannot be written, filelock.Timeout where
    another process keeps the lock for seconds."""

    def __init__(self, card_uuid: str, folder: Path | None = None) -> None:
        plain = re.sub(r"[^A-Za-z0-9-]", "_", card_uuid)[:80] or "unknown"
        self._folder = folder or machine_folder().parent / "power"
        self._path = self._folder / f"{plain}.json"

    def exists(self) -> bool:
        return self._path.exists()

    @contextmanager
    def locked(self) -> Iterator[None]:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with FileLock(self._path.with_suffix(".lock"), timeout=_LOCK_S):
            yield

    def read(self) -> Lease | None:
        """The lease with its living holders. None where there is none, it is no lease, or the machine has been started
        since, which resets limits."""
        try:
            said = json.loads(self._path.read_text(encoding="utf-8"))
            if abs(psutil.boot_time() - _number(said["boot_s"])) < _BOOT_S:
                return _lease(said)
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            log.warning("the note of the card's power limit cannot be read and is dropped: %s", error)
        self.remove()
        return None

    def write(self, lease: Lease) -> None:
        """Durably: after this, not even a loss of power forgets the original limit."""
        partial = self._path.with_suffix(f".{os.getpid()}.part")
        with partial.open("w", encoding="utf-8") as file:
            json.dump({"boot_s": psutil.boot_time(), **asdict(lease)}, file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(self._path)

    def remove(self) -> None:
        with suppress(FileNotFoundError):
            self._path.unlink()


def _lease(said: dict[str, Any]) -> Lease:
    holders = tuple(Holder(int(h["pid"]), _number(h["started_s"]), _number(h["cap_w"])) for h in said["holders"])
    set_w = tuple(_number(watts) for watts in said["set_w"])
    return Lease(_number(said["original_w"]), set_w, tuple(holder for holder in holders if holder.lives))


def _number(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number) or number <= 0:
        raise ValueError(f"{value!r} is no limit")
    return number

"""One judgement per card for all processes of this machine's user: each says what it judges, the strictest counts.

Beside the guard, in a folder of the machine that is named after the card. Every process writes only its own file, whole
or not at all, so there is nothing to lock, and what a killed one said grows old by itself.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import uuid
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from platformdirs import user_cache_path

from channelscribe.core.clock import Clock, SystemClock
from channelscribe.core.gpu import Cause, Decision, Zone

log = logging.getLogger(__name__)
FRESH_S = 10.0  # older words of another process do not count: it was killed or hangs
TOLD_EVERY_S = 2.0
# What is true of the card, whoever looks; memory, leaks and stalls are each process's own affair.
_SHARED = {
    *(Cause.TEMPERATURE, Cause.MEMORY_TEMPERATURE, Cause.POWER, Cause.THROTTLE),
    *(Cause.XID, Cause.LOST),
}
_SEVERITY = {Zone.RUN: 0, Zone.SLOW: 1, Zone.PAUSE: 2, Zone.STOP: 3}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one process says of a card."""

    who: str
    pid: int
    at_s: float
    decision: Decision


class Judgement:
    """The verdicts on one card. `who` names this run to the others."""

    def __init__(self, card_uuid: str, who: str, *, folder: Path | None = None, clock: Clock | None = None) -> None:
        self._clock: Clock = clock or SystemClock()
        plain = re.sub(r"[^A-Za-z0-9-]", "_", card_uuid)[:80] or "unknown"
        self._folder = (folder or machine_folder()) / plain
        self._who = who
        self._own = self._folder / f"{os.getpid()}-{uuid.uuid4().hex[:8]}.json"
        self._told: Decision | None = None
        self._others: list[Verdict] = []
        self._told_s = float("-inf")
        self._complained = False

    def consult(self, own: Decision) -> Decision:
        """The strictest of `own` and what the other processes said lately. Tells them `own` as well; never raises."""
        try:
            self._tell(own)
            self._others = self._heard()
        except OSError as error:
            if not self._complained:
                self._complained = True
                log.warning("other runs on this card cannot be asked (%s): this one judges alone", error)
            self._others = []
        about_the_card = [v for v in self._others if v.decision.cause in _SHARED]
        strictest = max(about_the_card, key=lambda v: _SEVERITY[v.decision.zone], default=None)
        if strictest is None or _SEVERITY[strictest.decision.zone] <= _SEVERITY[own.zone]:
            return own
        return replace(strictest.decision, reason=f"{strictest.decision.reason} (judged by {strictest.who})")

    @property
    def companions(self) -> frozenset[int]:
        """Process numbers of the other runs of ours on this card."""
        return frozenset(verdict.pid for verdict in self._others)

    def withdraw(self) -> None:
        """This run judges no more."""
        with contextlib.suppress(OSError):
            self._own.unlink(missing_ok=True)

    def _tell(self, own: Decision) -> None:
        now_s = self._clock.now().timestamp()
        known = self._told is not None and (self._told.zone, self._told.cause) == (own.zone, own.cause)
        if known and 0 <= now_s - self._told_s < TOLD_EVERY_S:
            return
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        said = {"who": self._who, "pid": os.getpid(), "at_s": now_s, "decision": asdict(_shared(own))}
        partial = self._own.with_suffix(".part")
        partial.write_text(json.dumps(said), encoding="utf-8")
        partial.replace(self._own)
        self._told, self._told_s = own, now_s

    def _heard(self) -> list[Verdict]:
        now_s = self._clock.now().timestamp()
        found = []
        for path in self._folder.glob("*.json"):
            if path == self._own:
                continue
            verdict = _read(path)
            if verdict is not None and abs(now_s - verdict.at_s) <= FRESH_S:
                found.append(verdict)
            elif self._abandoned(path, now_s):
                path.unlink(missing_ok=True)
        return found

    @staticmethod
    def _abandoned(path: Path, now_s: float) -> bool:
        try:
            return abs(now_s - path.stat().st_mtime) > 60 * FRESH_S
        except FileNotFoundError:
            return False


def machine_folder() -> Path:
    """Where the runs of this user on this machine leave each other word."""
    return user_cache_path("channelscribe", appauthor=False) / "guard"


def _shared(decision: Decision) -> Decision:
    """A power cap and a tidying up concern only the process that decided them."""
    return replace(decision, cap_w=None, collect=False)


def _read(path: Path) -> Verdict | None:
    """None for a file that is gone, half or not ours."""
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        return Verdict(str(said["who"])[:200], int(said["pid"]), float(said["at_s"]), _decision(said["decision"]))
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def _decision(said: dict[str, object]) -> Decision:
    return Decision(
        zone=Zone(str(said["zone"])),
        cause=Cause(str(said["cause"])),
        reason=str(said.get("reason", ""))[:1000],
        value=_number(said.get("value")),
        limit=_number(said.get("limit")),
        resume_below=_number(said.get("resume_below")),
        expected_wait_s=_number(said.get("expected_wait_s")),
        unit=str(said.get("unit", ""))[:20],
        duty=_share(said.get("duty")),
        batch_share=_share(said.get("batch_share")),
    )


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) < 1e12 else None


def _share(value: object) -> float:
    number = _number(value)
    return 1.0 if number is None else min(1.0, max(0.01, number))

"""Follows a document until ODIN can search it; an accepted upload is a promise, chunks are the proof.

publish.py calls this after every upload and every adoption. Research: odin.md 1.5 and section 5.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from enum import StrEnum

from channelscribe.core.clock import Clock
from channelscribe.odin.catalogue import Catalogue, NotOfferedError
from channelscribe.odin.documents import BROKEN, PENDING, SYNCED


class State(StrEnum):
    INDEXED = "indexed"
    UNVERIFIED = "unverified"
    PENDING = "pending"
    EMPTY = "empty"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True)
class Verdict:
    """`status` is ODIN's own word, `chunks` None where this host does not count them."""

    state: State
    status: str
    chunks: int | None = None


def follow(catalogue: Catalogue, key: str, clock: Clock) -> Verdict:
    """Looks until the document is indexed, broken or beyond verifying, at most `verify_timeout_s` (then PENDING)."""
    config = catalogue.config
    deadline_s = clock.monotonic() + config.verify_timeout_s
    pause_s, empty_polls = config.poll_s, 0
    while True:
        verdict = judge(catalogue, key)
        empty_polls = empty_polls + 1 if verdict.state is State.EMPTY else 0
        if empty_polls >= config.empty_polls:
            return replace(verdict, state=State.BROKEN)
        if verdict.state not in {State.PENDING, State.EMPTY}:
            return verdict
        if clock.monotonic() + pause_s > deadline_s:
            return replace(verdict, state=State.PENDING)
        clock.sleep(pause_s)
        pause_s = min(pause_s * 1.5, config.poll_max_s)


def judge(catalogue: Catalogue, key: str) -> Verdict:
    """One look: the status first, then the best proof that this host offers (chunks, text, list)."""
    status = _status(catalogue, key)
    if status in BROKEN:
        return Verdict(State.BROKEN, status)
    if status in PENDING:
        return Verdict(State.PENDING, status)
    with contextlib.suppress(NotOfferedError):
        chunks = catalogue.chunks(key)
        return Verdict(State.INDEXED if chunks > 0 else State.EMPTY, status, chunks)
    with contextlib.suppress(NotOfferedError):
        fetched = catalogue.fetch(key)
        return Verdict(State.INDEXED if fetched and fetched.content else State.EMPTY, status)
    return _judge_by_list(catalogue, key, status)


def _status(catalogue: Catalogue, key: str) -> str:
    """The word of the status endpoint, or of the list; empty where neither tells."""
    with contextlib.suppress(NotOfferedError):
        return catalogue.status(key)
    found = catalogue.find(key)
    return found.status if found else ""


def _judge_by_list(catalogue: Catalogue, key: str, status: str) -> Verdict:
    sighting = catalogue.look(key)
    if sighting.certain and sighting.document is None:
        return Verdict(State.EMPTY, status or "absent")
    return Verdict(State.INDEXED if status == SYNCED else State.UNVERIFIED, status)

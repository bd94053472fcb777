"""Sharding: a channel's work as pieces for several machines, and what is still to do of a piece that came back.

Beside the ledger, whose plan it cuts; `flows/sync_archive` hands the pieces out.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from channelscribe.core.errors import EnvironmentFailure, Transient
from channelscribe.core.model import Outcome, OutcomeState, Video
from channelscribe.ledger import Parked, Plan, histories
from channelscribe.store.root import DataRoot


@dataclass(frozen=True, slots=True)
class Cut:
    """How a run's work was cut when it began."""

    shards: tuple[tuple[str, ...], ...]
    parked: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Beginning:
    """What a run listed and how it cut it: kept in the data root, so that a Retry on any machine goes on with it."""

    listing: Mapping[str, Any]
    pieces: Cut


def keep(root: DataRoot, run_id: str, beginning: Beginning) -> None:
    """The first one counts; a later one changes nothing."""
    pieces = {"shards": beginning.pieces.shards, "parked": beginning.pieces.parked}
    root.create(_place(run_id), json.dumps({"listing": dict(beginning.listing), **pieces}).encode())


def kept(root: DataRoot, run_id: str) -> Beginning | None:
    """None for a run that has only begun. Raises EnvironmentFailure for a file that somebody has damaged."""
    try:
        found = json.loads(root.read_bytes(_place(run_id)))
        pieces = Cut(tuple(tuple(map(str, s)) for s in found["shards"]), tuple(map(str, found["parked"])))
        return Beginning(dict(found["listing"]), pieces)
    except Transient as error:
        if error.code != "file_missing":
            raise
        return None
    except (ValueError, KeyError, TypeError) as error:
        reason = f"{_place(run_id)} in {root.url} cannot be read; delete it and start a new run instead of this one."
        raise EnvironmentFailure(reason, code="bad_beginning") from error


def _place(run_id: str) -> str:
    return f".runs/{run_id}.json"


def cut(work: Plan, size: int) -> Cut:
    """Pieces of at most `size` videos in the order of the listing; the last one may be smaller."""
    todo = [video.video_id for video in work.todo]
    shards = tuple(tuple(todo[i : i + size]) for i in range(0, len(todo), size))
    return Cut(shards, tuple(p.video.video_id for p in work.parked))


def resume(pieces: Cut, work: Plan, outcomes: Iterable[Outcome]) -> Plan:
    """`work`, planned just now, as the run with these pieces sees it: what it parked stays so, the rest is to do."""
    parked, past = {p.video.video_id: p for p in work.parked}, histories(outcomes)
    todo: list[Video] = []
    kept: list[Parked] = []
    for video in (*work.todo, *(p.video for p in work.parked)):
        stays = parked.get(video.video_id) or (
            Parked(video, past[video.video_id][-1]) if past[video.video_id] else None
        )
        if video.video_id in pieces.parked and stays is not None:
            kept.append(stays)
        else:
            todo.append(video)
    return Plan(tuple(todo), work.done, tuple(kept), work.afresh)


def untouched(shard: Sequence[str], finished: Collection[str], outcomes: Iterable[Outcome]) -> tuple[str, ...]:
    """The videos of a shard that its runs left: neither finished nor failed, by the `outcomes` of those runs."""
    failed = {o.video_id for o in outcomes if o.state is OutcomeState.FAILED}
    return tuple(video_id for video_id in shard if video_id not in finished and video_id not in failed)

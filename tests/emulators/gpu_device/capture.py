"""Captures: what `run` launches is noted with its memory and undone; a replay runs the notes in that same memory.

`DeviceCore.capture` makes them. While one is under way the operators still compute, since later ones need shapes; what
they changed of older memory is put back at the end, and what they made is poisoned: a capture gives no values.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from tests.emulators.gpu_device.copies import poison, quiet
from tests.emulators.gpu_device.memory import Block, Pool
from tests.emulators.gpu_device.streams import Stream

if TYPE_CHECKING:
    from tests.emulators.gpu_device.core import DeviceCore
    from tests.emulators.gpu_device.launch import Launch


class _Step(NamedTuple):
    """`places` are the tensors that take the results, None for those that were written in place."""

    func: Callable[..., Any]
    args: Sequence[Any]
    named: Mapping[str, Any]
    places: Sequence[Tensor | None]


class Capture:
    """`broken` is set by what a capturing stream does not permit; then the capture fails at its end at the latest."""

    def __init__(self, home: DeviceCore, stream: Stream, pool: Pool) -> None:
        self.home, self.stream, self._pool = home, stream, pool
        self.broken = False
        self._steps: list[_Step] = []
        self._names: list[str] = []
        self._own: dict[int, tuple[weakref.ref[Block], Tensor]] = {}
        self._reads: dict[int, weakref.ref[Block]] = {}
        self._writes: dict[int, weakref.ref[Block]] = {}
        self._saved: dict[int, tuple[Tensor, Tensor]] = {}

    def run(
        self, launch: Launch, func: Any, inner: Sequence[Any], named: Mapping[str, Any], written: list[Block]
    ) -> Any:
        for each in launch.given.tensors:
            if each.block in written:
                self._save(each.held, each.block)
            if not launch.op.metadata:
                self._uses(self._reads, each.block)
        for block in written:
            self._uses(self._writes, block)
        result = launch.wrapped(func(*inner, **named))
        if written or (launch.fresh and not launch.op.empty):
            hosts = {id(each) for each in launch.given.hosts}
            frozen = [_frozen(each, hosts) for each in inner]
            places = [_place(each, launch.fresh) for each in _leaves(result)]
            self._steps.append(_Step(func, frozen, {k: _frozen(v, hosts) for k, v in named.items()}, places))
            self._names.append(launch.op.name)
        return result

    def place(self, made: Tensor) -> tuple[Tensor, Block]:
        placed = self._pool.place(made)
        block = Block(placed, self.home, self.stream, self._pool)
        self._own[block.key] = (weakref.ref(block), placed)
        return placed, block

    def undo(self) -> None:
        with quiet():
            for memory, before in self._saved.values():
                memory.copy_(before)
            for block, placed in self._own.values():
                if block() is not None:
                    poison(torch.empty(0, dtype=placed.dtype).set_(placed.untyped_storage()))
        self._saved.clear()

    def replay(self) -> Replay:
        own = [block for block, _ in self._own.values()]
        return Replay(self.home, self._pool, self._steps, self._names, self._reads, self._writes, own)

    def _save(self, inner: Tensor, block: Block) -> None:
        own = self._own.get(block.key)
        if block.key not in self._saved and (own is None or own[0]() is not block):
            memory = torch.empty(0, dtype=torch.uint8).set_(inner.untyped_storage())
            self._saved[block.key] = (memory, memory.clone())

    def _uses(self, kind: dict[int, weakref.ref[Block]], block: Block) -> None:
        own = self._own.get(block.key)
        if own is None or own[0]() is not block:
            kind.setdefault(block.key, weakref.ref(block))


class Replay:
    """What `capture` gives. `operators` counts what it runs."""

    def __init__(
        self,
        home: DeviceCore,
        pool: Pool,
        steps: Sequence[_Step],
        names: Sequence[str],
        reads: Mapping[int, weakref.ref[Block]],
        writes: Mapping[int, weakref.ref[Block]],
        own: Sequence[weakref.ref[Block]],
    ) -> None:
        self._home, self._pool, self._steps, self.operators = home, pool, steps, tuple(names)
        self._reads, self._writes, self._own = list(reads.values()), list(writes.values()), own

    def __call__(self) -> None:
        with self._home.machine.lock:
            self._home.faults.strike("replay")
            stream = self._home.stream()
            if stream.capture is not None:
                self._home.forbid("a replay")
            self._note(stream)
            with quiet():
                for step in self._steps:
                    _put(step.func(*step.args, **step.named), step.places)

    def _note(self, stream: Stream) -> None:
        reads, writes = ([ref() for ref in refs] for refs in (self._reads, self._writes))
        if None in reads or None in writes:
            text = "a replay uses memory that was freed after the capture"
            self._home.hazards.append(text)
            raise RuntimeError(text)
        made = [block for ref in self._own if (block := ref()) is not None]
        if self._steps:
            stream.launch(reads, [*writes, *made], "a replay")  # type: ignore[arg-type, list-item]
            self._home.launches[stream.name, "replay"] += 1
            self._home.executed.update((stream.name, name) for name in self.operators)


def _put(out: Any, places: Sequence[Tensor | None]) -> None:
    for each, place in zip(_leaves(out), places, strict=True):
        if place is not None:
            place.copy_(each)


def _leaves(out: Any) -> list[Any]:
    return [leaf for each in out for leaf in _leaves(each)] if isinstance(out, (list, tuple)) else [out]


def _place(result: Any, fresh: Sequence[Block]) -> Tensor | None:
    block = getattr(result, "block", None)
    return result.held if any(block is each for each in fresh) else None


def _frozen(value: Any, hosts: set[int]) -> Any:
    """A number of the host goes into a graph as it is now."""
    return value.clone() if id(value) in hosts else value

"""One operator on a stand-in device: what a GPU would refuse, what the host waits for, then the values.

`tensor.dispatch` calls it with the machine's lock held.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from tests.emulators.gpu_device import tensor
from tests.emulators.gpu_device.memory import Block
from tests.emulators.gpu_device.operators import Operator

if TYPE_CHECKING:
    from tests.emulators.gpu_device.core import DeviceCore

_NO_VALUES = "a tensor of the device {} has no values: a thread made it that had not entered current()"


class Launch:
    """`home` is the device of the operator's tensors, or the one that a factory names."""

    __slots__ = ("_home", "_stream", "_target", "_upload", "fresh", "given", "op")

    def __init__(self, home: DeviceCore, op: Operator, given: tensor.Given) -> None:
        self._home, self.op, self.given = home, op, given
        self._stream = home.stream()
        self._target: DeviceCore | None = home
        self.fresh: list[Block] = []
        self._upload: Tensor | None = None

    def run(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], inner: Sequence[Any], named: Any) -> Any:
        home, op, given, stream = self._home, self.op, self.given, self._stream
        if not home.faults.quiet:
            home.faults.strike("operator", op.name)
        if op.refused:
            raise NotImplementedError(f"{op.name} is not emulated")
        if op.reshapes:
            return _reshape(func, args, inner, named)
        if given.target is not None:
            self._target = home.machine.find(given.target)
        if op.transfers:
            self._transfer(args, named)
        if given.hosts or len(given.tensors) > 1:
            self._judge_mixture()
        if op.waits is not None and op.waits(inner, named):
            home.wait(op.name)
        if op.random and stream.capture is not None:
            home.forbid(op.name)
        if op.attends and not home.varied:
            home.attention_shapes[tuple(inner[0].shape), tuple(inner[1].shape)] += 1
        written = self._written(args, kwargs) if op.writes else []
        if stream.capture is not None:
            return stream.capture.run(self, func, inner, named, written)
        if written:
            self._note(written)
        found = func(*inner, **named)
        out = self._wrapped(found) if isinstance(found, Tensor) else self.wrapped(found)
        if self.fresh and not written and not op.empty:
            self._note(written)
        return out

    def wrapped(self, out: Any) -> Any:
        if isinstance(out, Tensor):
            return self._wrapped(out)
        return type(out)(map(self.wrapped, out)) if type(out) in (list, tuple) else out

    def _wrapped(self, out: Tensor) -> Tensor:
        """A view of what was given, or memory of its own on the device that the operator names."""
        given, target, key = self.given, self._target, out.untyped_storage()._cdata
        for each in given.tensors:
            if each.block.key != key:
                continue
            if each.block.home is target:
                return each if out is each.held else _view(out, each, target.device)
            out = out.clone()
        if target is None:
            return out
        for block in self.fresh:
            if block.key == key:
                return tensor.DeviceTensor(out, block, target.device)
        if any(host.untyped_storage()._cdata == key for host in given.hosts):
            out = out.clone()
        return self._allocated(out)

    def _allocated(self, out: Tensor) -> Tensor:
        target = self._target
        assert target is not None
        stream = self._stream if target is self._home else target.stream()
        if stream.capture is not None:
            out, block = stream.capture.place(out)
        else:
            block = Block(out, target, stream)
        self.fresh.append(block)
        return tensor.DeviceTensor(out, block, target.device)

    def _note(self, written: list[Block]) -> None:
        """Counts the launch, and lets streams of other devices that take part wait for one another, as torch does."""
        stream, tensors = self._stream, self.given.tensors
        others = self._others()
        for other in others:
            stream.wait_for(other.stream().clock())
        reads = () if self.op.metadata else [each.block for each in tensors]
        stream.launch(reads, (*written, *self.fresh), self.op.name)
        key = (stream.name, self.op.name)
        self._home.launches[key] += 1
        self._home.executed[key] += 1
        for other in others:
            other.stream().wait_for(stream.clock())
        if self._upload is not None:
            self._home.copies.begin_upload(stream, self._upload)

    def _others(self) -> set[DeviceCore]:
        if not self.op.transfers:
            return set()
        homes = {each.block.home for each in self.given.tensors} | {self._target or self._home}
        return homes - {self._home}

    def _written(self, args: Sequence[Any], named: Mapping[str, Any]) -> list[Block]:
        found = [args[at] for at in self.op.written if at < len(args)]
        found += [named[name] for name in self.op.written_names if name in named]
        return [each.block for each in self._flat(found) if type(each) is tensor.DeviceTensor]

    def _flat(self, values: Sequence[Any]) -> list[Any]:
        return [leaf for each in values for leaf in (self._flat(each) if isinstance(each, (list, tuple)) else (each,))]

    def _judge_mixture(self) -> None:
        """Operands on several devices, as far as CUDA refuses them. A number of the host (no dimensions) may mix."""
        op, home = self.op, self._home
        for host in self.given.hosts:
            if host.device.type == "meta":
                raise RuntimeError(_NO_VALUES.format(host.device))
            if op.transfers or op.metadata or host.dim() == 0:
                continue
            if not op.indexes:
                raise RuntimeError(_mixture(home.device, host.device))
            home.wait("pageable copy of an index to the device")
        for each in self.given.tensors:
            if each.block.home is not home and not op.transfers:
                raise RuntimeError(_mixture(home.device, each.block.home.device))

    def _transfer(self, args: Sequence[Any], named: Mapping[str, Any]) -> None:
        op, home, source = self.op, self._home, args[0]
        towards = self._target is not None
        if op.name.startswith("aten.copy_"):
            source, towards = args[1], type(args[0]) is tensor.DeviceTensor
            self._target = home if towards else None
        leaves = type(source) is tensor.DeviceTensor
        if leaves and not towards:
            if op.is_non_blocking(args, named):
                raise NotImplementedError("a late copy to the host is emulated by Accelerator.download only")
            home.wait("copy to the host")
        elif towards and not leaves:
            if op.is_non_blocking(args, named) and home.host_memory.owns(source):
                if self._stream.capture is not None:
                    home.forbid("an upload")
                self._upload = source
            else:
                home.wait("pageable copy to the device")


def _view(out: Tensor, base: tensor.DeviceTensor, device: torch.device) -> Tensor:
    """What was made outside inference mode keeps that manner in its views; torch's own kernels rely on it."""
    if torch.is_inference_mode_enabled() and not base.is_inference():
        with torch.inference_mode(False):
            return tensor.DeviceTensor(out, base.block, device)
    return tensor.DeviceTensor(out, base.block, device)


def _reshape(func: Any, args: Sequence[Any], inner: Sequence[Any], named: Any) -> Any:
    """The wrapper's own shape follows through the operator's kernel for `meta`. What a capture noted stays as it is."""
    with torch._C._DisableTorchDispatch():
        func(*args, **named)
    args[0].held = torch.ops.aten.alias(inner[0])
    func(args[0].held, *inner[1:], **named)
    return args[0]


def _mixture(one: torch.device, other: torch.device) -> str:
    return (
        f"Expected all tensors to be on the same device, but found at least two devices, {one} and {other}! "
        "(on CUDA this operator refuses it)"
    )

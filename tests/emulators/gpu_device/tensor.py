"""Tensors of a stand-in device, and the one place through which all their operators go.

A tensor is a wrapper on the device `meta:<index>` around a tensor of the CPU that nobody else sees. With a
`Factories` mode in force, `torch.zeros(device=...)` and the like make such wrappers, too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from tests.emulators.gpu_device.launch import Launch
from tests.emulators.gpu_device.memory import Block
from tests.emulators.gpu_device.operators import operator_of

if TYPE_CHECKING:
    from tests.emulators.gpu_device.core import DeviceCore
    from tests.emulators.gpu_device.machine import Machine

_HOST = torch.device("cpu")
_PLAIN = {int, float, bool, str, type(None), torch.dtype, torch.memory_format, torch.layout, complex}


class DeviceTensor(Tensor):
    """`held` has the values, `block` is the allocation that it looks at."""

    held: Tensor
    block: Block
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls: Any, inner: Tensor, block: Block, device: torch.device) -> DeviceTensor:
        made: DeviceTensor = torch.Tensor._make_wrapper_subclass(
            cls,
            inner.shape,
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=device,
        )
        made.held, made.block = inner, block
        return made

    def __init__(self, *args: Any) -> None:
        return None

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return dispatch(None, func, args, kwargs or {})

    def __tensor_flatten__(self) -> tuple[list[str], Any]:
        """With the next one a sign to `nn.Module.to` to exchange parameters in place, so that tied ones stay tied."""
        return ["held"], self.block

    @staticmethod
    def __tensor_unflatten__(inner: dict[str, Tensor], block: Block, size: Any, stride: Any) -> DeviceTensor:
        return DeviceTensor(inner["held"], block, block.home.device)

    @property
    def data(self) -> Tensor:
        return self.detach()

    @data.setter
    def data(self, other: DeviceTensor) -> None:
        Tensor.data.__set__(self, other)  # type: ignore[attr-defined]
        self.held, self.block = other.held, other.block

    def __getitem__(self, index: Any) -> Tensor:
        return super().__getitem__(_positions(index))

    def __setitem__(self, index: Any, value: Any) -> None:
        """torch wraps a number for a CUDA tensor in a tensor of the host, whose copy is a blocking one."""
        if isinstance(value, (int, float)):
            value = torch.tensor(value, dtype=self.dtype)
        super().__setitem__(_positions(index), value)

    def new_tensor(self, data: Any, *, dtype: torch.dtype | None = None, **options: Any) -> Tensor:
        return torch.tensor(data, dtype=dtype or self.dtype, device=options.pop("device", self.device), **options)

    def __repr__(self, **_: Any) -> str:
        return f"DeviceTensor(shape={tuple(self.shape)}, dtype={self.dtype}, device='{self.device}')"


def _positions(index: Any) -> Any:
    """Lists as tensors of the host, which torch makes of them for CUDA."""
    if isinstance(index, tuple):
        return tuple(map(_positions, index))
    return torch.tensor(index) if isinstance(index, (list, np.ndarray)) else index


class Factories(TorchDispatchMode):
    """Sees the operators that are given no device tensor. Belongs to one thread."""

    def __init__(self, machine: Machine) -> None:
        super().__init__()
        self._machine = machine

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return dispatch(self._machine, func, args, kwargs or {})


class Given:
    """The tensors among an operator's arguments, and the device that it names."""

    __slots__ = ("hosts", "target", "tensors")

    def __init__(self) -> None:
        self.tensors: list[DeviceTensor] = []
        self.hosts: list[Tensor] = []
        self.target: torch.device | None = None

    def inner(self, value: Any) -> Any:
        """The argument as the CPU takes it."""
        kind = type(value)
        if kind is DeviceTensor:
            self.tensors.append(value)
            return value.held
        if kind in _PLAIN:
            return value
        if kind is list or kind is tuple:
            return value if value and type(value[0]) in (int, float) else kind([self.inner(each) for each in value])
        if kind is torch.device:
            self.target = value
            return _HOST if value.type == "meta" and value.index is not None else value
        if isinstance(value, Tensor):
            self.hosts.append(value)
        return value


def dispatch(machine: Machine | None, func: Any, args: Any, kwargs: Any) -> Any:
    given = Given()
    inner = tuple([given.inner(each) for each in args])
    named = {name: given.inner(each) for name, each in kwargs.items()} if kwargs else kwargs
    home = _home(machine, given)
    if home is None:
        if func is torch.ops.aten.scalar_tensor.default and given.target == torch.device("meta"):
            named = {**named, "device": _HOST}  # torch's own, for a Python number beside a device tensor
        return func(*inner, **named)
    with home.machine.lock:
        return Launch(home, operator_of(func), given).run(func, args, kwargs, inner, named)


def _home(machine: Machine | None, given: Given) -> DeviceCore | None:
    if given.tensors:
        return given.tensors[0].block.home
    target = given.target
    if machine is None or target is None or target.type != "meta" or target.index is None:
        return None
    return machine.device(target)

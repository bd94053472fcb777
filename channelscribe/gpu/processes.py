"""Who else is on the card: processes by the driver's list, ours and foreign told apart by the tree of processes.

Asked by the reader every few seconds; the policy yields to foreigners. In a container the driver may name processes by
the numbers of the host, which mean nothing here: such a one is neither ours nor foreign but unknown (`ours` None).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import PurePath, PureWindowsPath
from typing import Any

import psutil

from channelscribe.core.gpu import GpuProcess
from channelscribe.gpu.fields import Device
from channelscribe.gpu.memory import running_torch
from channelscribe.gpu.nvml import NvmlError, Trouble, attempt, text

_LISTS = ("nvmlDeviceGetComputeRunningProcesses", "nvmlDeviceGetMPSComputeRunningProcesses")


def list_processes(device: Device, family: Callable[[], set[int]] | None = None) -> tuple[GpuProcess, ...]:
    """All compute processes on the card (of the MIG instance, where one is used), by falling memory.

    `family` gives the numbers of this process and its children. Raises NvmlError where the driver does not say.
    """
    family = family or own_family
    listed = [attempt(device.nvml.ask, function, device.own) for function in _LISTS]
    if isinstance(listed[0], Trouble):
        raise NvmlError(listed[0])
    by_pid = {p.pid: p for answer in listed if not isinstance(answer, Trouble) for p in answer}
    ours = family() if by_pid else set()
    found = _alone_must_be_us([_described(device, p, ours) for p in by_pid.values()])
    return tuple(sorted(found, key=lambda p: (-(p.used_bytes or 0), p.pid)))


def own_family() -> set[int]:
    """This process and everything that it has started."""
    me = psutil.Process()
    return {me.pid, *(child.pid for child in me.children(recursive=True))}


def _described(device: Device, process: Any, family: Iterable[int]) -> GpuProcess:
    ours: bool | None = True if process.pid in family else False if _is_here(process.pid) else None
    name = "" if ours is None else _name(device, process.pid)
    return GpuProcess(process.pid, process.usedGpuMemory, ours, name)


def _is_here(pid: int) -> bool:
    try:
        return psutil.pid_exists(pid)
    except OverflowError:
        return False


def _name(device: Device, pid: int) -> str:
    """The program's file name; its path and arguments are nobody's business in a table."""
    path = attempt(device.nvml.ask, "nvmlSystemGetProcessName", pid)
    if isinstance(path, Trouble):
        return ""
    return (PureWindowsPath if "\\" in text(path) else PurePath)(text(path)).name


def _alone_must_be_us(found: list[GpuProcess]) -> list[GpuProcess]:
    """One process on the card, which nobody here knows, while this process works on the card: it is this process."""
    if len(found) == 1 and found[0].ours is None and running_torch() is not None:
        return [replace(found[0], ours=True)]
    return found

"""Who else is on the card: processes by the driver's list, ours and foreign told apart by the tree of processes.

Asked by the reader every few seconds; the policy yields to foreigners. In a container the driver may name processes by
the numbers of the host, which mean nothing here: such a one is neither ours nor foreign but unknown (`ours` None).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import PurePath, PureWindowsPath
from typing import Any

import psutil

from channelscribe.core.gpu import GpuProcess
from channelscribe.gpu.fields import Device
from channelscribe.gpu.memory import running_torch
from channelscribe.gpu.nvml import Kind, NvmlError, Trouble, attempt, text

# Each newest first; the names without a number refuse drivers that have only the older ones.
_LISTS = (
    ("nvmlDeviceGetComputeRunningProcesses_v3", "nvmlDeviceGetComputeRunningProcesses_v2"),
    ("nvmlDeviceGetMPSComputeRunningProcesses_v3", "nvmlDeviceGetMPSComputeRunningProcesses_v2"),
)


def list_processes(device: Device, whose: Callable[[int], bool | None] | None = None) -> tuple[GpuProcess, ...]:
    """All compute processes on the card (of the MIG instance, where one is used), by falling memory.

    `whose` tells of a process number whether it is ours. Raises NvmlError where the driver does not say.
    """
    listed = [attempt(_listed, device, functions) for functions in _LISTS]
    if isinstance(listed[0], Trouble):
        raise NvmlError(listed[0])
    by_pid = {p.pid: p for answer in listed if not isinstance(answer, Trouble) for p in answer}
    found = _alone_must_be_us([_described(device, p, (whose or is_ours)(p.pid)) for p in by_pid.values()])
    return tuple(sorted(found, key=lambda p: (-(p.used_bytes or 0), p.pid)))


def _listed(device: Device, functions: Sequence[str]) -> Sequence[Any]:
    answer: Any = None
    for function in functions:
        answer = attempt(device.nvml.ask, function, device.own)
        if not isinstance(answer, Trouble):
            return list(answer)
        if answer.kind is not Kind.UNSUPPORTED:
            break
    raise NvmlError(answer)


def is_ours(pid: int) -> bool | None:
    """Whether it is this process or one that it has started; None where there is no process of that number here."""
    try:
        return pid == os.getpid() or os.getpid() in [parent.pid for parent in psutil.Process(pid).parents()]
    except (psutil.NoSuchProcess, OverflowError, ValueError):
        return None
    except psutil.Error:
        return False


def _described(device: Device, process: Any, ours: bool | None) -> GpuProcess:
    name = "" if ours is None else _name(device, process.pid)
    return GpuProcess(process.pid, process.usedGpuMemory, ours, name)


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

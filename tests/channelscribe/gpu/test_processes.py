"""Whose a process on the card is: by the tree of processes, and unknown where the driver speaks of another one's."""

from __future__ import annotations

import os
import subprocess
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from channelscribe.core.gpu import GpuProcess
from channelscribe.gpu.fields import Device
from channelscribe.gpu.nvml import Nvml, NvmlError
from channelscribe.gpu.processes import is_ours, list_processes
from tests.emulators.nvml import MIB, FakeCard, FakeDriver, FakeProcess, installed

HIDDEN = 4_000_000  # above the kernel's largest process number


def listed(*processes: FakeProcess, **refuses: str) -> tuple[GpuProcess, ...]:
    card = FakeCard(processes=list(processes), refuses=refuses)
    with installed(FakeDriver([card])):
        return list_processes(Device(Nvml(), card, card))


@contextmanager
def grandchild() -> Iterator[int]:
    """A process that a process of ours has started."""
    script = "import subprocess, sys; c = subprocess.Popen(['sleep', '60']); print(c.pid, flush=True); c.wait()"
    child = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    pid = int(child.stdout.readline())
    try:
        yield pid
    finally:
        os.kill(pid, 9)
        child.wait()
        child.stdout.close()


@pytest.mark.skipif(sys.platform == "win32", reason="uses sleep")
def test_we_and_what_we_have_started_are_ours() -> None:
    with grandchild() as pid:
        found = listed(FakeProcess(os.getpid(), 900 * MIB), FakeProcess(pid, 100 * MIB), FakeProcess(os.getppid()))
    assert [(p.pid, p.ours) for p in found] == [(os.getpid(), True), (os.getppid(), False), (pid, True)]


@pytest.mark.parametrize("pid", [HIDDEN, 1 << 40, -1])
def test_a_number_that_is_no_process_here_is_unknown(pid: int) -> None:
    assert is_ours(pid) is None


def test_a_process_of_another_namespace_is_neither_ours_nor_foreign() -> None:
    found = listed(FakeProcess(HIDDEN), FakeProcess(HIDDEN + 1), FakeProcess(0xFFFFFFFF))
    assert {p.ours for p in found} == {None}
    assert {p.name for p in found} == {""}


def test_an_unknown_process_alone_on_the_card_on_which_we_work_is_us(monkeypatch: pytest.MonkeyPatch) -> None:
    torch: Any = types.SimpleNamespace(cuda=types.SimpleNamespace(is_initialized=lambda: True))
    monkeypatch.setitem(sys.modules, "torch", torch)
    assert [p.ours for p in listed(FakeProcess(HIDDEN))] == [True]
    assert [p.ours for p in listed(FakeProcess(HIDDEN), FakeProcess(HIDDEN + 1))] == [None, None]
    torch.cuda.is_initialized = lambda: False
    assert [p.ours for p in listed(FakeProcess(HIDDEN))] == [None]


def test_memory_that_is_not_told_is_unknown() -> None:
    assert listed(FakeProcess(os.getpid(), None))[0].used_bytes is None


@pytest.mark.parametrize(
    ("path", "name"), [("/usr/bin/python3", "python3"), (r"C:\Games\Game.exe", "Game.exe"), ("", ""), ("Xorg", "Xorg")]
)
def test_only_the_programs_name_is_kept(path: str, name: str) -> None:
    assert listed(FakeProcess(os.getppid(), 1, path))[0].name == name


def test_nobody_on_the_card_is_an_empty_list_and_a_refusal_is_no_list() -> None:
    assert listed() == ()
    with pytest.raises(NvmlError):
        listed(nvmlDeviceGetComputeRunningProcesses_v3="NO_PERMISSION")
    assert len(listed(FakeProcess(1), nvmlDeviceGetMPSComputeRunningProcesses_v3="NOT_SUPPORTED")) == 1


def test_an_older_driver_is_asked_by_its_own_name() -> None:
    old = {"nvmlDeviceGetComputeRunningProcesses_v3": "FUNCTION_NOT_FOUND"}
    assert len(listed(FakeProcess(1), **old)) == 1
    both = {**old, "nvmlDeviceGetComputeRunningProcesses_v2": "FUNCTION_NOT_FOUND"}
    with pytest.raises(NvmlError, match="Function Not Found"):
        listed(FakeProcess(1), **both)

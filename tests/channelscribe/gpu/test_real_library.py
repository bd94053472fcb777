"""The unmodified nvidia-ml-py over a library of our own: the same numbers must come through its real structures."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
COMPILER = shutil.which("cc") or shutil.which("gcc")
pytestmark = pytest.mark.skipif(COMPILER is None or sys.platform != "linux", reason="needs a C compiler on Linux")
SCRIPT = """
import dataclasses, json
from channelscribe.gpu.capping import open_cap
from channelscribe.gpu.open import open_reader
reader = open_reader("auto", device="cuda:0")
first, second = reader.sample(), reader.sample()
cap = open_cap(reader)
cap.apply(300.0)
limits = [reader.nvml.ask("nvmlDeviceGetPowerManagementLimit", reader._device.card)]
cap.close()
limits.append(reader.nvml.ask("nvmlDeviceGetPowerManagementLimit", reader._device.card))
card = dataclasses.asdict(reader.card)
reader.close()
print(json.dumps([card, dataclasses.asdict(first), second.xids, limits], default=str))
"""


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    folder = tmp_path_factory.mktemp("driver")
    source, library = ROOT / "tests" / "emulators" / "nvml_library.c", folder / "libnvidia-ml.so.1"
    subprocess.run([str(COMPILER), "-w", "-shared", "-fPIC", "-o", library, source], check=True)
    environment = {**os.environ, "LD_LIBRARY_PATH": str(folder), "XDG_CACHE_HOME": str(folder)}
    environment.pop("CUDA_VISIBLE_DEVICES", None)
    ran = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    answer: list[Any] = json.loads(ran.stdout)
    return answer


def test_the_card_is_found_through_the_real_library(said: list[Any]) -> None:
    assert said[0] == {
        "uuid": "GPU-5ad1c0de-0000-4000-8000-000000000001", "name": "NVIDIA GeForce RTX 4090", "ordinal": 0,
        "driver": "580.95.05", "total_bytes": 24 << 30, "instance": "",
    }  # fmt: skip


def test_every_number_comes_through_its_structures(said: list[Any]) -> None:
    sample = said[1]
    assert sample["errors"] == []
    assert {name for name, value in sample.items() if value is None} == {
        "mem_temp_c", "ecc_corrected", "ecc_uncorrected", "torch_allocated_bytes", "torch_reserved_bytes",
    }  # fmt: skip
    expected = {
        "temp_c": 61, "headroom_c": 22, "slowdown_c": 90, "shutdown_c": 95, "power_w": 310, "power_average_w": 295,
        "energy_j": 5000, "throttle_mask": 4, "thermal_violation_s": 3.5, "power_violation_s": 1.25,
        "limit_min_w": 150, "limit_max_w": 480, "sm_clock_mhz": 2520, "mem_clock_max_mhz": 11001,
        "util_gpu_percent": 97, "util_mem_percent": 41, "mem_reserved_bytes": 384 << 20, "mem_used_bytes": 9 << 30,
        "pcie_tx_kib_s": 1000, "pcie_rx_kib_s": 2000, "fan_percent": 44, "xids": [42, 41],
    }  # fmt: skip
    assert {name: sample[name] for name in expected} == expected


def test_a_process_of_ours_is_seen_with_its_memory(said: list[Any]) -> None:
    (process,) = said[1]["processes"]
    assert (process["used_bytes"], process["ours"], process["name"]) == (512 << 20, True, "python3")


def test_xids_are_told_once(said: list[Any]) -> None:
    assert said[2] == []


def test_the_power_limit_is_set_and_given_back(said: list[Any]) -> None:
    assert said[3] == [300_000, 450_000]

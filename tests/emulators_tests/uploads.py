"""Values on the GPU stand-in without a wait, for its tests."""

from __future__ import annotations

import torch
from torch import Tensor

from tests.emulators.gpu_device import GpuStandIn


def on(gpu: GpuStandIn, *values: float) -> Tensor:
    """float32 [values] on the device."""
    return gpu.upload(pinned(gpu, *values))


def pinned(gpu: GpuStandIn, *values: float) -> Tensor:
    host = gpu.host_tensor(len(values), dtype=torch.float32)
    host.copy_(torch.tensor(values))
    return host

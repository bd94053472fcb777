"""Which GPU this is and what it can do as measured: the ceilings against which every other figure is told."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812

from benchmarks.gpu.engine_parts import Timer
from benchmarks.gpu.notes import Notes
from benchmarks.gpu.stage import Stage
from channelscribe.asr.accelerator import accelerator_for

_PACKAGES = ("torch", "triton", "transformers", "numpy", "av", "pydantic", "nvidia-ml-py", "prefect", "ctranslate2")
_BACKENDS = {-1: "none", 0: "math", 1: "flash", 2: "efficient", 3: "cudnn", 4: "overrideable"}
_HEADS, _SIZE, _FRAMES = 20, 64, 1500


def facts(stage: Stage, notes: Notes) -> None:
    """Versions first, then what the driver says, then rates."""
    notes.put(python=sys.version.split()[0], versions=versions(), cudnn=torch.backends.cudnn.version())
    accelerator = accelerator_for(torch.device(stage.device))
    notes.put(gpu=_gpu(stage))
    with accelerator.current():
        timer = Timer(accelerator, stage.times)
        notes.put(attention=backends(stage))
        notes.put(**rates(stage, timer))


def versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "missing"
    return found


def _gpu(stage: Stage) -> dict[str, Any]:
    """Empty on a CPU. What torch says, and what the project's own reader says."""
    if not stage.on_gpu:
        return {}
    from channelscribe.gpu.open import open_reader

    seen = torch.cuda.get_device_properties(0)
    found = {
        "name": seen.name,
        "gib": round(seen.total_memory / 2**30, 1),
        "capability": f"{seen.major}.{seen.minor}",
        "processors": seen.multi_processor_count,
        "cuda": torch.version.cuda,
    }
    reader = open_reader("auto", device=stage.device)
    if reader is not None:
        card, sample = reader.card, reader.sample()
        found["driver"] = card.driver
        found |= {name: getattr(sample, name) for name in ("limit_w", "power_w", "temp_c", "sm_clock_mhz")}
        reader.close()
    return found


def backends(stage: Stage) -> dict[str, str]:
    """Which attention kernel torch chooses for the engine's three shapes, those of turbo and large-v3."""
    dtype = getattr(torch, stage.dtype)

    def made(rows: int, places: int) -> torch.Tensor:
        return torch.randn(rows, _HEADS, places, _SIZE, device=stage.device, dtype=dtype)

    one, own, sound, whole = made(8, 1), made(8, 128), made(8, _FRAMES), made(2, _FRAMES)
    mask = torch.zeros(8, 1, 1, 128, device=stage.device, dtype=dtype)
    return {
        "one query over the audio": _chosen(one, sound, sound),
        "one query over its tokens, masked": _chosen(one, own, own, mask),
        "encoder": _chosen(whole, whole, whole),
    }


def _chosen(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None = None) -> str:
    """The name of torch's choice, and an error where that kernel then refuses."""
    choose: Callable[..., int] = torch._fused_sdp_choice
    name = _BACKENDS.get(choose(query, key, value, mask), "?")
    try:
        F.scaled_dot_product_attention(query, key, value, mask).sum().item()
    except RuntimeError as error:
        return f"{name}, which fails: {str(error)[:160]}"
    return name


def rates(stage: Stage, timer: Timer) -> dict[str, float]:
    """Bytes read and written by a copy on the device, and operations of a large product on random numbers."""
    count, size = (1 << 30, 8192) if stage.on_gpu else (1 << 24, 256)
    source = torch.randint(0, 255, (count,), dtype=torch.uint8, device=stage.device)
    target = torch.empty_like(source)
    found = {"copy_gb_s": round(2 * count / timer.ms(lambda: target.copy_(source)) / 1e6, 1)}
    a, b = (torch.randn(size, size, device=stage.device, dtype=torch.bfloat16) for _ in range(2))
    return found | {"bf16_tflop_s": round(2 * size**3 / timer.ms(lambda: a @ b, warm=3) / 1e9, 4)}

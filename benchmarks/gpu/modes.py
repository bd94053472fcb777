"""The ways in which the engine can be set on a GPU, from the fastest to the plainest, as environment of a part.

The parent of the twelve minutes finds the first that is right and gives it to all parts that follow; a part's process
calls `apply` before it loads a model.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

# torch 2.11 reads the first when it first chooses an attention kernel; the engine reads the last when it loads a model.
_CUDNN, _GRAPHS, _KERNEL = "TORCH_CUDNN_SDPA_DEPRIORITIZED", "CHANNELSCRIBE_BENCH_GRAPHS", "CHANNELSCRIBE_SINGLE_QUERY"
_GAIN = 0.95  # less than this is noise
_SWITCHED = {_CUDNN: "1", _KERNEL: "twin", _GRAPHS: "no"}


@dataclass(frozen=True, slots=True)
class Mode:
    """cuDNN's attention, our own attention kernel, and recorded graphs may each be left out."""

    cudnn: bool = True
    kernel: bool = True
    graphs: bool = True

    @property
    def name(self) -> str:
        parts = {"cuDNN attention": self.cudnn, "the Triton kernel": self.kernel, "graphs": self.graphs}
        without = [name for name, there in parts.items() if not there]
        return "without " + " and ".join(without) if without else "as it is"

    def environment(self) -> dict[str, str]:
        switches = {_CUDNN: self.cudnn, _KERNEL: self.kernel, _GRAPHS: self.graphs}
        return {name: _SWITCHED[name] for name, there in switches.items() if not there}

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Mode:
        return cls(*(environment.get(name) != _SWITCHED[name] for name in (_CUDNN, _KERNEL, _GRAPHS)))


AS_IT_IS, PLAIN = Mode(), Mode(cudnn=False, kernel=False, graphs=False)
# Each fault alone, then together: what is asked of the model beside `generate`, in this order.
ALONE = (AS_IT_IS, Mode(cudnn=False), Mode(kernel=False), Mode(graphs=False))
TOGETHER = (Mode(cudnn=False, kernel=False), Mode(kernel=False, graphs=False), PLAIN)


def without_switches(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name not in _SWITCHED}


def apply(mode: Mode | None = None) -> Mode:
    """Sets this process, by default as its environment says; the attention kernel is set by that alone."""
    mode = mode or Mode.of(os.environ)
    import torch

    from channelscribe.asr.accelerator import Cuda

    if not mode.graphs:
        Cuda.captures = False
    if not mode.cudnn:
        torch.backends.cuda.enable_cudnn_sdp(False)
    return mode


def fastest(right: Iterable[Mode], window_ms: Mapping[str, float]) -> Mode | None:
    """Of modes that were right the first, unless another took 5 % less. None without any.

    `window_ms` holds by a mode's name what a window costs; a mode that was not measured is not taken for its speed.
    """
    among = list(right)
    if not among:
        return None
    first = among[0]
    quickest = min(among, key=lambda mode: window_ms.get(mode.name, float("inf")))
    gained = window_ms.get(quickest.name, float("inf")) < _GAIN * window_ms.get(first.name, 0.0)
    return quickest if gained else first

"""Runs one function over fixed tensors again and again: as a CUDA graph on a card, as it is everywhere else.

The decode step is called through it. What is captured is exactly the function that runs without a card; only the
launching differs.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable
from typing import Any, Generic, TypeVar

import torch

log = logging.getLogger(__name__)
Key = TypeVar("Key", bound=Hashable)


class Replayer(Generic[Key]):
    """Calls `function(key)`; on CUDA once for real and captured, then replayed. Keys differ where shapes differ.

    The graphs share one memory pool, since no two run at once. `forget` gives them back, as before an allocation that
    must find room; the next call captures anew. Not thread-safe.
    """

    def __init__(self, function: Callable[[Key], None], device: torch.device) -> None:
        self._function, self._captures = function, device.type == "cuda"
        self._graphs: dict[Key, Any] = {}
        self._pool: Any = None

    @property
    def captured(self) -> int:
        return len(self._graphs)

    def __call__(self, key: Key) -> None:
        graph = self._graphs.get(key)
        if graph is not None:
            graph.replay()
            return
        self._function(key)  # a real step, and the warm-up that a capture needs
        if self._captures:
            self._capture(key)

    def forget(self) -> None:
        self._graphs.clear()
        self._pool = None

    def _capture(self, key: Key) -> None:
        """Recording runs nothing. Other threads may use the card meanwhile, hence the error mode."""
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
                self._function(key)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            self._captures = False
            log.warning("decode steps are launched one by one, because they could not be captured: %s", error)
            return
        self._pool = graph.pool()
        self._graphs[key] = graph

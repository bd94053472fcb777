"""Runs one function over fixed tensors again and again: as a CUDA graph on a card, as it is everywhere else.

The decode step is called through it. What is captured is exactly the function that runs without a card; only the
launching differs.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable
from typing import Any, Generic, Protocol, TypeVar

import torch

log = logging.getLogger(__name__)
Key = TypeVar("Key", bound=Hashable)


class Capture(Protocol):
    """Records what `run` launches, without running it, and gives what launches it again."""

    def __call__(self, run: Callable[[], None]) -> Callable[[], None]: ...


class CudaCapture:
    """The graphs share one memory pool, since no two run at once. Other threads may use the card meanwhile."""

    def __init__(self) -> None:
        self._pool: Any = None

    def __call__(self, run: Callable[[], None]) -> Callable[[], None]:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            run()
        self._pool = graph.pool()
        replay: Callable[[], None] = graph.replay
        return replay


class Replayer(Generic[Key]):
    """Calls `function(key)`; with a capture once for real, then replayed. Keys differ where shapes differ.

    What was captured lives as long as the replayer. A function that cannot be captured is called as it is from then
    on; the log says so. Raises what the function raises, and `torch.OutOfMemoryError`. Not thread-safe.
    """

    def __init__(self, function: Callable[[Key], None], capture: Capture | None) -> None:
        self._function, self._capture = function, capture
        self._replays: dict[Key, Callable[[], None]] = {}

    def __call__(self, key: Key) -> None:
        replay = self._replays.get(key)
        if replay is not None:
            replay()
            return
        self._function(key)  # a real step, and the warm-up that a capture needs
        if self._capture is not None:
            self._record(key, self._capture)

    def _record(self, key: Key, capture: Capture) -> None:
        try:
            self._replays[key] = capture(lambda: self._function(key))
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            self._capture = None
            self._replays.clear()
            log.warning("decode steps are launched one by one, because they could not be captured: %s", error)

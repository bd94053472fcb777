"""Threads of our own for the speech detector, each using one core; the feeders hand it their sound.

Many small torch operations in many threads, each spread over all cores, spend their time waiting for each other.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import ParamSpec, TypeVar

import torch

P = ParamSpec("P")
T = TypeVar("T")
_lock = threading.Lock()
_making = threading.Lock()


def hear(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Runs `work` in one of the threads and gives its result."""
    with _lock:
        threads = _threads()
    return threads.submit(work, *args, **kwargs).result()


@lru_cache(maxsize=1)
def _threads() -> ThreadPoolExecutor:
    """All of them are made at once, before the first sound is heard and so before the model's thread uses torch."""
    count = max(1, (os.cpu_count() or 2) // 2)
    together = threading.Barrier(count)
    threads = ThreadPoolExecutor(count, "hearing", initializer=_use_one_core)
    for future in [threads.submit(together.wait) for _ in range(count)]:
        future.result()
    return threads


def _use_one_core() -> None:
    """torch keeps the number for each thread, and a default for threads to come, which is given back at once."""
    with _making:
        default = torch.get_num_threads()
        torch.set_num_threads(1)
        giving_back = threading.Thread(target=torch.set_num_threads, args=(default,))
        giving_back.start()
        giving_back.join()

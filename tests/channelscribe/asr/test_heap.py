"""What large arrays of many threads leave behind goes back to the system, at most every ten seconds."""

from __future__ import annotations

import sys
import threading

import psutil
import pytest

from channelscribe.asr.heap import EVERY_S, HeapTrimmer
from tests.channelscribe.youtube.clocks import JumpClock


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's malloc")
def test_freed_memory_goes_back() -> None:
    pieces: list[list[bytearray]] = []
    maker = threading.Thread(target=lambda: pieces.append([bytearray(64 * 1024) for _ in range(1_600)]))
    maker.start()
    maker.join()
    last = pieces[0].pop()  # the top of the arena stays in use, and glibc keeps all below it
    pieces.clear()
    before = psutil.Process().memory_info().rss
    assert HeapTrimmer().trim_when_due()
    assert before - psutil.Process().memory_info().rss > 50 * 2**20
    assert last


def test_not_more_often_than_is_of_use() -> None:
    clock, trims = JumpClock(), list[float]()

    def trim() -> bool:
        trims.append(clock.monotonic())
        return True

    heap = HeapTrimmer(clock, trim)
    found = []
    for _ in range(5):
        found.append(heap.trim_when_due())
        clock.sleep(EVERY_S / 2)
    assert trims == [0.0, EVERY_S, 2 * EVERY_S]
    assert found == [True, False, True, False, True]

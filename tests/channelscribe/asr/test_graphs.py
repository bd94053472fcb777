"""Replaying what was captured, with a stand-in for the card: recording runs nothing, a replay runs it once."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from channelscribe.asr.graphs import Replayer


class Recorder:
    def __init__(self, error: Exception | None = None) -> None:
        self.error, self.recorded, self.recording = error, 0, False

    def __call__(self, run: Callable[[], None]) -> Callable[[], None]:
        self.recording = True
        run()
        self.recording = False
        if self.error is not None:
            raise self.error
        self.recorded += 1
        return run


def test_every_call_is_one_real_step_and_each_shape_is_recorded_once() -> None:
    capture, steps = Recorder(), list[int]()
    replayer = Replayer[int](lambda key: None if capture.recording else steps.append(key), capture)
    for key in (1, 1, 2, 1, 2):
        replayer(key)
    assert (steps, capture.recorded) == ([1, 1, 2, 1, 2], 2)


def test_without_a_card_the_function_is_called_as_it_is() -> None:
    steps = list[int]()
    replayer = Replayer[int](steps.append, None)
    for key in (1, 1, 2):
        replayer(key)
    assert steps == [1, 1, 2]


def test_what_cannot_be_captured_is_launched_one_by_one_and_said(caplog: pytest.LogCaptureFixture) -> None:
    capture, steps = Recorder(RuntimeError("operation not permitted when stream is capturing")), list[int]()
    replayer = Replayer[int](lambda key: None if capture.recording else steps.append(key), capture)
    for key in (1, 1, 2):
        replayer(key)
    assert steps == [1, 1, 2]
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_too_little_memory_for_a_graph_is_told_to_the_caller() -> None:
    replayer = Replayer[int](lambda key: None, Recorder(torch.OutOfMemoryError("out of memory")))
    with pytest.raises(torch.OutOfMemoryError):
        replayer(1)

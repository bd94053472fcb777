"""What the host reads of the decode slots: which tokens each window has written since the last look, and who has ended.

The slots queue a copy behind every chunk of steps and read it later, for all windows at once with NumPy: token by token
in Python it took 11.8 ms for 256 windows and 8 steps, in which a GPU could have decoded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from torch import Tensor

from channelscribe.asr.accelerator import Accelerator, Event
from channelscribe.asr.plausible import Attempt, repeating_tail
from channelscribe.asr.step import SlotState

_LOOP_CHECK_TOKENS = 8
# A loop is at least 32 tokens long and of at most 24 (`repeating_tail`), so its last 8 stand once more within 32.
_LOOP_TOKENS, _SUFFIX = 32, 8

Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]


@dataclass(slots=True)
class SlotWindow:
    """What the host knows of one slot. `steps` counts all that were launched, those of the prompt included."""

    key: Any
    temperature: float
    sampled: bool
    prompt_length: int
    heard_at: int
    most_tokens: int
    steps: int = 0
    read: int = 0
    sum_logprob: float = 0.0
    tokens: int = 0
    done: bool = False
    looped: bool = False

    @property
    def written(self) -> int:
        """Tokens after the steps so far, if none of them ended it."""
        return min(max(0, self.steps - self.prompt_length + 1), self.most_tokens)


class Mirror:
    """Tokens, log probabilities and no-speech probabilities of all slots as the host sees them after one chunk.

    Where the host reads the device's memory it is that memory. Else `queue` begins to copy and `wait` ends it.
    """

    def __init__(self, state: SlotState, accelerator: Accelerator) -> None:
        self._accelerator, self._state = accelerator, state
        self._there = (state.tokens, state.logprobs, state.no_speech)
        self._here: tuple[Tensor, ...] = self._there
        if not accelerator.shares_memory:
            self._here = tuple(accelerator.host_tensor(*kept.shape, dtype=kept.dtype) for kept in self._there)
        self._event: Event | None = None
        self.tokens, self.logprobs, self.no_speech = (kept.numpy() for kept in self._here)

    @torch.inference_mode()
    def queue(self, rows: int) -> None:
        if self._here is not self._there:
            for here, there in zip(self._here, self._there, strict=True):
                self._accelerator.download(here[:rows], there[:rows])
            self._event = self._accelerator.record()

    def wait(self) -> None:
        if self._event is not None:
            self._event.synchronize()


def read(
    mirror: Mirror,
    rows: Sequence[int],
    windows: Sequence[SlotWindow],
    written: Sequence[int],
    end: int,
    *,
    cut_loops: bool,
) -> None:
    """Goes through the new tokens of windows that have not ended, and notes what they amount to.

    `windows[i]` was in slot `rows[i]` and had written `written[i]` tokens when the chunk had run. With `cut_loops` a
    window ends that turns in circles: looked at after the tokens 1, 9, 17, ...
    """
    if windows:
        _Reading(mirror, rows, windows, written, end).run(cut_loops)


def attempt_of(mirror: Mirror, row: int, window: SlotWindow) -> Attempt:
    """Of an ended window."""
    tokens = tuple(mirror.tokens[row, : window.tokens].tolist())
    # openai/whisper divides by the tokens and the end token, whether or not that was reached.
    mean = window.sum_logprob / (window.tokens + 1)
    return Attempt(tokens, mean, float(mirror.no_speech[row]), window.temperature, window.looped)


class _Reading:
    """One value a window in every array, in the order of `windows`."""

    def __init__(
        self, mirror: Mirror, rows: Sequence[int], windows: Sequence[SlotWindow], written: Sequence[int], end: int
    ) -> None:
        self._mirror, self._windows, self._end = mirror, windows, end
        self._rows, self._written = np.array(rows, np.int64), np.array(written, np.int64)
        self._read = np.array([window.read for window in windows], np.int64)
        self._most = np.array([window.most_tokens for window in windows], np.int64)
        self._sums = np.array([window.sum_logprob for window in windows], np.float64)
        self._tokens = self._read.copy()
        self._done = np.zeros(len(windows), np.bool_)
        self._looped = np.zeros(len(windows), np.bool_)

    def run(self, cut_loops: bool) -> None:
        for _ in range(int((self._written - self._read).max())):
            self._one_token(cut_loops)
        for at, window in enumerate(self._windows):
            window.read, window.tokens = int(self._read[at]), int(self._tokens[at])
            window.sum_logprob = float(self._sums[at])
            window.done, window.looped = bool(self._done[at]), bool(self._looped[at])

    def _one_token(self, cut_loops: bool) -> None:
        """The next token of every window that has one."""
        going = ~self._done & (self._read < self._written)
        column = np.minimum(self._read, self._mirror.tokens.shape[1] - 1)
        token, logprob = self._mirror.tokens[self._rows, column], self._mirror.logprobs[self._rows, column]
        self._sums += np.where(going, logprob, 0.0)
        over = (token == self._end) | np.isnan(logprob)
        self._tokens += going & ~over
        if cut_loops:
            looked_at = going & (self._read % _LOOP_CHECK_TOKENS == 0) & (self._tokens >= _LOOP_TOKENS)
            over |= self._cut(looked_at)
        self._read += going
        self._done |= going & (over | (self._read >= self._most))

    def _cut(self, looked_at: Flags) -> Flags:
        """Those of the windows whose tokens end in a loop; notes it."""
        for at in self._suspects(np.flatnonzero(looked_at)):
            tokens = self._mirror.tokens[self._rows[at], : self._tokens[at]].tolist()
            self._looped[at] = repeating_tail(tokens) is not None
        return self._looped

    def _suspects(self, places: Ints) -> Ints:
        """Whose last tokens stood there before: few, and only for them every period is tried."""
        if not len(places):
            return places
        first = self._tokens[places] - _LOOP_TOKENS
        columns = first[:, None] + np.arange(_LOOP_TOKENS)
        last = self._mirror.tokens[self._rows[places][:, None], columns]
        pieces = sliding_window_view(last, _SUFFIX, axis=1)
        again = (pieces[:, :-1] == pieces[:, -1:]).all(-1).any(-1)
        found: Ints = places[again]
        return found

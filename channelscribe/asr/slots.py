"""A fixed number of places in which windows are decoded; whichever ends first makes room for the next.

The engine's thread admits encoded windows, advances all living ones together and takes what has ended. The tokens of a
window do not depend on the number of slots, on its neighbours, or on when it came. On a card the host looks at the
tokens once in `advance`, not at every step; on the CPU looking is free and a window leaves at its last token.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from math import isnan
from typing import Any

import torch
from torch import Tensor

from channelscribe.asr.cache import SlotCache
from channelscribe.asr.graphs import CudaCapture, Replayer
from channelscribe.asr.loading import LoadedWhisper
from channelscribe.asr.plausible import Attempt, repeating_tail
from channelscribe.asr.step import Shape, SlotState, Step

_LOOP_CHECK_TOKENS = 8
_LENGTHS = (64, 128, 224)
# With these the products on a CPU round a row in the same way whatever the number of rows and places.
_LEAST_ROWS, _LENGTH_STEP = 2, 16


@dataclass(frozen=True, slots=True)
class Start:
    """A window to decode: encoder output [frames, width], what stands before its text, and how tokens are chosen.

    Above temperature 0, `draws` in [0, 1), one for each token, decide; without them the most probable token is taken.
    """

    key: Any
    encoded: Tensor
    prompt: tuple[int, ...]
    temperature: float = 0.0
    draws: Sequence[float] | None = None

    @property
    def sampled(self) -> bool:
        return self.temperature > 0 and self.draws is not None


@dataclass(slots=True)
class _Window:
    """What the host knows of one slot. `steps` counts all, those of the prompt included."""

    key: Any
    temperature: float
    sampled: bool
    prompt_length: int
    heard_at: int
    most_tokens: int
    steps: int = 0
    read: int = 0
    tokens: list[int] = field(default_factory=list)
    sum_logprob: float = 0.0
    done: bool = False
    looped: bool = False

    @property
    def written(self) -> int:
        return min(max(0, self.steps - self.prompt_length + 1), self.most_tokens)

    def take(self, token: int, logprob: float, end: int, cut_loops: bool) -> None:
        self.sum_logprob += logprob
        self.done = token == end or isnan(logprob)
        if not self.done:
            self.tokens.append(token)
        if cut_loops and self.read % _LOOP_CHECK_TOKENS == 0 and repeating_tail(self.tokens):
            self.done = self.looped = True
        self.read += 1
        self.done = self.done or self.read >= self.most_tokens

    def attempt(self, no_speech_prob: float) -> Attempt:
        # openai/whisper divides by the tokens and the end token, whether or not that was reached.
        mean = self.sum_logprob / (len(self.tokens) + 1)
        return Attempt(tuple(self.tokens), mean, no_speech_prob, self.temperature, self.looped)


class Slots:
    """`count` windows at most are at work. Allocates everything at once, or raises the device's out-of-memory error.

    `few_shapes`, by default on a card only, computes in few numbers of rows and places, a graph for each. Not
    thread-safe. After an error inside `admit` or `advance` call `clear`: the windows in it are to be admitted anew.
    """

    def __init__(
        self,
        whisper: LoadedWhisper,
        count: int,
        *,
        cut_loops: bool = True,
        most_tokens: int | None = None,
        few_shapes: bool | None = None,
    ) -> None:
        if count < 1:
            raise ValueError(f"{count} slots")
        self.count, self._cut_loops = count, cut_loops
        self._start, self._end = whisper.vocabulary.start, whisper.vocabulary.end
        self._most_tokens = most_tokens or whisper.most_tokens
        self._places: int = whisper.model.config.max_target_positions
        self._device, on_card = whisper.device, whisper.device.type == "cuda"
        self._few_shapes = on_card if few_shapes is None else few_shapes
        self._looks_always = self._device.type == "cpu" and not self._few_shapes
        with torch.inference_mode():
            rows = max(count, _LEAST_ROWS)
            self._state = SlotState.of(rows, self._places, self._most_tokens, self._device)
            self._cache = SlotCache(whisper.model, rows)
            self._mirror = _Mirror(self._state, self._device)
        self._step = Replayer(Step(whisper, self._state, self._cache), CudaCapture() if on_card else None)
        self._windows: list[_Window | None] = [None] * count

    @property
    def live(self) -> int:
        return sum(window is not None for window in self._windows)

    @property
    def free(self) -> int:
        return self.count - self.live

    @torch.inference_mode()
    def admit(self, starts: Sequence[Start]) -> None:
        """Raises ValueError for more windows than are free, or a prompt that leaves no place for a token."""
        rows = [row for row, window in enumerate(self._windows) if window is None][: len(starts)]
        if len(rows) < len(starts):
            raise ValueError(f"{len(starts)} windows for {len(rows)} free slots")
        windows = [self._window(start) for start in starts]
        if not starts:
            return
        self._cache.hear([start.encoded for start in starts], rows)
        for row, start, window in zip(rows, starts, windows, strict=True):
            self._begin(row, start, window)
            self._windows[row] = window

    def advance(self, steps: int = 8) -> list[tuple[Any, Attempt]]:
        """`steps` tokens for every living slot, fewer where looking is free and one has ended. Frees ended slots."""
        ended: list[tuple[Any, Attempt]] = []
        if self.live:
            self._close_ranks()
        for step in range(1, steps + 1):
            if ended or not self.live:
                break
            self._launch()
            if self._looks_always or step == steps:
                ended = self._look()
        return ended

    def drop(self, keys: Collection[Any]) -> None:
        """Windows that nobody waits for any more; keys that are not here are ignored."""
        for row, window in enumerate(self._windows):
            if window is not None and window.key in keys:
                self._free(row)

    def clear(self) -> None:
        for row in range(self.count):
            self._free(row)

    def _window(self, start: Start) -> _Window:
        length = len(start.prompt)
        most = min(self._most_tokens, self._places - length)
        if not length or most < 1:
            raise ValueError(f"a prompt of {length} tokens for {self._places} places")
        if start.sampled and len(start.draws or ()) < most:
            raise ValueError(f"{len(start.draws or ())} draws for {most} tokens")
        heard_at = start.prompt.index(self._start) if self._start in start.prompt else 0
        return _Window(start.key, start.temperature, start.sampled, length, heard_at, most)

    def _begin(self, row: int, start: Start, window: _Window) -> None:
        state = self._state
        self._cache.blank(row)
        prompt = torch.tensor(start.prompt)
        state.prompt[row, : len(prompt)] = prompt.to(self._device)
        state.temperature[row] = start.temperature if start.sampled else 0.0
        if start.sampled and start.draws is not None:
            draws = torch.tensor(start.draws[: self._most_tokens], dtype=torch.float32)
            state.chances[row, : len(draws)] = draws.to(self._device)
        state.token[row], state.place[row], state.prompt_length[row] = start.prompt[0], 0, window.prompt_length
        state.heard_at[row], state.no_speech[row] = window.heard_at, 0.0
        state.last[row], state.was[row], state.was_before[row], state.done[row] = -1, False, True, False

    def _close_ranks(self) -> None:
        """Moves living slots from behind into empty ones, so that only rows that are needed are computed."""
        rows = self._rows()
        holes = [row for row in range(min(rows, self.count)) if self._windows[row] is None]
        beyond = [row for row in range(rows, self.count) if self._windows[row] is not None]
        for source, target in zip(beyond, holes, strict=False):
            self._move(source, target)

    @torch.inference_mode()
    def _move(self, source: int, target: int) -> None:
        window = self._windows[source]
        assert window is not None
        self._state.move(source, target)
        self._cache.move(source, target, window.steps)
        self._windows[target], self._windows[source] = window, None
        self._state.done[source] = True

    def _rows(self) -> int:
        """As many as live; a graph is made for each number, so on a card only the count, its half, quarter, ..."""
        rows, live = max(self.count, _LEAST_ROWS), self.live
        if not self._few_shapes:
            return max(live, _LEAST_ROWS)
        while rows > _LEAST_ROWS and (rows + 1) // 2 >= live:
            rows = (rows + 1) // 2
        return rows

    def _length(self) -> int:
        needed = 1 + max(window.steps for window in self._windows if window is not None)
        if not self._few_shapes:
            return min(-(-needed // _LENGTH_STEP) * _LENGTH_STEP, self._places)
        return next((length for length in _LENGTHS if needed <= length < self._places), self._places)

    def _launch(self) -> None:
        windows = [window for window in self._windows if window is not None]
        sampled = any(window.sampled for window in windows)
        starting = self._few_shapes or any(window.steps == window.heard_at for window in windows)
        self._step(Shape(self._rows(), self._length(), sampled, starting))
        for window in windows:
            window.steps += 1

    def _look(self) -> list[tuple[Any, Attempt]]:
        self._mirror.refresh()
        ended = []
        for row, window in enumerate(self._windows):
            if window is None:
                continue
            while not window.done and window.read < window.written:
                token, logprob = self._mirror.written(row, window.read)
                window.take(token, logprob, self._end, self._cut_loops)
            if window.done:
                ended.append((window.key, window.attempt(self._mirror.no_speech(row))))
                self._free(row)
        return ended

    @torch.inference_mode()
    def _free(self, row: int) -> None:
        self._windows[row] = None
        self._state.done[row] = True


class _Mirror:
    """Tokens, log probabilities and no-speech probabilities as the host sees them; on the CPU the very same memory."""

    def __init__(self, state: SlotState, device: torch.device) -> None:
        self._there: tuple[Tensor, ...] = (state.tokens, state.logprobs, state.no_speech)
        self._event: Any = torch.cuda.Event() if device.type == "cuda" else None  # type: ignore[no-untyped-call]
        self._here: tuple[Tensor, ...] = self._there
        if device.type != "cpu":
            pinned = device.type == "cuda"
            self._here = tuple(torch.empty_like(kept, device="cpu", pin_memory=pinned) for kept in self._there)
        self._tokens, self._logprobs, self._no_speech = (kept.numpy() for kept in self._here)

    def refresh(self) -> None:
        if self._here is self._there:
            return
        for here, there in zip(self._here, self._there, strict=True):
            here.copy_(there, non_blocking=self._event is not None)
        if self._event is not None:
            self._event.record()
            self._event.synchronize()

    def written(self, row: int, place: int) -> tuple[int, float]:
        return int(self._tokens[row, place]), float(self._logprobs[row, place])

    def no_speech(self, row: int) -> float:
        return float(self._no_speech[row])

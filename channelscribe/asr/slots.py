"""A fixed number of slots in which windows are decoded; whichever ends first makes room for the next.

The engine's thread admits encoded windows, launches a few steps for all living ones and collects what has ended. The
tokens of a window do not depend on the number of slots, on its neighbours, or on when it came (in 16 bits up to ties:
a library's products may add in another order for another number of rows). On a GPU a chunk of steps is launched before
the last one is looked at, so that the GPU never waits for the host; on the CPU looking is free and a window leaves at
its last token.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from channelscribe.asr.accelerator import upload_ints
from channelscribe.asr.cache import SlotCache, positions_of
from channelscribe.asr.graphs import Replayer, capture_of
from channelscribe.asr.loading import LoadedWhisper
from channelscribe.asr.plausible import Attempt
from channelscribe.asr.reading import Mirror, SlotWindow, attempt_of, read
from channelscribe.asr.step import Entries, Shape, SlotState, Step

_LENGTHS = (64, 128, 224)
# With these the products on a CPU round a row in the same way whatever the number of rows and places.
_LEAST_ROWS, _LENGTH_STEP = 2, 16
_FIXED_COLUMNS = 4


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


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Steps that were launched: who was in which slot, and how much each had written after them."""

    mirror: Mirror
    rows: list[int]
    windows: list[SlotWindow]
    written: list[int]


class Slots:
    """`count` windows at most are at work. Allocates everything at once, or raises the device's out-of-memory error.

    `few_shapes`, by default on a GPU only, computes in few numbers of rows and places, a graph for each.
    `longest_prompt` is the longest that a window may have, by default the usual one; `eight_bits` keeps keys and values
    of the audio in 8 bits. Not thread-safe. After an error inside `admit`, `launch` or `collect` call `clear`: the
    windows in it are to be admitted anew.
    """

    def __init__(
        self,
        whisper: LoadedWhisper,
        count: int,
        *,
        cut_loops: bool = True,
        most_tokens: int | None = None,
        longest_prompt: int | None = None,
        few_shapes: bool | None = None,
        eight_bits: bool = False,
    ) -> None:
        if count < 1:
            raise ValueError(f"{count} slots")
        self.count, self._cut_loops = count, cut_loops
        self._start, self._end = whisper.vocabulary.start, whisper.vocabulary.end
        self._most_tokens = most_tokens or whisper.most_tokens
        self._places = positions_of(whisper, self._most_tokens, longest_prompt)
        self._accelerator = whisper.accelerator
        self._few_shapes = self._accelerator.captures if few_shapes is None else few_shapes
        self._looks_always = self._accelerator.shares_memory and not self._few_shapes
        with torch.inference_mode():
            rows = max(count, _LEAST_ROWS)
            self._state = SlotState.of(rows, self._places, self._most_tokens, whisper.device)
            self._cache = SlotCache(whisper, rows, self._places, eight_bits=eight_bits)
            mirrors = 2 if self._accelerator.asynchronous else 1
            self._mirrors = deque(Mirror(self._state, self._accelerator) for _ in range(mirrors))
        self._step = Replayer(Step(whisper, self._state, self._cache), capture_of(self._accelerator))
        self._windows: list[SlotWindow | None] = [None] * count
        self._under_way: deque[_Chunk] = deque()
        self._ended: list[tuple[Any, Attempt]] = []

    @property
    def live(self) -> int:
        return sum(window is not None for window in self._windows)

    @property
    def free(self) -> int:
        return self.count - self.live

    @property
    def graphs(self) -> int:
        """Shapes that were captured so far."""
        return self._step.captured

    @torch.inference_mode()
    def admit(self, starts: Sequence[Start]) -> None:
        """Raises ValueError for more windows than are free, or a prompt that leaves no place for a token."""
        rows = [row for row, window in enumerate(self._windows) if window is None][: len(starts)]
        if len(rows) < len(starts):
            raise ValueError(f"{len(starts)} windows for {len(rows)} free slots")
        windows = [self._window(start) for start in starts]
        if not starts:
            return
        entries = self._entries(rows, starts, windows)
        self._cache.admit([start.encoded for start in starts], entries.rows)
        self._state.enter(entries)
        for row, window in zip(rows, windows, strict=True):
            self._windows[row] = window

    def advance(self, steps: int = 8) -> list[tuple[Any, Attempt]]:
        """`launch`, then `collect`."""
        self.launch(steps)
        return self.collect()

    def launch(self, steps: int = 8) -> None:
        """`steps` tokens for every living slot, fewer where looking is free and one has ended."""
        if not self.live:
            return
        self._close_ranks()
        for _ in range(steps if self._looks_always else 1):
            if self._ended or not self.live:
                break
            self._launch(1 if self._looks_always else steps)
            if self._looks_always:
                self._look()

    def collect(self, *, wait: bool = False) -> list[tuple[Any, Attempt]]:
        """Windows whose end has been seen; their slots are free. Where launches run later, the last chunk is left,
        unless `wait` is set."""
        left = 1 if self._accelerator.asynchronous and not wait else 0
        while len(self._under_way) > left:
            self._look()
        ended, self._ended = self._ended, []
        return ended

    def drop(self, keys: Collection[Any]) -> None:
        """Windows that nobody waits for any more; keys that are not here are ignored."""
        self._retire([row for row, window in enumerate(self._windows) if window is not None and window.key in keys])

    def clear(self) -> None:
        self._under_way.clear()
        self._ended = []
        self._retire([row for row, window in enumerate(self._windows) if window is not None])

    def _window(self, start: Start) -> SlotWindow:
        length = len(start.prompt)
        most = min(self._most_tokens, self._places - length)
        if not length or most < 1:
            raise ValueError(f"a prompt of {length} tokens for {self._places} places")
        if start.sampled and len(start.draws or ()) < most:
            raise ValueError(f"{len(start.draws or ())} draws for {most} tokens")
        heard_at = start.prompt.index(self._start) if self._start in start.prompt else 0
        return SlotWindow(start.key, start.temperature, start.sampled, length, heard_at, most)

    def _entries(self, rows: list[int], starts: Sequence[Start], windows: list[SlotWindow]) -> Entries:
        """All in one upload: integers, and the bits of float32 numbers."""
        longest = max(window.prompt_length for window in windows)
        chances = self._most_tokens if any(window.sampled for window in windows) else 0
        host = self._accelerator.host_tensor(len(rows), _FIXED_COLUMNS + longest + chances, dtype=torch.int32)
        ints, floats = host.numpy(), host.view(torch.float32).numpy()
        ints[:] = 0
        for at, (row, start, window) in enumerate(zip(rows, starts, windows, strict=True)):
            ints[at, :3] = row, window.prompt_length, window.heard_at
            floats[at, 3] = start.temperature if window.sampled else 0.0
            ints[at, _FIXED_COLUMNS : _FIXED_COLUMNS + window.prompt_length] = start.prompt
            if window.sampled and start.draws is not None:
                draws = np.asarray(start.draws[:chances], np.float32)
                floats[at, _FIXED_COLUMNS + longest :][: len(draws)] = draws
        there = self._accelerator.upload(host)
        real = there.view(torch.float32)
        prompt = there[:, _FIXED_COLUMNS : _FIXED_COLUMNS + longest].long()
        seats, lengths, heard_at = there[:, :3].long().unbind(1)
        drawn = real[:, _FIXED_COLUMNS + longest :] if chances else None
        return Entries(seats, lengths, heard_at, real[:, 3], prompt, drawn)

    @torch.inference_mode()
    def _close_ranks(self) -> None:
        """Moves living slots from behind into empty ones, so that only rows that are needed are computed."""
        rows = self._rows()
        holes = [row for row in range(min(rows, self.count)) if self._windows[row] is None]
        beyond = [row for row in range(rows, self.count) if self._windows[row] is not None]
        moves = list(zip(beyond, holes, strict=False))
        if not moves:
            return
        sources = upload_ints(self._accelerator, [source for source, _ in moves])
        targets = upload_ints(self._accelerator, [target for _, target in moves])
        self._state.move(sources, targets)
        self._cache.move(sources, targets)
        for source, target in moves:
            self._windows[target], self._windows[source] = self._windows[source], None

    def _rows(self) -> int:
        """As many as live; a graph is made for each number, so on a GPU only the count, its half, quarter, ..."""
        rows, live = max(self.count, _LEAST_ROWS), self.live
        if not self._few_shapes:
            return max(live, _LEAST_ROWS)
        while rows > _LEAST_ROWS and (rows + 1) // 2 >= live:
            rows = (rows + 1) // 2
        return rows

    def _length(self, needed: int) -> int:
        if self._cache.bounded:
            return self._places
        if not self._few_shapes:
            return min(-(-needed // _LENGTH_STEP) * _LENGTH_STEP, self._places)
        return next((length for length in _LENGTHS if needed <= length < self._places), self._places)

    def _launch(self, steps: int) -> None:
        rows, living = self._rows(), [(row, w) for row, w in enumerate(self._windows) if w is not None]
        sampled = any(window.sampled for _, window in living)
        longest = max(window.steps for _, window in living)
        for step in range(steps):
            starting = self._few_shapes or any(window.steps + step == window.heard_at for _, window in living)
            self._step(Shape(rows, self._length(min(longest + step + 1, self._places)), sampled, starting))
        for _, window in living:
            window.steps += steps
        mirror = self._mirrors[0]
        self._mirrors.rotate(1)
        mirror.queue(rows)
        seats, windows = [row for row, _ in living], [window for _, window in living]
        self._under_way.append(_Chunk(mirror, seats, windows, [window.written for window in windows]))

    def _look(self) -> None:
        """Reads the oldest chunk that is under way."""
        chunk = self._under_way.popleft()
        chunk.mirror.wait()
        going = [at for at, window in enumerate(chunk.windows) if not window.done]
        windows, rows = [chunk.windows[at] for at in going], [chunk.rows[at] for at in going]
        written = [chunk.written[at] for at in going]
        read(chunk.mirror, rows, windows, written, self._end, cut_loops=self._cut_loops)
        over = {id(window): row for window, row in zip(windows, rows, strict=True) if window.done}
        if over:
            freed = [row for row, window in enumerate(self._windows) if id(window) in over]
            self._ended += [
                (window.key, attempt_of(chunk.mirror, over[id(window)], window)) for window in windows if window.done
            ]
            self._retire(freed)

    @torch.inference_mode()
    def _retire(self, rows: Sequence[int]) -> None:
        """Frees slots; what was launched for them already is not read any more."""
        for row in rows:
            window = self._windows[row]
            if window is not None:
                window.done = True
            self._windows[row] = None
        if rows:
            self._state.done.index_fill_(0, upload_ints(self._accelerator, rows), True)

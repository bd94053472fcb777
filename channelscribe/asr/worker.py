"""The engine's thread: takes batches from the pool, runs them, survives what goes wrong in them.

It owns the model. A window that fails alone fails its file; too little memory halves the batch and loses nothing.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch

from channelscribe.asr.batch import BatchRunner
from channelscribe.asr.engine import EngineStats
from channelscribe.asr.greedy import Decoder, Stopped
from channelscribe.asr.job import Job, Ticket
from channelscribe.asr.loading import LoadedWhisper, known_language
from channelscribe.asr.pool import Closed, Pool
from channelscribe.core.errors import ChannelscribeError, EnvironmentFailure, Poisoned, UsageError
from channelscribe.core.gpu import Gate
from channelscribe.core.profile import TranscriptionProfile

log = logging.getLogger(__name__)
_NO_MEMORY = ("out of memory", "can't allocate memory", "cannot allocate memory", "not enough memory", "alloc_cpu")


@dataclass(frozen=True, slots=True)
class Totals:
    windows: int = 0
    batches: int = 0
    audio_s: float = 0.0
    busy_s: float = 0.0
    loaded_s: float = 0.0
    fallbacks: int = 0


class Worker:
    """`load` is called in the thread, at the first window; when it or the device fails, everybody hears why."""

    def __init__(
        self, profile: TranscriptionProfile, pool: Pool, load: Callable[[], LoadedWhisper], gate: Gate
    ) -> None:
        self._profile, self._pool, self._load, self._gate = profile, pool, load, gate
        self._stop = threading.Event()
        self._batch_size = profile.batch_size
        self._totals = Totals()
        self._device: torch.device | None = None
        self._language: str | None = None
        self._failure: Exception | None = None
        self._runner: BatchRunner | None = None
        self._thread = threading.Thread(target=self._work, name="channelscribe-asr", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Prompt: at most one decode step later the batch in flight is given up."""
        self._stop.set()
        self._pool.close()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join()

    @property
    def failure(self) -> Exception | None:
        return self._failure

    @property
    def batch_size(self) -> int:
        return self._batch_size

    def stats(self) -> EngineStats:
        t = self._totals
        on_card = self._device is not None and self._device.type == "cuda"
        peak = int(torch.cuda.max_memory_allocated(self._device)) if on_card else None
        mean = t.windows / t.batches if t.batches else 0.0
        return EngineStats(t.windows, t.batches, mean, t.audio_s, t.busy_s, t.loaded_s, t.fallbacks, peak)

    def _work(self) -> None:
        try:
            while not self._stop.is_set():
                tickets = self._pool.take(self._batch_size)
                if self._runner is None:
                    self._runner = self._begin()
                self._batch(self._runner, tickets)
        except (Closed, Stopped):
            return
        except ChannelscribeError as error:
            log.error("the transcription engine stopped: %s", error.reason)
            self._halt(error)
        except Exception as error:
            log.exception("the transcription engine stopped")
            self._halt(error)
        finally:
            self._runner = None

    def _begin(self) -> BatchRunner:
        begun = time.monotonic()
        whisper = self._load()
        self._device, self._language = whisper.device, known_language(whisper.vocabulary, self._profile.language)
        if self._profile.window_s > whisper.longest_window_s:
            raise UsageError(
                f"This model hears at most {whisper.longest_window_s:g} s at once; choose a shorter window than "
                f"{self._profile.window_s:g} s.",
                code="window_too_long",
            )
        self._totals = replace(self._totals, loaded_s=time.monotonic() - begun)
        return BatchRunner(whisper, Decoder(whisper, stopping=self._stop.is_set), self._profile)

    def _halt(self, error: Exception) -> None:
        """No window can succeed any more: everybody who waits hears why, and so does everybody who comes."""
        known = isinstance(error, ChannelscribeError)
        self._failure = error if known else _engine_failure(error)
        if isinstance(
            error, UsageError
        ):  # wrong for this video is wrong for all: the run must stop, not go through them
            self._failure = EnvironmentFailure(error.reason, code=error.code)
        self._fail_all(self._pool.close())

    def _fail_all(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            if self._failure is not None:
                job.fail(self._failure)

    def _batch(self, runner: BatchRunner, tickets: list[Ticket]) -> None:
        runner.forget_ended()
        live = [ticket for ticket in tickets if ticket.job.error is None and not ticket.job.over]
        if not live:
            return
        begun = time.monotonic()
        try:
            with self._gate.step("decode", len(live), self._stop.is_set):
                if self._stop.is_set():
                    raise Stopped
                self._vote(runner, live)
                self._run(runner, live)
        except (Stopped, Closed):
            raise
        except Exception as error:  # noqa: BLE001  classified there, or raised again
            self._recover(runner, live, error)
        finally:
            self._totals = replace(self._totals, busy_s=self._totals.busy_s + time.monotonic() - begun)

    def _vote(self, runner: BatchRunner, tickets: Sequence[Ticket]) -> None:
        for job in dict.fromkeys(ticket.job for ticket in tickets):
            if self._language is not None:
                job.language = self._language
            elif job.language is None:
                job.language = runner.vote(self._pool.voters(job, tickets), self._batch_size)

    def _run(self, runner: BatchRunner, tickets: Sequence[Ticket]) -> None:
        result = runner.run(tickets)
        for ticket, text in zip(tickets, result.texts, strict=True):
            ticket.job.deliver(text)
        t = self._totals
        self._totals = replace(
            t,
            windows=t.windows + len(tickets),
            batches=t.batches + 1,
            audio_s=t.audio_s + sum(ticket.sound.window.duration_s for ticket in tickets),
            fallbacks=t.fallbacks + result.fallbacks,
        )

    def _recover(self, runner: BatchRunner, tickets: list[Ticket], error: Exception) -> None:
        runner.forget()
        if is_out_of_memory(error):
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            if len(tickets) > 1 or self._batch_size > 1:
                self._batch_size = max(1, min(self._batch_size, len(tickets)) // 2)
                log.warning("too little memory for %d windows, going on with %d", len(tickets), self._batch_size)
                self._pool.put_back(tickets)
                return
            tickets[0].job.fail(_no_memory(self._profile))
        elif _is_device_lost(error):
            raise error
        elif len(tickets) == 1:
            log.warning("window %d failed", tickets[0].sound.window.index, exc_info=error)
            tickets[0].job.fail(_window_failure(tickets[0], error))
        else:  # who of them it was shows when each is alone
            for ticket in tickets:
                self._batch(runner, [ticket])


def is_out_of_memory(error: BaseException) -> bool:
    """CUDA has a class for it; CPU and MPS say it in words."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _NO_MEMORY)


def _is_device_lost(error: Exception) -> bool:
    """After these no CUDA call of this process works any more."""
    lost = isinstance(error, torch.AcceleratorError) if hasattr(torch, "AcceleratorError") else False
    return lost or (isinstance(error, RuntimeError) and "CUDA error" in str(error))


def _engine_failure(error: Exception) -> EnvironmentFailure:
    first_line = next(iter(str(error).splitlines()), "") or type(error).__name__
    return EnvironmentFailure(
        f"The transcription engine stopped ({type(error).__name__}: {first_line.rstrip('.')}); look at the log, then "
        "start the run again: finished videos are kept.",
        code="engine_stopped",
    )


def _no_memory(profile: TranscriptionProfile) -> EnvironmentFailure:
    return EnvironmentFailure(
        f"There is not enough memory for {profile.model} even with a single window; choose a smaller model or free "
        "memory on the device.",
        code="out_of_memory",
    )


def _window_failure(ticket: Ticket, error: Exception) -> Poisoned:
    first_line = next(iter(str(error).splitlines()), "")
    window = ticket.sound.window
    return Poisoned(
        f"The model failed on the sound from {window.to_file_s(0.0):.1f} s on ({type(error).__name__}: "
        f"{first_line.rstrip('.')}); the other videos go on.",
        code="window_failed",
    )

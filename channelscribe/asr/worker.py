"""The engine's thread: loads the model at the first window, then lets the scheduler work until the engine closes.

It owns the model. What no window is to blame for ends it, and everybody who waits hears why.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence

from channelscribe.asr.accelerator import Accelerator
from channelscribe.asr.engine import EngineStats
from channelscribe.asr.heap import HeapTrimmer
from channelscribe.asr.job import Job
from channelscribe.asr.loading import LoadedWhisper, known_language
from channelscribe.asr.planner import Shapes, memory_of, plan, room_on
from channelscribe.asr.pool import Closed, Pool
from channelscribe.asr.scheduler import Scheduler, Stopped
from channelscribe.asr.tally import Tally
from channelscribe.asr.trouble import engine_failure, is_out_of_memory, no_memory
from channelscribe.core.errors import ChannelscribeError, EnvironmentFailure, UsageError
from channelscribe.core.gpu import Gate
from channelscribe.core.profile import TranscriptionProfile

log = logging.getLogger(__name__)


class Worker:
    """`load` is called in the thread, at the first window; when it or the device fails, everybody hears why."""

    def __init__(
        self, profile: TranscriptionProfile, pool: Pool, load: Callable[[], LoadedWhisper], gate: Gate
    ) -> None:
        self._profile, self._pool, self._load, self._gate = profile, pool, load, gate
        self._stop = threading.Event()
        self._tally, self._lock = Tally(), threading.Lock()
        self._slots = 0
        self._accelerator: Accelerator | None = None
        self._failure: Exception | None = None
        self._scheduler: Scheduler | None = None
        self._thread = threading.Thread(target=self._work, name="channelscribe-asr", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Prompt: a few decode steps later what is at work is given up."""
        self._stop.set()
        self._pool.close()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join()

    @property
    def failure(self) -> Exception | None:
        return self._failure

    @property
    def batch_size(self) -> int:
        scheduler = self._scheduler
        if scheduler is not None:
            self._slots = scheduler.plan.slots
        return self._slots or self._profile.batch_size

    def resumed(self, windows: int) -> None:
        """So many windows of a file were finished by an earlier attempt."""
        with self._lock:
            self._tally.resumed += windows

    def stats(self) -> EngineStats:
        scheduler = self._scheduler
        waiting = self._pool.waiting + (scheduler.waiting if scheduler else 0)
        memory = self._accelerator.memory() if self._accelerator else None
        return self._tally.stats(slots=self.batch_size, waiting=waiting, memory=memory_of(memory))

    def _work(self) -> None:
        try:
            self._pool.wait()
            (whisper, scheduler), heap = self._begin(), HeapTrimmer()
            self._scheduler = scheduler
            with whisper.accelerator.current():
                while not self._stop.is_set():
                    scheduler.turn()
                    heap.trim_when_due()
        except (Closed, Stopped):
            return
        except ChannelscribeError as error:
            log.error("the transcription engine stopped: %s", error.reason)
            self._halt(error)
        except Exception as error:
            log.exception("the transcription engine stopped")
            self._halt(error)
        finally:
            self._scheduler = None

    def _begin(self) -> tuple[LoadedWhisper, Scheduler]:
        begun = time.monotonic()
        with self._gate.step("load", 1, self._stop.is_set):
            if self._stop.is_set():
                raise Stopped
            whisper = self._load()
            self._accelerator = whisper.accelerator
            with whisper.accelerator.current():
                scheduler = self._scheduler_for(whisper)
        self._tally.loaded_s = time.monotonic() - begun
        return whisper, scheduler

    def _scheduler_for(self, whisper: LoadedWhisper) -> Scheduler:
        language = known_language(whisper.vocabulary, self._profile.language)
        if self._profile.window_s > whisper.longest_window_s:
            raise UsageError(
                f"This model hears at most {whisper.longest_window_s:g} s at once; choose a shorter window than "
                f"{self._profile.window_s:g} s.",
                code="window_too_long",
            )
        shapes = Shapes.of(whisper, eight_bits=self._profile.kv_bits == 8)
        planned = plan(self._profile, shapes, room_on(whisper.accelerator, self._profile))
        log.info("%d windows at once, %d encoded at once: %s", planned.slots, planned.encode, planned.reason)
        return Scheduler(
            whisper,
            self._profile,
            planned,
            language,
            pool=self._pool,
            gate=self._gate,
            tally=self._tally,
            stopping=self._stop.is_set,
        )

    def _halt(self, error: Exception) -> None:
        """No window can succeed any more: everybody who waits hears why, and so does everybody who comes."""
        if isinstance(error, UsageError):  # wrong for this video is wrong for all: the run must stop
            self._failure = EnvironmentFailure(error.reason, code=error.code)
        elif isinstance(error, ChannelscribeError):
            self._failure = error
        else:
            self._failure = no_memory(self._profile) if is_out_of_memory(error) else engine_failure(error)
        self._fail_all(self._pool.close())

    def _fail_all(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            if self._failure is not None:
                job.fail(self._failure)

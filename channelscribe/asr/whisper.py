"""The Whisper engine: callers' threads feed the pool, one thread runs the model, each file gets its transcript.

The seams are feeder -> resuming -> pool -> worker -> assembler.
"""

from __future__ import annotations

import importlib.metadata
import logging
import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Self

from channelscribe.asr.device import DeviceChoice, choose_device
from channelscribe.asr.engine import EngineStats
from channelscribe.asr.job import Job, Ticket, assemble
from channelscribe.asr.loading import LoadedWhisper, load_whisper
from channelscribe.asr.model import ModelRef, resolve_model
from channelscribe.asr.pool import Closed, Pool
from channelscribe.asr.resuming import Resumption
from channelscribe.asr.worker import Worker
from channelscribe.core.clock import Clock, SystemClock
from channelscribe.core.errors import Poisoned, Transient
from channelscribe.core.fingerprint import transcript_fingerprint
from channelscribe.core.gpu import Gate, OpenGate
from channelscribe.core.model import Provenance, Transcript
from channelscribe.core.profile import TranscriptionProfile
from channelscribe.core.window import Listener, Listening, WindowKeeper, WindowText

log = logging.getLogger(__name__)
NAME = "whisper"
_POLL_S = 0.2
# The detector takes a cough for speech now and then; this much of it without a word is still silence.
_PROVEN_SILENCE_S = 2.0
_PACKAGES = ("torch", "transformers", "silero-vad", "av", "channelscribe")


class WhisperEngine:
    """Opened once for a run and shared by its threads. The model is loaded at the first window."""

    name = NAME

    def __init__(
        self,
        profile: TranscriptionProfile,
        listener: Listener,
        *,
        gate: Gate | None = None,
        keeper: WindowKeeper | None = None,
        load: Callable[[ModelRef, DeviceChoice], LoadedWhisper] = load_whisper,
        clock: Clock | None = None,
    ) -> None:
        self._profile, self._listener, self._load = profile, listener, load
        self._clock, self._keeper = clock or SystemClock(), keeper
        self._ref = resolve_model(profile)
        self._choice: DeviceChoice | None = None
        self._pool = Pool(profile.pool_mib << 20)
        self._worker = Worker(profile, self._pool, self._loaded, gate or OpenGate())
        self._lock = threading.Lock()
        self._started = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def transcribe(
        self,
        path: Path,
        *,
        video_id: str,
        media_sha256: str,
        cancelled: Callable[[], bool] | None = None,
        progress: Callable[[float], None] | None = None,
    ) -> Transcript:
        """See `Engine`. Cancelling raises Transient with the code "cancelled"."""
        begun, fingerprint = self._clock.monotonic(), self._fingerprint(media_sha256)
        job = Job(media_sha256, None if self._profile.language == "auto" else self._profile.language)
        resumption = Resumption(self._keeper, fingerprint, job)
        call = _Call(path, job, self._pool, resumption, cancelled or _never, progress or _ignore)
        self._start()
        try:
            self._pool.open_lane(job)
            listening = self._listener(
                path,
                window_s=self._profile.window_s,
                speech_threshold=self._profile.speech_threshold,
                cancelled=cancelled,
            )
            call.feed(listening)
            call.wait()
        except Closed:
            raise self._worker.failure or job.error or _closed(path.name) from None
        finally:
            job.over = True
            self._pool.drop(job)
            resumption.keep()
            self._worker.resumed(resumption.resumed)
        return self._transcript(path, video_id, fingerprint, job, listening, self._clock.monotonic() - begun)

    def stats(self) -> EngineStats:
        return self._worker.stats()

    def close(self) -> None:
        """Prompt and final; whoever still waits gets an error that says so."""
        for job in self._pool.close():
            job.fail(_closed("The file"))
        self._worker.stop()

    def _start(self) -> None:
        with self._lock:
            if not self._started:
                self._started = True
                self._worker.start()

    def _loaded(self) -> LoadedWhisper:
        self._choice = choose_device(self._profile)
        log.info("transcribing on %s in %s: %s", self._choice.device, self._choice.dtype, self._choice.reason)
        return self._load(self._ref, self._choice)

    def _fingerprint(self, media_sha256: str) -> str:
        return transcript_fingerprint(
            media_sha256=media_sha256,
            engine=NAME,
            model=self._ref.name,
            model_revision=self._ref.revision,
            parameters=self._profile.text_parameters(),
        )

    def _transcript(
        self, path: Path, video_id: str, fingerprint: str, job: Job, heard: Listening, wall_s: float
    ) -> Transcript:
        texts = job.texts()
        segments = assemble(texts)
        if not segments:
            _require_silence(path.name, texts, heard.speech_s)
        return Transcript(
            video_id=video_id,
            fingerprint=fingerprint,
            media_sha256=job.media_sha256,
            language=job.language or "",
            duration_s=round(heard.duration_s, 3),
            speech_s=round(heard.speech_s, 3) if segments else 0.0,
            segments=segments,
            provenance=self._provenance(),
            created_at=self._clock.now(),
            window_count=len(texts),
            wall_s=wall_s,
        )

    def _provenance(self) -> Provenance:
        return Provenance(
            engine=NAME,
            model=self._ref.name,
            model_revision=self._ref.revision,
            parameters=self._profile.text_parameters(),
            device=self._choice.device if self._choice else "",
            dtype=self._choice.dtype if self._choice else "",
            batch_size=self._worker.batch_size,
            versions=_versions(),
        )


@dataclass(slots=True)
class _Call:
    """The caller's side of one file: feeds its windows, then waits for their texts."""

    path: Path
    job: Job
    pool: Pool
    resumption: Resumption
    cancelled: Callable[[], bool]
    progress: Callable[[float], None]
    _told_s: float = 0.0

    def feed(self, listening: Listening) -> None:
        windows = 0
        with closing(listening):
            for sound in self.resumption.missing(listening):
                if self._stopped() or not self.pool.put(Ticket(self.job, sound), self._stopped):
                    self._raise()
                windows += 1
        self.job.expect(windows + self.resumption.resumed)
        self.pool.complete(self.job)

    def wait(self) -> None:
        while not self.job.wait(_POLL_S):
            self._tell()
            if self.cancelled():
                self._raise()
        self._tell()

    def _stopped(self) -> bool:
        self._tell()
        return self.job.error is not None or self.cancelled()

    def _raise(self) -> None:
        raise self.job.error or Transient(f"Transcribing {self.path.name} was cancelled.", code="cancelled")

    def _tell(self) -> None:
        self.resumption.keep()
        done_s = self.job.done_s
        if done_s > self._told_s:
            self._told_s = done_s
            self.progress(done_s)


def _require_silence(name: str, texts: list[WindowText], speech_s: float) -> None:
    """No text is an answer only if nobody speaks: no speech was heard, or the model said so of every window."""
    if speech_s > _PROVEN_SILENCE_S and not all(text.silent for text in texts):
        raise Poisoned(
            f"The model wrote nothing although {speech_s:.0f} s of speech were heard in {name}; try another model or "
            "language.",
            code="no_text",
        )


def _closed(name: str) -> Transient:
    return Transient(f"{name} was not transcribed because the engine was closed; start it again.", code="engine_closed")


@lru_cache(maxsize=1)
def _versions() -> dict[str, str]:
    return {name: importlib.metadata.version(name) for name in _PACKAGES}


def _never() -> bool:
    return False


def _ignore(_: float) -> None:
    return None


def open_whisper(
    profile: TranscriptionProfile, listener: Listener, gate: Gate | None, keeper: WindowKeeper | None
) -> WhisperEngine:
    """The registry's factory."""
    return WhisperEngine(profile, listener, gate=gate, keeper=keeper)

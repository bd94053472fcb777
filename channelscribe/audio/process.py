"""The parent's end of the decoder's process: starts it, draws its frames with a time limit, always buries it.

`probe` and `decode` use it; what the process reports becomes an error of `core.errors` here.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import channelscribe
from channelscribe.audio.verdict import crashed, hung, reported
from channelscribe.audio.wire import Frame, Kind, read_frame
from channelscribe.core.errors import EnvironmentFailure, Transient

DECODER: tuple[str, ...] = (sys.executable, "-m", "channelscribe.audio.decoder_process")
STALL_TIMEOUT_S = 120.0
_QUEUED_FRAMES = 4
_POLL_S = 0.2
_STDERR_BYTES = 2000


class DecoderProcess:
    """One task on one file in a process of its own. A context manager: leaving it ends the process."""

    def __init__(self, task: str, path: Path, *, command: Sequence[str] = DECODER) -> None:
        self._path = path
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115  closed in close()
        self._frames: queue.Queue[Frame | None] = queue.Queue(_QUEUED_FRAMES)
        self._closed = threading.Event()
        try:
            self._process = _start([*command, task, os.fspath(path)], self._stderr)
        except OSError as error:
            self._stderr.close()
            raise EnvironmentFailure(f"The audio decoder cannot be started: {error}.", code="no_decoder") from error
        self._reader = threading.Thread(target=self._read, name="decoder-pipe", daemon=True)
        self._reader.start()

    def __enter__(self) -> DecoderProcess:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def frames(
        self, *, stall_timeout_s: float = STALL_TIMEOUT_S, cancelled: Callable[[], bool] | None = None
    ) -> Iterator[tuple[Kind, Any]]:
        """INFO and DONE as dicts, PCM as bytes. Raises what the process reported, or that it crashed or hung."""
        while True:
            frame = self._next(stall_timeout_s, cancelled)
            if frame is None:
                raise crashed(self._path, self._process.wait(), self._stderr_tail())
            if frame.kind is Kind.ERROR:
                raise reported(self._path, json.loads(frame.payload))
            yield frame.kind, frame.payload if frame.kind is Kind.PCM else json.loads(frame.payload)
            if frame.kind is Kind.DONE:
                return

    def close(self) -> None:
        self._closed.set()
        with contextlib.suppress(OSError):
            self._process.kill()
        self._process.wait()
        self._reader.join()
        for pipe in (self._process.stdin, self._process.stdout, self._stderr):
            with contextlib.suppress(OSError):
                if pipe is not None:
                    pipe.close()

    def _next(self, stall_timeout_s: float, cancelled: Callable[[], bool] | None) -> Frame | None:
        waited_until = time.monotonic() + stall_timeout_s
        while True:
            if cancelled is not None and cancelled():
                raise Transient(f"Decoding {self._path.name} was cancelled.", code="cancelled")
            with contextlib.suppress(queue.Empty):
                return self._frames.get(timeout=min(_POLL_S, stall_timeout_s))
            if time.monotonic() > waited_until:
                raise hung(self._path, stall_timeout_s)

    def _read(self) -> None:
        frame: Frame | None = Frame(Kind.INFO, b"")
        while frame is not None and not self._closed.is_set():
            try:
                frame = read_frame(self._process.stdout) if self._process.stdout else None
            except (ValueError, OSError):
                frame = None
            self._put(frame)

    def _put(self, frame: Frame | None) -> None:
        while not self._closed.is_set():
            with contextlib.suppress(queue.Full):
                self._frames.put(frame, timeout=_POLL_S)
                return

    def _stderr_tail(self) -> str:
        self._stderr.seek(0, os.SEEK_END)
        self._stderr.seek(max(0, self._stderr.tell() - _STDERR_BYTES))
        return self._stderr.read().decode("utf-8", "replace")


def _start(command: list[str], stderr: BinaryIO | Any) -> subprocess.Popen[bytes]:
    """Standard input stays open as long as we live: its end tells the process that its parent is gone."""
    home = str(Path(channelscribe.__file__).parents[1])
    python_path = os.pathsep.join(p for p in (home, os.environ.get("PYTHONPATH", "")) if p)
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        env={**os.environ, "PYTHONPATH": python_path},
        creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
    )

"""The decoder's own process: `python -m channelscribe.audio.decoder_process probe|decode FILE`.

Hostile media may crash, hang or bloat this process and nothing else. It writes `wire` frames to its standard output and
ends by itself when its standard input closes, which is when its parent is gone.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
from typing import Any, BinaryIO

from channelscribe.audio import known_good
from channelscribe.audio.wire import Kind, write_frame

_MEMORY_LIMIT_BYTES = 4 << 30


def main(argv: list[str]) -> int:
    task, path = argv
    pipe = _private_stdout()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which then closes our standard input
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _limit_memory()
    try:
        from channelscribe.audio import media  # PyAV loads here, so that a broken installation is reported too

        media.run(task, path, pipe)
    except ImportError as error:
        _report(pipe, "no_decoder", str(error))
    except MemoryError:
        _report(pipe, "decoder_memory", "")
    except (TypeError, AttributeError) as error:  # what a library that has changed its interface looks like
        if not known_good.fails():
            raise
        _report(pipe, "unfit_decoder", str(error))
    return 0


def _private_stdout() -> BinaryIO:
    """A copy of standard output that no C library knows, so that its chatter cannot land between our frames."""
    private = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return private


def _end_with_parent() -> None:
    with contextlib.suppress(OSError):
        while os.read(0, 64):
            pass
    os._exit(1)


def _limit_memory() -> None:
    if sys.platform != "linux":
        return
    import resource

    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_LIMIT_BYTES, resource.RLIM_INFINITY))


def _report(pipe: BinaryIO, code: str, detail: str, **facts: Any) -> None:
    write_frame(pipe, Kind.ERROR, json.dumps({"code": code, "detail": detail, **facts}).encode())


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        code = main(sys.argv[1:])
        sys.stdout.flush()
        os._exit(code)  # skip the interpreter's teardown: a decoder that misbehaves at exit has nothing left to say

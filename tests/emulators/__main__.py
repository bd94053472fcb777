"""Serves the emulated YouTube and ODIN to other processes: `python -m tests.emulators [--world NAME] [--state DIR]`.

Prints one JSON line (environment, sources, truth, control) and serves until stdin closes or SIGTERM arrives.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from tests.emulators import worlds
from tests.emulators.control import Control, ControlServer
from tests.emulators.odin import OdinEmulator
from tests.emulators.youtube import YouTubeEmulator

_LOOK_S = 0.2


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.emulators", description=__doc__)
    parser.add_argument("--world", choices=sorted(worlds.WORLDS), default="demo")
    parser.add_argument("--state", type=Path, default=None, help="where truth.json is written and left")
    parser.add_argument("--no-key", action="store_true", help="leave the API key out of the environment")
    parser.add_argument("--no-stdin", action="store_true", help="serve on when stdin closes; for background jobs")
    return parser.parse_args()


@contextlib.contextmanager
def _state_folder(wanted: Path | None) -> Iterator[Path]:
    if wanted is None:
        with tempfile.TemporaryDirectory(prefix="channelscribe-emulators-") as folder:
            yield Path(folder)
    else:
        wanted.mkdir(parents=True, exist_ok=True)
        yield wanted.resolve()


def _write_truth(youtube: YouTubeEmulator, path: Path) -> None:
    part = path.with_suffix(".part")
    known = worlds.truth(youtube.world, youtube.recording)
    part.write_text(json.dumps(known, indent=1, ensure_ascii=False), encoding="utf-8")
    part.replace(path)


def _wait(stop: threading.Event, watch_stdin: bool) -> None:
    """Returns on SIGTERM, SIGINT, or when stdin ends."""
    if watch_stdin:  # a thread, because Windows cannot wait for a pipe with select
        threading.Thread(target=_until_stdin_ends, args=(stop,), daemon=True).start()
    while not stop.is_set():
        stop.wait(_LOOK_S)


def _until_stdin_ends(stop: threading.Event) -> None:
    try:
        while os.read(0, 4096):
            pass
    finally:
        stop.set()


def _line(youtube: YouTubeEmulator, odin: OdinEmulator, truth: Path, control: str, with_key: bool) -> str:
    key = {"YOUTUBE_API_KEYS": youtube.api_key} if with_key else {}
    line = {
        "environment": {**youtube.environment(), **odin.environment(), **key},
        "sources": worlds.sources(youtube.world),
        "truth": str(truth),
        "control": control,
        "pid": os.getpid(),
    }
    return json.dumps(line)


def main() -> int:
    arguments, stop = _arguments(), threading.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: stop.set())
    world = worlds.WORLDS[arguments.world]()
    with _state_folder(arguments.state) as folder, YouTubeEmulator(world) as youtube, OdinEmulator() as odin:
        truth = folder / "truth.json"
        _write_truth(youtube, truth)
        with ControlServer(Control(youtube, odin, lambda: _write_truth(youtube, truth))) as control:
            print(_line(youtube, odin, truth, control.url, not arguments.no_key), flush=True)
            warming = threading.Thread(target=youtube.warm, args=(stop,))
            warming.start()
            _wait(stop, not arguments.no_stdin)
            warming.join()
    return 0


if __name__ == "__main__":
    sys.exit(main())

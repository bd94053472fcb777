"""What the tests of this folder share: emulators, the real yt-dlp pointed at them, a GPU stand-in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.emulators import worlds
from tests.emulators.youtube import World, YouTubeEmulator

if TYPE_CHECKING:
    from tests.emulators.gpu_device import GpuStandIn


@pytest.fixture(scope="session")
def emulators() -> Iterator[Callable[[str], YouTubeEmulator]]:
    """One running emulator per world for the whole session; worlds that a test changes are not taken from here."""
    running: dict[str, YouTubeEmulator] = {}

    def started(name: str) -> YouTubeEmulator:
        if name not in running:
            running[name] = YouTubeEmulator(worlds.WORLDS[name]()).start()
        running[name].log.clear()
        running[name].faults.clear()
        return running[name]

    yield started
    for emulator in running.values():
        emulator.stop()


@pytest.fixture
def serve(emulators: Callable[[str], YouTubeEmulator]) -> Iterator[Callable[[str], YouTubeEmulator]]:
    """A shared emulator with its environment set in this process."""
    import contextlib

    with contextlib.ExitStack() as stack:
        yield lambda name: stack.enter_context(emulators(name).applied())


@pytest.fixture
def own() -> Iterator[Callable[[World], YouTubeEmulator]]:
    """An emulator of the test's own, environment set, stopped afterwards."""
    import contextlib

    with contextlib.ExitStack() as stack:

        def started(world: World) -> YouTubeEmulator:
            emulator = stack.enter_context(YouTubeEmulator(world))
            return stack.enter_context(emulator.applied())

        yield started


class Listener:
    """A logger for yt-dlp that keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def debug(self, message: str) -> None:
        self.lines.append(message)

    warning = error = debug


@pytest.fixture
def ydl(tmp_path: Path) -> Callable[..., Any]:
    """The real yt-dlp as a library, without JavaScript unless a test asks for it."""
    import yt_dlp

    def made(**options: Any) -> Any:
        defaults: dict[str, Any] = {
            "compat_opts": {"no-certifi"},
            "cachedir": False,
            "js_runtimes": {},
            "format": "ba[ext=m4a]/ba/b",
            "fixup": "never",
            "logger": Listener(),
            "noprogress": True,
            "socket_timeout": 10,
            "outtmpl": str(tmp_path / "%(id)s.%(ext)s"),
        }
        return yt_dlp.YoutubeDL({**defaults, **options})

    return made


@pytest.fixture
def gpu() -> Iterator[GpuStandIn]:
    """A stand-in that is this thread's device, in inference mode as the engine is."""
    import torch

    from tests.emulators.gpu_device import GpuStandIn

    stand_in = GpuStandIn()
    with torch.inference_mode(), stand_in.current():
        yield stand_in


def watch(video_id: str) -> str:
    return f"https://www.youtube.com/watch?v={video_id}"

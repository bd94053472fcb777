"""Whether a run has a video in hand, on this machine or another: upkeep leaves such a video alone and never waits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from channelscribe.core.errors import Transient
from channelscribe.store.archive import Archive


class _BusyError(Exception):
    """Another machine holds the claim."""


@contextmanager
def free(archive: Archive, video_id: str) -> Iterator[bool]:
    """True while no run works on the video, and then none can begin to; False at once where one does."""
    name = f"video-{video_id}"
    with ExitStack() as held:
        yield _claimed(archive, name, held) if archive.root.remote else _locked(archive, name, held)


def _locked(archive: Archive, name: str, held: ExitStack) -> bool:
    try:
        held.enter_context(archive.root.lock(name, timeout_s=0))
    except Transient as error:
        if error.code != "locked":
            raise
        return False
    return True


def _claimed(archive: Archive, name: str, held: ExitStack) -> bool:
    """The first look takes the claim where it is free; the second would be a wait."""
    with ExitStack() as probe:
        if not _locked(archive, name, probe):
            return False
    looks = 0

    def once() -> None:
        nonlocal looks
        looks += 1
        if looks > 1:
            raise _BusyError

    try:
        held.enter_context(archive.claims.hold(name, once))
    except _BusyError:
        return False
    return True

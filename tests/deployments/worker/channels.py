"""One emulated YouTube with a small channel for each test of the worker, so that the tests never meet."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from tests.emulators.worlds import add, spoken
from tests.emulators.youtube.world import Availability, Channel, Damage, MediaSpec, Video, World, utc

DAY = utc(2026, 11, 1)
MENDED, TOLERATED, NIGHTLY, CONFIGURED, CANCELLED, TERMINATED, HEATED, CHOSEN = (
    "MendedFilms",
    "ToleratedFilms",
    "NightlyFilms",
    "ConfiguredFilms",
    "CancelledFilms",
    "TerminatedFilms",
    "HeatedFilms",
    "ChosenFilms",
)
_FILMS = {MENDED: 2, TOLERATED: 1, NIGHTLY: 1, CONFIGURED: 1, CANCELLED: 2, TERMINATED: 2, HEATED: 2, CHOSEN: 1}
_TITLES = ("The raven and the ring", "Nine days at sea", "Who guards the bridge?", "A winter without sun")


def operated() -> World:
    """Good films in every channel; private and broken ones beside them where a Retry is tested."""
    world = World("operated")
    for number, (handle, films) in enumerate(_FILMS.items()):
        owner = world.add_channel(handle, handle)
        for i in range(films):
            film(world, owner, f"{_TITLES[i]} ({handle})", 600 + 10 * number + i, days_ago=i)
    for number, handle in enumerate((MENDED, TOLERATED, CHOSEN)):
        owner = channel(world, handle)
        private: dict[str, Any] = {"availability": Availability.PRIVATE, "listed": True}
        film(world, owner, f"Director's cut ({handle})", 660 + number, days_ago=5, **private)
    for number, handle in enumerate((MENDED, CHOSEN)):
        title = "The broken film" if handle == MENDED else f"The broken film ({handle})"
        broken = film(world, channel(world, handle), title, 680 + number, days_ago=6)
        broken.media = MediaSpec(broken.media.score, Damage.NOISE)
    return world


def film(world: World, owner: Channel, title: str, seed: int, *, days_ago: int, **more: Any) -> Video:
    return add(world, owner, title, DAY - timedelta(days=days_ago), spoken(seed, 8.0, voices=("en-us",)), **more)


def channel(world: World, handle: str) -> Channel:
    found = world.by_handle(handle)
    assert found is not None, handle
    return found

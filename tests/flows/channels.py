"""Small channels of a few seconds of speech: a run of one takes seconds on one core."""

from __future__ import annotations

from datetime import timedelta

from tests.emulators.speech import Score
from tests.emulators.worlds import add, spoken
from tests.emulators.youtube.world import Availability, Channel, Damage, Kind, MediaSpec, World, utc

DAY = utc(2026, 11, 1)
FIRST, SECOND, THIRD = "The raven and the golden ring", "Nine days at sea", "Who guards the bridge?"
SHORT, SILENT, PRIVATE, LIVE = "A rune in ten seconds", "Fjord fog", "Director's cut", "LIVE: the dig"
GOOD = ("ok", "short", "silent")


def channel() -> World:
    """Three films, a short, a silent one; a private and a live one among them."""
    world = World("channel")
    owner = world.add_channel("Small Ages", "SmallAges", description="Norse history, briefly.")
    add(world, owner, FIRST, DAY, spoken(501, 24.0), description="First line.\n\nSecond line.")
    add(
        world, owner, PRIVATE, DAY - timedelta(days=1), spoken(506, 8.0), availability=Availability.PRIVATE, listed=True
    )
    add(world, owner, SECOND, DAY - timedelta(days=2), spoken(502, 14.0, voices=("en-gb",)))
    add(world, owner, SILENT, DAY - timedelta(days=3), MediaSpec(Score.silent(8.0)), captions=False)
    add(world, owner, LIVE, DAY - timedelta(days=4), spoken(507, 8.0), kind=Kind.LIVE)
    add(world, owner, THIRD, DAY - timedelta(days=5), spoken(503, 10.0, voices=("en-us",)))
    add(world, owner, SHORT, DAY - timedelta(days=6), spoken(504, 9.0), kind=Kind.SHORT)
    return world


def films(count: int, duration_s: float = 9.0) -> World:
    """Good videos only, titled "Film 0" and on, newest first."""
    world = World("films")
    owner = world.add_channel("Films", "OnlyFilms")
    for i in range(count):
        add(world, owner, f"Film {i}", DAY - timedelta(days=i), spoken(520 + i, duration_s))
    return world


def broken() -> World:
    """Two good films among a private one and media that are cut short, empty, noise or a web page."""
    world = films(2, 8.0)
    owner: Channel = next(iter(world.channels.values()))
    sound = spoken(540, 16.0)
    for i, (title, damage) in enumerate(
        (
            ("Cut short", Damage.HALF),
            ("Cut short, then mended", Damage.HALF),
            ("A web page", Damage.HTML),
            ("Noise", Damage.NOISE),
            ("Nothing", Damage.EMPTY),
        )
    ):
        add(world, owner, title, DAY - timedelta(days=10 + i), MediaSpec(sound.score, damage))
    add(world, owner, PRIVATE, DAY - timedelta(days=20), sound, availability=Availability.PRIVATE, listed=True)
    return world

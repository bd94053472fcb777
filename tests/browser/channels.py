"""The YouTube of the operator's day: two small channels, each with films that cannot be had at first."""

from __future__ import annotations

from tests.deployments.worker.channels import film
from tests.emulators.youtube.world import Availability, Damage, MediaSpec, World

SAGAS, SONGS = "NorthernAges", "HarbourSongs"
SAGAS_TITLE, SONGS_TITLE = "Tales of the Northern Ages", "Songs of the Harbour"
SLOW, PRIVATE, BROKEN = "The raven and the ring", "The king's own tale", "The scratched reel"
SONG, LOST_SONG = "Ropes and rain", "The song on a torn tape"


def northern() -> World:
    """One channel with a private film and a broken one among five, one with a broken song among two."""
    world = World("northern")
    sagas, songs = world.add_channel(SAGAS_TITLE, SAGAS), world.add_channel(SONGS_TITLE, SONGS)
    for number, title in enumerate((SLOW, "Nine days at sea", "A winter without sun")):
        film(world, sagas, title, 700 + number, days_ago=number)
    film(world, sagas, PRIVATE, 710, days_ago=4, availability=Availability.PRIVATE, listed=True)
    broken = film(world, sagas, BROKEN, 711, days_ago=5)
    broken.media = MediaSpec(broken.media.score, Damage.NOISE)
    film(world, songs, SONG, 720, days_ago=1)
    torn = film(world, songs, LOST_SONG, 721, days_ago=2)
    torn.media = MediaSpec(torn.media.score, Damage.NOISE)
    return world

"""The channels that the tests of this room list: one of several pages, one with a video of every trouble."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from tests.emulators import worlds
from tests.emulators.speech import Score
from tests.emulators.youtube import Availability, Damage, Kind, MediaSpec, Video, World, utc, video_id

FILM = MediaSpec(Score(7, 6.0), itags=worlds.ALL_ITAGS)
SOON = datetime.now(UTC).replace(microsecond=0) + timedelta(days=33, hours=5)
PAGES = "ManyVideos"
CASES = "Cases"
UNICODE = "日本語チャンネル"


def room_world() -> World:
    world = worlds.many(137, PAGES)
    many = world.by_handle(PAGES)
    assert many
    newest = utc(2026, 11, 2)
    for i in range(3):
        when = newest - timedelta(days=i, hours=2)
        world.add_video(many, Video(video_id(f"short {i}"), f"Short {i}", many.id, when, FILM, kind=Kind.SHORT))
    _cases(world)
    named = world.add_channel("日本語", UNICODE, custom="CustomName", username="oldname")
    for i, title in enumerate(worlds.HOSTILE_TITLES[:4]):
        world.add_video(named, Video(video_id(title), title, named.id, utc(2026, 5, 1 + i), FILM))
    world.add_channel("Nothing here", "EmptyChannel")
    return world


def _cases(world: World) -> None:
    channel = world.add_channel("Cases", CASES)
    day = utc(2026, 4, 1)
    for i, state in enumerate(Availability):
        title = f"Case {state}"
        listed = True if state in {Availability.PRIVATE, Availability.DELETED} else None
        media = MediaSpec(FILM.score, itags=("140",))
        video = Video(video_id(title), title, channel.id, day - timedelta(days=i), media, state, listed=listed)
        world.add_video(channel, video)
    for i, kind in enumerate(Kind):
        scheduled = SOON if kind in {Kind.UPCOMING, Kind.PREMIERE} else None
        title, when = f"Kind {kind}", day - timedelta(days=40 + i)
        video = Video(video_id(title), title, channel.id, when, FILM, kind=kind, scheduled=scheduled)
        world.add_video(channel, video)
    for i, damage in enumerate(Damage):
        title, when = f"Damage {damage}", day - timedelta(days=60 + i)
        spec = MediaSpec(FILM.score, damage, ("140",))
        world.add_video(channel, Video(video_id(title), title, channel.id, when, spec))
    gone = [world.video_titled(f"Case {s}") for s in ("private", "deleted", "ok")]
    world.add_playlist(channel, "Some gone", [*gone, world.video_titled("Lecture 003")])
    webm = MediaSpec(FILM.score, itags=("251",))
    world.add_video(channel, Video(video_id("Only webm"), "Only webm", channel.id, utc(2026, 1, 1), webm))
    world.add_video(channel, Video("-lead_DASH-", "Dash id", channel.id, utc(2026, 1, 2), FILM))

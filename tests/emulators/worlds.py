"""The worlds that are served: a documentary channel to show, and worlds that hurt to test with.

Each builder is deterministic: the same ids, titles, dates and sound every time.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from tests.emulators.speech import Recording, Score, Section
from tests.emulators.youtube.world import (
    Availability,
    Channel,
    Damage,
    Kind,
    MediaSpec,
    Video,
    World,
    utc,
    video_id,
)

ALL_ITAGS = ("140", "139", "251", "249", "134", "18")
_LONG_TITLE = (
    "Everything We Know, Everything We Guess and Everything We Got Wrong about the Long Winter before Ragnarok, "
    "told by the People who Lived through It, the Monks who Wrote It Down and the Farmers who Dug It Up Again"
)
HOSTILE_TITLES = (
    "تاريخ الفايكنج: من البحر إلى الأسطورة",
    "北欧神话：奥丁与世界之树",
    "नॉर्स मिथक: थोर का हथौड़ा",
    "Скандинавские мифы: Рагнарёк",
    "מיתולוגיה נורדית: אודין",
    "👩‍👩‍👧‍👦 family 🏳️‍🌈 flags 🧑🏽‍🚀 and skin tones",
    "../../etc/passwd",
    "C:\\Windows\\System32\\..\\..\\secret",
    "...hidden file",
    "100% of ~everything~ %s %(title)s {title} $HOME `id`",
    "\"double\" 'single' “curly” <b>tag</b> & &amp; entity",
    "a title\nwith a newline\tand a tab",
    "CON",
    "   spaces   around   ",
    "e\u0301 decomposed, \u00e9 composed, \ufb01 ligature, \u200bzero width, \u202eright to left",
    "x" * 300,
    "___Under_scores__and-dashes---",
    "-rf --no-preserve-root",
    "\U0001f525" * 40,
    "?*|:<>",
)
HOSTILE_IDS = ("-leadDASH_1", "_leadUNDER-", "--------abc", "___________", "a-_b-_c-_d-")


def spoken(seed: int, duration_s: float, *sections: Section, voices: tuple[str, ...] = ()) -> MediaSpec:
    return MediaSpec(Score(seed, duration_s, voices=voices, sections=sections))


def add(world: World, channel: Channel, title: str, published: datetime, media: MediaSpec, **more: Any) -> Video:
    """Adds a video; its id comes from channel and title unless `id` is given."""
    own_id = more.pop("id", None) or video_id(f"{channel.handle} {title} {len(channel.videos)}")
    return world.add_video(channel, Video(own_id, title, channel.id, published, media, **more))


def _demo_films(world: World, channel: Channel) -> None:
    intro = Section("tone", 0.0, 6.0)
    pause = Section("silence", 20.0, 38.0)
    films = (
        ("Odin's Sacrifice: Nine Nights on Yggdrasil", utc(2026, 6, 14), spoken(11, 360.0, Section("tone", 0.0, 8.0))),
        ("Who Was Thor? The God of Farmers and Storms", utc(2026, 7, 2, 17), spoken(12, 150.0, voices=("en-gb",))),
        ("\U0001f43a Fenrir: The Wolf That Bound the Gods", utc(2026, 7, 19), spoken(13, 90.0, intro)),
        ("Götterdämmerung: Wie die Nordmänner das Ende der Welt überlebten", utc(2026, 8, 8), spoken(14, 100.0)),
        (_LONG_TITLE, utc(2026, 8, 29, 9), spoken(15, 55.0, voices=("en-us", "en-us+f3"))),
        ("The Lost Settlements of Greenland (Part 1/2)", utc(2026, 9, 16), spoken(16, 75.0, pause)),
        ('Loki & Baldr: "The Mistletoe", Explained', utc(2026, 10, 4, 20), spoken(17, 40.0, voices=("en-gb+f2",))),
        ("Runes in 20 Seconds: Reading the Elder Futhark", utc(2026, 11, 8), spoken(18, 20.0, voices=("en-us",))),
    )
    for title, published, media in films:
        text = f"{title}\n\nFrom the archive of {channel.title}."
        add(world, channel, title, published, media, description=text)


def demo() -> World:
    """One documentary channel: eight films from 20 s to 6 min, a short, a private, a live and a silent video."""
    world = World("demo")
    channel = world.add_channel(
        "Northern Ages", "NorthernAges", username="northernages", custom="NorthernAges", description="Norse history."
    )
    _demo_films(world, channel)
    add(world, channel, "Did Vikings wear horns? #shorts", utc(2026, 9, 28), spoken(21, 24.0), kind=Kind.SHORT)
    private = {"availability": Availability.PRIVATE, "listed": True}
    add(world, channel, "Director's cut: the Jelling stones", utc(2026, 10, 12), spoken(22, 30.0), **private)
    fog = "One Minute of Fjord Fog (no narration)"
    add(world, channel, fog, utc(2026, 10, 18), MediaSpec(Score.silent(30.0)), captions=False)
    add(world, channel, "LIVE: Excavating the Ship Burial", utc(2026, 11, 20), spoken(23, 20.0), kind=Kind.LIVE)
    world.add_playlist(channel, "Gods and Wolves", [v for v in channel.videos if v.kind is Kind.VIDEO][:4])
    return world


def warm() -> World:
    """Six films of a minute or so: enough work to heat a simulated card, and soon over."""
    world = World("warm")
    channel = world.add_channel("Northern Forge", "NorthernForge", description="Iron, fire and how to cool both.")
    titles = ("The Smith's Fire", "Quenching", "Bog Iron", "The Bellows", "Why Swords Broke", "Charcoal")
    for i, title in enumerate(titles):
        add(world, channel, title, utc(2026, 11, 1) - timedelta(days=i), spoken(300 + i, 60.0 + 10 * i))
    return world


def tiny(videos: int = 3, duration_s: float = 8.0) -> World:
    """A channel of a few videos of a few seconds: for tests that need a whole run to be quick."""
    world = World("tiny")
    channel = world.add_channel("Tiny Channel", "TinyChannel")
    for i in range(videos):
        published = utc(2026, 11, 1) - timedelta(days=i)
        add(world, channel, f"Tiny film {i}", published, spoken(100 + i, duration_s, voices=("en-us",)))
    return world


def many(videos: int = 137, handle: str = "ManyVideos") -> World:
    """A channel of several pages whose videos share three recordings, under every kind of name."""
    world = World("many")
    channel = world.add_channel("Many Videos", handle, username="manyvideosold", custom="ManyVideosCustom")
    media = [spoken(200 + i, 6.0 + i) for i in range(3)]
    for i in range(videos):
        published = utc(2026, 11, 1) - timedelta(days=i, minutes=i)
        add(world, channel, f"Lecture {i:03d}", published, media[i % 3], description=f"Lecture number {i}.")
    listed = channel.feed("UULF")
    world.add_playlist(channel, "All lectures, oldest first", list(reversed(listed)))
    world.add_playlist(channel, "Empty list", [])
    world.add_playlist(channel, "One twice", [*listed[:3], listed[0]])
    return world


def hostile() -> World:
    """Titles and ids that break careless code, beside a channel of several pages."""
    world = many(133)
    world.name = "hostile"
    channel = world.add_channel(
        "../Hostile \U0001f480 Channel", "Hostile.Titles_-1", username="hostileold", custom="Höstile"
    )
    media = [spoken(300 + i, 5.0 + i) for i in range(2)]
    for i, title in enumerate(HOSTILE_TITLES):
        own_id = HOSTILE_IDS[i] if i < len(HOSTILE_IDS) else None
        add(world, channel, title, utc(2026, 10, 30) - timedelta(days=i), media[i % 2], id=own_id)
    gone = {"availability": Availability.PRIVATE, "listed": True}
    add(world, channel, "Made private later", utc(2026, 9, 1), media[0], **gone)
    world.add_playlist(channel, "Everything // here \U0001f4a5", [*world.videos.values()])
    return world


def failures() -> World:
    """One video for each way in which YouTube says no, and one for each way in which media is broken."""
    world = World("failures")
    channel = world.add_channel("Failures", "Failures")
    media = spoken(400, 6.0)
    day = utc(2026, 11, 1)
    for i, availability in enumerate(Availability):
        published = day - timedelta(days=i)
        add(world, channel, f"Case {availability}", published, media, availability=availability, listed=True)
    for i, kind in enumerate(Kind):
        waits = kind in (Kind.UPCOMING, Kind.PREMIERE)
        times = {"scheduled": utc(2099, 12, 24, 18)} if waits else {}
        add(world, channel, f"Kind {kind}", day - timedelta(days=40 + i), media, kind=kind, **times)
    for i, damage in enumerate(Damage):
        broken = MediaSpec(media.score, damage)
        add(world, channel, f"Damage {damage}", day - timedelta(days=80 + i), broken)
    silent = MediaSpec(Score.silent(10.0))
    add(world, channel, "Silent", day - timedelta(days=100), silent)
    add(world, channel, "Opus only", day - timedelta(days=101), MediaSpec(media.score, itags=("251", "249")))
    add(world, channel, "Every format", day - timedelta(days=102), MediaSpec(media.score, itags=ALL_ITAGS))
    dubbed = MediaSpec(media.score, dubs=("de", "es"))
    add(world, channel, "Dubbed", day - timedelta(days=104), dubbed)
    add(world, channel, "No format", day - timedelta(days=103), MediaSpec(media.score, itags=()))
    return world


WORLDS: dict[str, Callable[[], World]] = {
    "demo": demo,
    "warm": warm,
    "tiny": tiny,
    "many": many,
    "hostile": hostile,
    "failures": failures,
}


def expectation(video: Video) -> str:
    """In one word, what a run should make of the video."""
    if video.availability is not Availability.OK:
        return str(video.availability)
    if video.kind in (Kind.LIVE, Kind.POST_LIVE):
        return "live"
    if video.kind is not Kind.VIDEO:
        return str(video.kind)
    if video.media.damage is not Damage.NONE:
        return str(video.media.damage)
    return "ok" if video.media.score.speech else "silent"


def truth(world: World, recording: Callable[[str], Recording]) -> dict[str, dict[str, Any]]:
    """What is in every video, as plain JSON by video id."""
    return {
        video.id: {
            "title": video.title,
            "duration_s": video.duration_s,
            "published": video.published.isoformat(),
            "kind": str(video.kind),
            "expected": expectation(video),
            "sentences": [
                {"text": s.text, "start_s": round(s.start_s, 3), "end_s": round(s.end_s, 3)}
                for s in recording(video.id).sentences
            ],
        }
        for video in world.videos.values()
    }


def sources(world: World) -> dict[str, str]:
    """What a user would type to get the world's first channel and its first playlist."""
    channel = next(iter(world.channels.values()))
    found = {"channel": f"@{channel.handle}", "channel_id": channel.id}
    playlists = [p.id for p in world.playlists.values() if p.channel_id == channel.id and p.video_ids]
    return found | ({"playlist": playlists[0]} if playlists else {})

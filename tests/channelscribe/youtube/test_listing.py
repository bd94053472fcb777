"""Both listers over the emulated Data API and the emulated pages: the same channel has to give the same videos."""

from __future__ import annotations

import json
import threading
from datetime import UTC, date, datetime, time, timedelta

import pytest

from channelscribe.core.errors import Blocked, Throttled, Transient, UsageError
from channelscribe.core.model import Availability, VideoKind
from channelscribe.youtube.config import parse_keys
from channelscribe.youtube.listing import Lister, Listing, Selection, make_lister
from channelscribe.youtube.source import parse_source
from tests.channelscribe.youtube.clocks import JumpClock
from tests.channelscribe.youtube.conftest import quick
from tests.channelscribe.youtube.worlds import CASES, PAGES, SOON, UNICODE
from tests.emulators.youtube import YouTubeEmulator

WAYS = ["api", "flat"]


@pytest.fixture(params=WAYS)
def lister(request: pytest.FixtureRequest, youtube: YouTubeEmulator, clock: JumpClock) -> Lister:
    keys = parse_keys(youtube.api_key) if request.param == "api" else ()
    return make_lister(quick(api_keys=keys), clock)


def listed(lister: Lister, typed: str, **selection: object) -> Listing:
    return lister.list(parse_source(typed), Selection(**selection))  # type: ignore[arg-type]


def titles(listing: Listing) -> list[str]:
    return [v.title for v in listing.videos]


def expected(youtube: YouTubeEmulator, handle: str = PAGES) -> list[str]:
    channel = youtube.world.by_handle(handle)
    assert channel
    return [v.title for v in channel.feed("UU")]


@pytest.mark.parametrize("form", ["@{h}", "{id}", "https://www.youtube.com/@{h}/videos", "user/manyvideosold"])
def test_all_videos_of_a_channel_newest_first(lister: Lister, youtube: YouTubeEmulator, form: str) -> None:
    channel = youtube.world.by_handle(PAGES)
    assert channel
    listing = listed(lister, form.format(h=PAGES, id=channel.id))
    assert titles(listing) == expected(youtube)
    assert (listing.channel_id, listing.channel_title) == (channel.id, "Many Videos")
    assert {v.channel_id for v in listing.videos} == {channel.id}
    assert all(v.duration_s for v in listing.videos)
    assert {v.title for v in listing.videos if v.kind is VideoKind.SHORT} == {"Short 0", "Short 1", "Short 2"}


def test_the_api_is_exact_and_counts_its_units(youtube: YouTubeEmulator, clock: JumpClock) -> None:
    before = youtube.api.quota.units_used()
    listing = listed(make_lister(quick(api_keys=parse_keys(youtube.api_key)), clock), f"@{PAGES}")
    world = youtube.world.videos
    assert all(v.published_at == world[v.video_id].published for v in listing.videos)
    assert listing.quota_units == youtube.api.quota.units_used() - before == 1 + 3 + 3 + 1
    assert listing.listed_by == "api" and listing.notes == ()


@pytest.mark.parametrize(
    "form", ["c/CustomName", "https://www.youtube.com/c/CustomName/videos", f"@{UNICODE}", "user/oldname"]
)
def test_names_in_other_scripts_and_legacy_addresses(lister: Lister, youtube: YouTubeEmulator, form: str) -> None:
    listing = listed(lister, form)
    assert titles(listing) == expected(youtube, UNICODE) and listing.channel_title == "日本語"


def test_a_custom_address_costs_the_api_one_page(youtube: YouTubeEmulator, clock: JumpClock) -> None:
    listed(make_lister(quick(api_keys=parse_keys(youtube.api_key)), clock), "c/CustomName", latest=1)
    assert youtube.requests(r"www\.youtube\.com") == 1


@pytest.mark.parametrize("latest", [1, 3, 60, 1000])
def test_latest_takes_the_newest_and_stops_early(lister: Lister, youtube: YouTubeEmulator, latest: int) -> None:
    listing = listed(lister, f"@{PAGES}", latest=latest)
    assert titles(listing) == expected(youtube)[:latest]
    if latest <= 3:
        assert youtube.requests(r"playlistItems\?playlistId=UU[^S]|pageToken|/browse") <= 1


@pytest.mark.parametrize(
    ("since", "until"),
    [
        (date(2026, 9, 1), date(2026, 9, 30)),
        (date(2026, 10, 25), None),
        (None, date(2026, 7, 1)),
        (date(2026, 9, 15), date(2026, 9, 15)),
        (date(2030, 1, 1), None),
        (None, date(2001, 1, 1)),
        (None, date.max),
        (date.min, date.max),
    ],
)
def test_a_date_range_takes_exactly_the_days_inside(
    lister: Lister, youtube: YouTubeEmulator, since: date | None, until: date | None
) -> None:
    channel = youtube.world.by_handle(PAGES)
    assert channel
    first = datetime.combine(since or date.min, time(), UTC)
    last = datetime.combine(until or date.max, time.max, UTC)
    wanted = [v.title for v in channel.feed("UU") if first <= v.published <= last]
    listing = listed(lister, f"@{PAGES}", since=since, until=until)
    assert titles(listing) == wanted
    assert youtube.requests("/watch") <= 60


def test_range_and_latest_together(lister: Lister) -> None:
    listing = listed(lister, f"@{PAGES}", until=date(2026, 9, 30), latest=2)
    assert titles(listing) == ["Lecture 032", "Lecture 033"]


def test_a_playlist_of_any_order_comes_newest_first(lister: Lister, youtube: YouTubeEmulator) -> None:
    oldest_first = next(p for p in youtube.world.playlists.values() if p.title.startswith("All lectures"))
    dated = listed(lister, oldest_first.id, since=date(2026, 10, 28), until=date(2026, 10, 30))
    assert titles(dated) == ["Lecture 002", "Lecture 003", "Lecture 004"]
    everything = listed(lister, f"https://www.youtube.com/playlist?list={oldest_first.id}")
    assert len(everything.videos) == 137 and everything.channel_title == "Many Videos"


def test_private_and_deleted_entries_are_listed_as_such(lister: Lister, youtube: YouTubeEmulator) -> None:
    playlist = next(p for p in youtube.world.playlists.values() if p.title == "Some gone")
    listing = listed(lister, playlist.id)
    by_id = {v.video_id: v for v in listing.videos}
    private = by_id[youtube.world.video_titled("Case private").id]
    deleted = by_id[youtube.world.video_titled("Case deleted").id]
    assert len(by_id) == 4
    assert private.title == f"Private video {private.video_id}"
    assert deleted.title == f"Deleted video {deleted.video_id}"
    assert {private.availability, deleted.availability} == {Availability.PRIVATE}


def test_one_wrong_id_does_not_harm_the_others(lister: Lister, youtube: YouTubeEmulator) -> None:
    good = [youtube.world.video_titled(t).id for t in ("Lecture 003", "Lecture 001", "Dash id")]
    private = youtube.world.video_titled("Case private").id
    listing = listed(lister, f"{good[0]} {private} AAAAAAAAAAA\n{good[1]},https://youtu.be/{good[2]}")
    assert titles(listing)[:3] == ["Lecture 001", "Lecture 003", "Dash id"]
    gone = {v.video_id: v for v in listing.videos[3:]}
    assert set(gone) == {private, "AAAAAAAAAAA"}
    assert {v.availability for v in gone.values()} == {Availability.PRIVATE}
    assert all(v.video_id in v.title for v in gone.values())


def test_what_is_announced_live_or_for_members_is_said(lister: Lister, youtube: YouTubeEmulator) -> None:
    ids = [
        youtube.world.video_titled(t).id for t in ("Kind upcoming", "Kind premiere", "Kind live_now", "Kind was_live")
    ]
    by_title = {v.title: v for v in listed(lister, ",".join(ids)).videos}
    assert by_title["Kind upcoming"].availability is Availability.UPCOMING
    assert by_title["Kind premiere"].scheduled_at == SOON
    assert by_title["Kind live_now"].availability is Availability.LIVE_NOW
    assert by_title["Kind was_live"].kind is VideoKind.LIVE


def test_an_empty_channel_and_an_empty_playlist_are_empty(lister: Lister, youtube: YouTubeEmulator) -> None:
    assert listed(lister, "@EmptyChannel").videos == ()
    empty = next(p for p in youtube.world.playlists.values() if p.title == "Empty list")
    assert listed(lister, empty.id).videos == ()


@pytest.mark.parametrize("typed", ["@no-such-handle", "UC" + "x" * 22, "user/nobody", "c/nobody", "PL" + "x" * 32])
def test_what_does_not_exist_is_a_usage_error(lister: Lister, typed: str) -> None:
    with pytest.raises(UsageError) as unknown:
        listed(lister, typed)
    assert unknown.value.code in {"no_such_channel", "no_such_list"}


def test_without_an_uploads_list_the_tabs_are_read(youtube: YouTubeEmulator, clock: JumpClock) -> None:
    alert = {"alertRenderer": {"type": "ERROR", "text": {"runs": [{"text": "The playlist does not exist."}]}}}
    gone = f"<html><script>var ytInitialData = {json.dumps({'alerts': [alert]})};</script></html>"
    youtube.faults.add(r"/playlist\?list=UU", "status", status=200, body=gone, times=-1)
    youtube.faults.add(r"/browse", "status", status=404, times=1)
    lister = make_lister(quick(), clock)
    assert set(titles(listed(lister, f"@{PAGES}"))) == set(expected(youtube))
    assert titles(listed(lister, f"@{PAGES}", latest=3)) == expected(youtube)[:3]
    september = listed(lister, f"@{PAGES}", since=date(2026, 9, 1), until=date(2026, 9, 30))
    assert len(september.videos) == 30


@pytest.mark.parametrize("fault", [{"status": 503}, {"status": 200, "body": "{}"}, {"status": 200, "body": '{"a": '}])
def test_a_list_that_breaks_off_is_an_error_and_not_a_shorter_list(
    lister: Lister, youtube: YouTubeEmulator, fault: dict[str, object]
) -> None:
    youtube.faults.add(r"pageToken=|/browse", "status", times=-1, content_type="application/json", **fault)
    with pytest.raises(Transient):
        listed(lister, f"@{PAGES}")


@pytest.mark.parametrize("fault", [{"do": "status", "status": 503}, {"do": "reset"}, {"do": "stall", "seconds": 6.0}])
def test_a_hiccup_is_survived(lister: Lister, youtube: YouTubeEmulator, fault: dict[str, object]) -> None:
    youtube.faults.add(r"playlistItems|/playlist", times=1, **fault)  # type: ignore[arg-type]
    assert len(listed(lister, f"@{UNICODE}").videos) == 4


def test_a_date_that_cannot_be_found_out_keeps_the_video_and_is_noted(
    youtube: YouTubeEmulator, clock: JumpClock
) -> None:
    youtube.faults.add(r"/watch\?", "status", status=429, times=-1)
    youtube.faults.add(r"/player", "status", status=429, times=-1)
    listing = listed(make_lister(quick(), clock), f"@{PAGES}", since=date(2026, 9, 1), until=date(2026, 9, 30))
    september = {f"Lecture {i:03d}" for i in range(32, 62)}
    assert september <= set(titles(listing))
    assert any("without a known date" in note for note in listing.notes)
    assert youtube.requests(r"/watch\?") <= 3


def test_pages_that_throttle_or_block_say_so(youtube: YouTubeEmulator, clock: JumpClock) -> None:
    lister = make_lister(quick(), clock)
    youtube.faults.add(r"youtube\.com/playlist|/browse", "status", status=429, times=-1)
    with pytest.raises(Throttled):
        listed(lister, f"@{PAGES}")
    youtube.faults.clear()
    for page in (r"/browse", r"/playlist\?"):
        youtube.faults.add(page, "status", status=403, times=-1)
        with pytest.raises(Blocked):
            listed(lister, f"@{PAGES}")


def test_looks_at_single_videos_are_bounded_and_noted(youtube: YouTubeEmulator, clock: JumpClock) -> None:
    ids = [v.id for v in list(youtube.world.videos.values())[:6]]
    listing = listed(make_lister(quick(date_lookups=2), clock), " ".join(ids))
    assert {v.video_id for v in listing.videos} == set(ids)
    assert youtube.requests(r"/watch\?") == 2 and "only 2 pages" in listing.notes[0]


@pytest.mark.parametrize("way", WAYS)
def test_eight_threads_list_at_once(youtube: YouTubeEmulator, clock: JumpClock, way: str) -> None:
    lister = make_lister(quick(api_keys=parse_keys(youtube.api_key) if way == "api" else ()), clock)
    results: list[list[str]] = []

    def work() -> None:
        results.extend(titles(listed(lister, f"@{PAGES}", latest=120)) for _ in range(2))

    threads = [threading.Thread(target=work, daemon=True) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert results == [expected(youtube)[:120]] * 16


def test_progress_is_told_and_never_goes_back_to_nothing(lister: Lister) -> None:
    told: list[int] = []
    lister.list(parse_source(f"@{PAGES}"), Selection(), told.append)
    assert told and max(told) >= 130


@pytest.mark.parametrize(
    "bad",
    [
        {"latest": 0}, {"latest": -3}, {"latest": True}, {"latest": "3"}, {"latest": 2.0}, {"since": "2026-01-01"},
        {"until": datetime(2026, 1, 1, tzinfo=UTC)}, {"since": date(2026, 2, 1), "until": date(2026, 1, 1)},
    ],
)  # fmt: skip
def test_a_selection_that_cannot_be_is_refused(bad: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        Selection(**bad)  # type: ignore[arg-type]


def test_the_last_moment_of_the_last_day_is_inside() -> None:
    selection = Selection(since=date(2026, 1, 1), until=date(2026, 1, 31))
    midnight = datetime(2026, 2, 1, tzinfo=UTC)
    assert selection.covers(midnight - timedelta(microseconds=1)) and not selection.covers(midnight)
    assert selection.covers(datetime(2026, 1, 1, tzinfo=UTC)) and selection.covers(None)


def test_videos_of_the_trouble_channel_are_all_accounted_for(lister: Lister, youtube: YouTubeEmulator) -> None:
    listing = listed(lister, f"@{CASES}")
    assert {v.video_id for v in listing.videos} == {v.id for v in youtube.world.by_handle(CASES).feed("UU")}  # type: ignore[union-attr]

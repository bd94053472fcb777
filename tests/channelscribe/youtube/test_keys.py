"""Keys: failover by project, the Pacific day, refused keys, and a key that shows up nowhere."""

from __future__ import annotations

import logging
import traceback
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from channelscribe.core.errors import ChannelscribeError, EnvironmentFailure, Throttled, Transient, UsageError
from channelscribe.core.settings import Settings
from channelscribe.youtube.api import ApiLister
from channelscribe.youtube.client import error_reasons
from channelscribe.youtube.config import YouTubeConfig, parse_keys
from channelscribe.youtube.flat import FlatLister
from channelscribe.youtube.keys import KeyPool, next_pacific_midnight
from channelscribe.youtube.listing import Listing, Selection, make_lister
from channelscribe.youtube.source import parse_source
from tests.channelscribe.youtube.clocks import JumpClock
from tests.channelscribe.youtube.conftest import quick
from tests.channelscribe.youtube.worlds import UNICODE
from tests.emulators.youtube import KeyState, Project, YouTubeEmulator

FIRST, TWIN, SECOND = (f"AIzaTEST-{name}-not-real-000000000000" for name in ("first", "twin", "second"))


@pytest.fixture
def projects(youtube: YouTubeEmulator) -> tuple[Project, Project]:
    one, two = Project("111111111111"), Project("222222222222")
    youtube.api.quota.used.clear()
    for secret, project in ((FIRST, one), (TWIN, one), (SECOND, two)):
        youtube.api.quota.add_key(secret, project)
    return one, two


def ask(config: YouTubeConfig, clock: JumpClock) -> Listing:
    return make_lister(config, clock).list(parse_source(f"@{UNICODE}"), Selection(latest=2))


def api_only(config: YouTubeConfig, clock: JumpClock) -> ApiLister:
    return ApiLister(config, FlatLister(config, clock), clock)


def used_keys(youtube: YouTubeEmulator) -> list[str]:
    return [r.key for r in youtube.log if r.key]


def test_a_used_up_project_is_followed_by_the_next(
    youtube: YouTubeEmulator, projects: tuple[Project, Project], clock: JumpClock
) -> None:
    youtube.api.quota.exhaust(projects[0].number)
    listing = ask(quick(api_keys=parse_keys(f"a:{FIRST},a:{TWIN},b:{SECOND}")), clock)
    assert listing.listed_by == "api" and len(listing.videos) == 2
    assert used_keys(youtube).count(FIRST) == 1
    assert TWIN not in used_keys(youtube)
    assert any("quota of a is used up" in note for note in listing.notes)


def test_when_every_project_is_used_up_pages_are_read_instead(
    youtube: YouTubeEmulator, projects: tuple[Project, Project], clock: JumpClock
) -> None:
    for project in projects:
        youtube.api.quota.exhaust(project.number)
    listing = ask(quick(api_keys=parse_keys(f"{FIRST} {SECOND}")), clock)
    assert (listing.listed_by, len(listing.videos)) == ("flat", 2)
    assert "without a key" in listing.notes[0] and "quota" in listing.notes[0]


def test_a_parked_project_wakes_at_midnight_in_california(
    youtube: YouTubeEmulator, projects: tuple[Project, Project], clock: JumpClock
) -> None:
    youtube.api.quota.exhaust(projects[0].number)
    lister = api_only(quick(api_keys=parse_keys(FIRST)), clock)
    with pytest.raises(Throttled) as spent:
        lister.list(parse_source(f"@{UNICODE}"), Selection())
    assert spent.value.code == "quota_exceeded" and spent.value.retry_after == next_pacific_midnight(clock.now())
    youtube.api.quota.used.clear()
    with pytest.raises(Throttled):
        lister.list(parse_source(f"@{UNICODE}"), Selection())
    clock.sleep((spent.value.retry_after - clock.now()).total_seconds())
    assert len(lister.list(parse_source(f"@{UNICODE}"), Selection()).videos) == 4


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (KeyState.INVALID, "not valid"),
        (KeyState.EXPIRED, "expired"),
        (KeyState.BLOCKED_IP, "restricted to other IP"),
        (KeyState.BLOCKED_REFERRER, "restricted to certain web sites"),
        (KeyState.BLOCKED_SERVICE, "restrictions do not allow"),
    ],
)
def test_a_refused_key_is_explained_and_not_asked_again(
    youtube: YouTubeEmulator, projects: tuple[Project, Project], clock: JumpClock, state: KeyState, words: str
) -> None:
    youtube.api.quota.add_key(FIRST, projects[0], state)
    lister = api_only(quick(api_keys=parse_keys(FIRST)), clock)
    for _ in range(2):
        with pytest.raises(EnvironmentFailure) as refused:
            lister.list(parse_source(f"@{UNICODE}"), Selection())
        assert refused.value.code == "bad_key"
        assert words in refused.value.reason and "YOUTUBE_API_KEYS" in refused.value.reason
    assert used_keys(youtube) == [FIRST]
    assert ask(quick(api_keys=parse_keys(f"{FIRST},{SECOND}")), clock).listed_by == "api"


def test_a_disabled_api_is_explained(
    youtube: YouTubeEmulator, projects: tuple[Project, Project], clock: JumpClock
) -> None:
    youtube.api.quota.add_key(FIRST, Project("3", disabled=True))
    listing = ask(quick(api_keys=parse_keys(FIRST)), clock)
    assert listing.listed_by == "flat" and "not enabled" in listing.notes[0]


def test_a_rate_limit_is_waited_out_with_the_same_key(
    youtube: YouTubeEmulator, projects: tuple[Project, Project], clock: JumpClock
) -> None:
    youtube.faults.add("/youtube/v3/", "status", status=429, body="{}", content_type="application/json")
    listing = ask(quick(api_keys=parse_keys(f"{FIRST},{SECOND}"), backoff_s=2.0), clock)
    assert listing.listed_by == "api" and set(used_keys(youtube)) == {FIRST}
    assert clock.slept_s > 0


def test_a_cut_off_answer_is_asked_again(
    youtube: YouTubeEmulator, projects: tuple[Project, Project], clock: JumpClock
) -> None:
    body = {"status": 200, "body": '{"kind": "youtube#cha', "content_type": "application/json"}
    youtube.faults.add("/youtube/v3/channels", "status", **body)
    assert ask(quick(api_keys=parse_keys(FIRST)), clock).listed_by == "api"
    youtube.faults.add("/youtube/v3/channels", "status", times=-1, **body)
    with pytest.raises(Transient) as cut:
        ask(quick(api_keys=parse_keys(FIRST)), clock)
    assert cut.value.code == "truncated"


@pytest.mark.parametrize("fault", [{"do": "reset"}, {"do": "status", "status": 500, "body": "<html>"}, {"do": "quota"}])
def test_the_key_is_in_no_url_log_or_error(
    youtube: YouTubeEmulator,
    projects: tuple[Project, Project],
    clock: JumpClock,
    caplog: pytest.LogCaptureFixture,
    fault: dict[str, object],
) -> None:
    caplog.set_level(logging.DEBUG)
    keys = parse_keys(f"{FIRST},{SECOND}")
    config = quick(api_keys=keys)
    youtube.faults.add("/youtube/v3/", times=-1, **fault)  # type: ignore[arg-type]
    said = ""
    try:
        api_only(config, clock).list(parse_source(f"@{UNICODE}"), Selection())
    except ChannelscribeError as error:
        said = "".join(traceback.format_exception(error)) + repr(error)
    assert said
    everything = said + caplog.text + repr(config) + repr(keys) + " ".join(r.url for r in youtube.log)
    assert FIRST in used_keys(youtube)
    assert FIRST not in everything and SECOND not in everything


def test_keys_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("YOUTUBE_API_KEYS", f"team:{FIRST}, {SECOND}")
    config = YouTubeConfig.from_settings(Settings(_env_file=None))
    assert [key.project for key in config.api_keys] == ["team", "key 2"]
    assert [key.secret for key in config.api_keys] == [FIRST, SECOND]


@pytest.mark.parametrize("bad", ["short", "has umlaut ä in the key 12345", "x" * 300, "key\x00with null"])
def test_an_impossible_key_is_refused_without_showing_it(bad: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse_keys([bad])
    assert bad not in refused.value.reason


def test_a_pool_without_keys_says_so() -> None:
    with pytest.raises(EnvironmentFailure):
        KeyPool((), JumpClock()).pick()


@pytest.mark.parametrize(
    ("now", "reset"),
    [
        ("2026-10-31T20:00", "2026-11-01T07:00"),
        ("2026-11-01T06:59", "2026-11-01T07:00"),
        ("2026-11-01T20:00", "2026-11-02T08:00"),
        ("2027-03-14T20:00", "2027-03-15T07:00"),
    ],
)
def test_the_reset_follows_daylight_saving(now: str, reset: str) -> None:
    moment, expected = (datetime.fromisoformat(t).replace(tzinfo=UTC) for t in (now, reset))
    assert next_pacific_midnight(moment) == expected


@settings(deadline=None)
@given(st.datetimes(datetime(2020, 1, 1), datetime(2040, 1, 1), timezones=st.just(UTC)))
def test_the_reset_is_always_within_the_next_25_hours(moment: datetime) -> None:
    assert timedelta(0) < next_pacific_midnight(moment) - moment <= timedelta(hours=25)


@settings(deadline=None)
@given(
    st.binary(max_size=200) | st.sampled_from([b'{"error": []}', b'{"error": {"errors": 3}}', b"[1]", b"null", b"3"])
)
def test_any_error_body_is_read_without_harm(content: bytes) -> None:
    assert isinstance(error_reasons(content), set)

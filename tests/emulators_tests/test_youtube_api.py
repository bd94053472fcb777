"""The real Google client and raw requests against the emulated Data API."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httplib2
import pytest
import requests
from googleapiclient import discovery
from googleapiclient.errors import HttpError

from tests.emulators import worlds
from tests.emulators.youtube import API_KEY, KeyState, YouTubeEmulator
from tests.emulators.youtube.dataapi import paging

Serve = Callable[[str], YouTubeEmulator]
LIST_ALL = """
import sys
from googleapiclient import discovery
api = discovery.build("youtube", "v3", developerKey=sys.argv[1], cache_discovery=False).playlistItems()
request, seen = api.list(part="contentDetails", playlistId=sys.argv[2], maxResults=50), []
while request is not None:
    answer = request.execute()
    seen += [i["contentDetails"]["videoId"] for i in answer["items"]]
    request = api.list_next(request, answer)
print(" ".join(seen))
"""


def service(emulator: YouTubeEmulator, key: str = API_KEY) -> Any:
    http = httplib2.Http(timeout=20, ca_certs=str(emulator.ca_file))
    return discovery.build("youtube", "v3", http=http, developerKey=key, cache_discovery=False)


def reason(error: pytest.ExceptionInfo[HttpError]) -> tuple[int, str]:
    return int(error.value.resp.status), json.loads(error.value.content)["error"]["errors"][0]["reason"]


def ask(emulator: YouTubeEmulator, path: str, key: str = API_KEY) -> tuple[int, Any]:
    url = f"https://youtube.googleapis.com/youtube/v3/{path}"
    answer = requests.get(url, headers={"X-Goog-Api-Key": key}, timeout=20)
    return answer.status_code, answer.json()


def refusal(emulator: YouTubeEmulator, path: str, key: str = API_KEY) -> tuple[int, str]:
    status, body = ask(emulator, path, key)
    return status, body["error"]["errors"][0]["reason"]


def uploads(emulator: YouTubeEmulator, handle: str = "ManyVideos") -> str:
    channel = emulator.world.by_handle(handle)
    assert channel
    return "UU" + channel.id[2:]


def test_the_real_client_pages_through_a_channel_at_its_known_price(own: Callable[..., YouTubeEmulator]) -> None:
    emulator = own(worlds.many(130))
    api = service(emulator)
    found = api.channels().list(part="contentDetails", forHandle="@manyvideos").execute()
    list_id = found["items"][0]["contentDetails"]["relatedPlaylists"]["uploads"]
    request, ids = api.playlistItems().list(part="contentDetails", playlistId=list_id, maxResults=50), list[str]()
    while request is not None:
        answer = request.execute()
        ids += [item["contentDetails"]["videoId"] for item in answer["items"]]
        request = api.playlistItems().list_next(request, answer)
    assert ids == [v.id for v in emulator.world.list_items(list_id) or []]
    assert len(set(ids)) == 130
    details = api.videos().list(part="snippet,contentDetails", id=ids[:50]).execute()["items"]
    assert [item["id"] for item in details] == ids[:50]
    assert details[0]["contentDetails"]["duration"] == "PT6S"
    assert emulator.api.quota.units_used() == 1 + 3 + 1


def test_the_real_client_in_a_subprocess_needs_only_environment_variables(serve: Serve) -> None:
    emulator = serve("many")
    environment = {"PATH": os.environ["PATH"], **emulator.environment()}
    command = [sys.executable, "-c", LIST_ALL, API_KEY, uploads(emulator)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.split()) == 137


@pytest.mark.parametrize(
    ("state", "wanted"),
    [
        (KeyState.INVALID, (400, "badRequest")),
        (KeyState.EXPIRED, (400, "badRequest")),
        (KeyState.BLOCKED_IP, (403, "forbidden")),
        (KeyState.BLOCKED_REFERRER, (403, "forbidden")),
        (KeyState.BLOCKED_SERVICE, (403, "forbidden")),
    ],
    ids=str,
)
def test_keys_that_are_refused(own: Callable[..., YouTubeEmulator], state: KeyState, wanted: tuple[int, str]) -> None:
    emulator = own(worlds.tiny())
    emulator.api.quota.add_key("TEST-KEY-BAD", "200000000002", state)
    with pytest.raises(HttpError) as caught:
        service(emulator, "TEST-KEY-BAD").channels().list(part="id", forHandle="@TinyChannel").execute()
    assert reason(caught) == wanted
    assert emulator.api.quota.units_used() == 0


def test_a_disabled_project_and_no_key_at_all(own: Callable[..., YouTubeEmulator]) -> None:
    emulator = own(worlds.tiny())
    emulator.api.quota.add_key("TEST-KEY-OFF", "300000000003", disabled=True)
    assert refusal(emulator, "channels?part=id&forHandle=x", "TEST-KEY-OFF") == (403, "accessNotConfigured")
    assert refusal(emulator, "channels?part=id&forHandle=x", "") == (403, "forbidden")
    assert refusal(emulator, "channels?part=id&forHandle=x", "unheard-of") == (400, "badRequest")


def test_quota_belongs_to_the_project_and_comes_back_at_midnight_in_california() -> None:
    now = [datetime(2026, 11, 21, 5, 0, tzinfo=UTC)]
    with YouTubeEmulator(worlds.tiny(), now=lambda: now[0]) as emulator, emulator.applied():
        for key in ("TEST-KEY-A", "TEST-KEY-A2"):
            emulator.api.quota.add_key(key, "400000000004", daily=2)
        emulator.api.quota.add_key("TEST-KEY-B", "500000000005")
        assert ask(emulator, "channels?part=id&forHandle=x", "TEST-KEY-A")[0] == 200
        assert refusal(emulator, "channels?part=nonsense&forHandle=x", "TEST-KEY-A") == (400, "unknownPart")
        for key in ("TEST-KEY-A", "TEST-KEY-A2"):
            assert refusal(emulator, "channels?part=id&forHandle=x", key) == (403, "quotaExceeded")
        assert ask(emulator, "channels?part=id&forHandle=x", "TEST-KEY-B")[0] == 200
        now[0] += timedelta(hours=2, minutes=59)
        assert refusal(emulator, "channels?part=id&forHandle=x", "TEST-KEY-A2") == (403, "quotaExceeded")
        now[0] += timedelta(minutes=1)
        assert ask(emulator, "channels?part=id&forHandle=x", "TEST-KEY-A2")[0] == 200


def test_quota_is_counted_once_per_call_by_many_threads(own: Callable[..., YouTubeEmulator]) -> None:
    emulator = own(worlds.tiny())
    emulator.api.quota.add_key("TEST-KEY-C", "600000000006", daily=25)
    statuses: list[int] = []

    def call() -> None:
        for _ in range(5):
            statuses.append(ask(emulator, "channels?part=id&forHandle=x", "TEST-KEY-C")[0])

    threads = [threading.Thread(target=call) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert (statuses.count(200), statuses.count(403)) == (25, 15)


def test_too_many_a_minute(own: Callable[..., YouTubeEmulator]) -> None:
    emulator = own(worlds.tiny())
    emulator.api.quota.add_key("TEST-KEY-D", "700000000007", per_minute=0)
    assert refusal(emulator, "channels?part=id&forHandle=x", "TEST-KEY-D") == (429, "rateLimitExceeded")


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("channels?part=id&bogus=1", (400, "invalid")),
        ("channels?forHandle=x", (400, "unknownPart")),
        ("channels?part=id", (400, "missingRequiredParameter")),
        ("channels?part=id&forHandle=x&id=UC", (400, "incompatibleParameters")),
        ("playlistItems?part=id&playlistId=LIST&maxResults=51", (400, "invalidParameter")),
        ("playlistItems?part=id&playlistId=LIST&maxResults=abc", (400, "badRequest")),
        ("playlistItems?part=id&playlistId=LIST&pageToken=nonsense", (400, "invalidPageToken")),
        ("playlistItems?part=id&playlistId=LIST&pageToken=%F0%9F%92%A5", (400, "invalidPageToken")),
        ("playlistItems?part=id&playlistId=UUMOxxxxxxxxxxxxxxxxxxxxxx", (404, "playlistNotFound")),
        ("videos?part=id&id=" + ",".join(["x" * 11] * 51), (400, "invalidFilters")),
        ("search?part=id&order=nonsense", (400, "badRequest")),
        ("nonsense?part=id", (404, "notFound")),
    ],
)
def test_what_the_discovery_document_forbids_is_refused(serve: Serve, path: str, wanted: tuple[int, str]) -> None:
    emulator = serve("many")
    assert refusal(emulator, path.replace("LIST", uploads(emulator))) == wanted


def test_names_are_resolved_as_the_real_one_does(serve: Serve) -> None:
    emulator = serve("hostile")
    channel = emulator.world.by_username("hostileold")
    assert channel
    ways = ("forHandle=@" + channel.handle.upper(), "forHandle=" + channel.handle, "forUsername=hostileold")
    for way in (*ways, f"id={channel.id}"):
        assert ask(emulator, f"channels?part=snippet&{way}")[1]["items"][0]["id"] == channel.id
    assert "items" not in ask(emulator, "channels?part=id&forHandle=@nobody")[1]


def test_a_private_video_keeps_its_place_but_not_its_title(serve: Serve) -> None:
    emulator = serve("demo")
    status, body = ask(
        emulator,
        f"playlistItems?part=snippet,status,contentDetails&maxResults=50&playlistId="
        f"{uploads(emulator, 'NorthernAges')}",
    )
    items = {i["contentDetails"]["videoId"]: i for i in body["items"]}
    private = [i for i in items.values() if i["status"]["privacyStatus"] == "private"]
    assert (status, len(items), [i["snippet"]["title"] for i in private]) == (200, 12, ["Private video"])
    assert "videoPublishedAt" not in private[0]["contentDetails"]
    found = ask(emulator, "videos?part=id&id=" + ",".join(items))[1]["items"]
    assert {v["id"] for v in found} == set(items) - {private[0]["contentDetails"]["videoId"]}


def test_fields_cut_the_answer_and_etags_save_it(serve: Serve) -> None:
    emulator = serve("many")
    path = f"playlistItems?part=snippet&playlistId={uploads(emulator)}&fields=nextPageToken,items(id,snippet/title)"
    body = ask(emulator, path)[1]
    assert set(body) == {"nextPageToken", "items"}
    assert set(body["items"][0]) == {"id", "snippet"}
    assert list(body["items"][0]["snippet"]) == ["title"]
    url = "https://www.googleapis.com/youtube/v3/channels?part=snippet&forHandle=ManyVideos"
    first = requests.get(url, headers={"X-Goog-Api-Key": API_KEY}, timeout=20)
    same = {"X-Goog-Api-Key": API_KEY, "If-None-Match": first.headers["ETag"]}
    assert requests.get(url, headers=same, timeout=20).status_code == 304


@pytest.mark.parametrize("offset", [0, 50, 127, 128, 19_950, 2**31])
def test_page_tokens_survive_the_round_trip(offset: int) -> None:
    assert paging.offset_of(paging.page_token(offset)) == offset

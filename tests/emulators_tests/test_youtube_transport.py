"""The proxy, the media server and the faults that tests order, seen by plain HTTP clients over real sockets."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.emulators import encoding, worlds
from tests.emulators.youtube import Damage, YouTubeEmulator
from tests.emulators.youtube.faults import FaultRule, Faults

Serve = Callable[[str], YouTubeEmulator]
PLAYER = "https://www.youtube.com/youtubei/v1/player"


def player(video_id: str, client: str = "VISIONOS") -> dict[str, Any]:
    body = {"videoId": video_id, "context": {"client": {"clientName": client, "clientVersion": "1.0"}}}
    answer = requests.post(PLAYER, json=body, headers={"X-YouTube-Client-Name": "101"}, timeout=20)
    found: dict[str, Any] = answer.json()
    return found


def media_url(video_id: str, itag: int = 140) -> str:
    formats = player(video_id)["streamingData"]["adaptiveFormats"]
    return str(next(f["url"] for f in formats if f["itag"] == itag))


@pytest.fixture
def film(serve: Serve) -> tuple[YouTubeEmulator, str]:
    emulator = serve("tiny")
    return emulator, emulator.world.video_titled("Tiny film 0").id


@pytest.mark.parametrize("url", ["https://example.org/", "http://example.org/", "https://notyoutube.com/watch?v=x"])
def test_a_host_that_is_not_emulated_is_a_leak(serve: Serve, url: str) -> None:
    emulator = serve("tiny")
    try:
        assert requests.get(url, timeout=20).status_code == 502
    except requests.exceptions.ProxyError as error:
        assert "502" in str(error)
    assert emulator.leaks == [url.split("/")[2]]
    assert emulator.state()["leaks"] == emulator.leaks


def test_one_connection_serves_many_requests(film: tuple[YouTubeEmulator, str]) -> None:
    emulator, video_id = film
    url = media_url(video_id)
    whole = emulator.media_bytes(video_id)
    with requests.Session() as session:
        pieces = [
            session.get(url, headers={"Range": f"bytes={at}-{at + 9999}"}, timeout=20)
            for at in range(0, len(whole), 10_000)
        ]
    assert b"".join(p.content for p in pieces) == whole
    assert {p.status_code for p in pieces} == {206}
    assert pieces[0].headers["Content-Range"] == f"bytes 0-9999/{len(whole)}"
    until_s = time.monotonic() + 20  # the emulator counts an answer when it has sent the last of it
    while emulator.bytes_served(video_id) < len(whole) and time.monotonic() < until_s:
        time.sleep(0.01)
    assert emulator.bytes_served(video_id) == len(whole)
    assert emulator.media_requests(video_id) == len(pieces)


def test_ranges_that_reach_beyond_the_file(film: tuple[YouTubeEmulator, str]) -> None:
    emulator, video_id = film
    url, whole = media_url(video_id), emulator.media_bytes(video_id)
    tail = requests.get(url, headers={"Range": f"bytes={len(whole) - 5}-{len(whole) * 2}"}, timeout=20)
    assert (tail.status_code, tail.content) == (206, whole[-5:])
    beyond = requests.get(url, headers={"Range": f"bytes={len(whole)}-"}, timeout=20)
    assert (beyond.status_code, beyond.headers["Content-Range"]) == (416, f"bytes */{len(whole)}")
    assert requests.get(url + "&range=5-9", timeout=20).content == whole[5:10]
    head = requests.head(url, timeout=20)
    assert (head.content, head.headers["Content-Length"]) == (b"", str(len(whole)))


def test_urls_that_the_media_server_refuses(film: tuple[YouTubeEmulator, str]) -> None:
    emulator, video_id = film
    url = media_url(video_id)
    assert requests.get(url.replace("expire=", "expire=1&old="), timeout=20).status_code == 403
    assert requests.get(url.replace("c=VISIONOS", "c=TVHTML5&sig=wrong&n=wrong"), timeout=20).status_code == 403
    assert requests.get(url.replace("itag=140", "itag=999"), timeout=20).status_code == 404
    assert requests.get(url.replace("id=o-", "id=x-"), timeout=20).status_code == 404
    emulator.player.po_token_enforced = True
    try:
        assert requests.get(url, timeout=20).status_code == 403
    finally:
        emulator.player.po_token_enforced = False
    assert emulator.bytes_served(video_id) == 0


def test_a_status_fault_counts_down_after_those_it_skips(film: tuple[YouTubeEmulator, str]) -> None:
    emulator, video_id = film
    url = media_url(video_id)
    rule = emulator.faults.media(video_id, "status", status=429, times=2, skip=1, headers={"Retry-After": "7"})
    answers = [requests.get(url, timeout=20) for _ in range(4)]
    assert [a.status_code for a in answers] == [200, 429, 429, 200]
    assert answers[1].headers["Retry-After"] == "7"
    assert rule.hits == 2


def test_a_fault_is_for_the_video_it_names(film: tuple[YouTubeEmulator, str]) -> None:
    emulator, video_id = film
    other = emulator.world.video_titled("Tiny film 1").id
    emulator.faults.media(video_id, "status", status=403, times=-1)
    assert requests.get(media_url(other), timeout=20).status_code == 200
    assert [requests.get(media_url(video_id), timeout=20).status_code for _ in range(3)] == [403] * 3


def test_a_reset_is_a_reset(film: tuple[YouTubeEmulator, str]) -> None:
    emulator, video_id = film
    url = media_url(video_id)
    emulator.faults.media(video_id, "reset")
    with pytest.raises(requests.exceptions.ConnectionError):
        requests.get(url, timeout=20)
    assert requests.get(url, timeout=20).status_code == 200


def test_a_cut_body_announces_more_than_it_brings(film: tuple[YouTubeEmulator, str]) -> None:
    emulator, video_id = film
    url = media_url(video_id)
    emulator.faults.media(video_id, "cut", after_bytes=1000)
    answer = requests.get(url, stream=True, timeout=20)
    with pytest.raises(requests.exceptions.RequestException):
        _ = answer.content
    assert int(answer.headers["Content-Length"]) == len(emulator.media_bytes(video_id))
    assert emulator.bytes_served(video_id) == 1000


def test_a_stall_outlives_the_clients_patience(film: tuple[YouTubeEmulator, str]) -> None:
    emulator, video_id = film
    url = media_url(video_id)
    emulator.faults.media(video_id, "stall", seconds=30)
    with pytest.raises(requests.exceptions.Timeout):
        requests.get(url, timeout=0.5)


def test_a_slow_body_is_whole_in_the_end(film: tuple[YouTubeEmulator, str]) -> None:
    emulator, video_id = film
    url, whole = media_url(video_id), emulator.media_bytes(video_id)
    emulator.faults.media(video_id, "slow", bytes_per_s=len(whole) * 4)
    assert requests.get(url, timeout=20).content == whole
    assert emulator.log[-1].fault == "slow"


def test_the_quota_fault_speaks_the_data_apis_language(film: tuple[YouTubeEmulator, str]) -> None:
    emulator, _ = film
    emulator.faults.add("/youtube/v3/", "quota")
    url = "https://youtube.googleapis.com/youtube/v3/channels?part=id&forHandle=x"
    answers = [requests.get(url, headers={"X-Goog-Api-Key": emulator.api_key}, timeout=20) for _ in range(2)]
    assert [a.status_code for a in answers] == [403, 200]
    assert answers[0].json()["error"]["errors"][0]["reason"] == "quotaExceeded"


@pytest.mark.parametrize(
    "wrong",
    [
        {"match": "x", "do": "explode"},
        {"match": "x", "do": "slow"},
        {"match": "x", "do": "status", "stauts": 403},
        {"match": "(", "do": "reset"},
    ],
)
def test_a_fault_that_says_nothing_sensible_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises((ValueError, Exception), match=r"unknown|needs|unterminated|missing"):
        Faults().add(**wrong)


def test_rules_are_taken_in_order_and_never_more_often_than_ordered() -> None:
    faults = Faults()
    faults.add("GET", "status", status=500, times=10)
    faults.add("GET", "reset", times=-1)
    taken: list[FaultRule | None] = []
    threads = [threading.Thread(target=lambda: taken.append(faults.take("GET x"))) for _ in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [sum(r is not None and r.do == do for r in taken) for do in ("status", "reset")] == [10, 20]


def test_the_same_video_has_the_same_bytes_in_every_emulator() -> None:
    with YouTubeEmulator(worlds.tiny()) as first, YouTubeEmulator(worlds.tiny()) as second:
        assert list(first.world.videos) == list(second.world.videos)
        for video_id in first.world.videos:
            assert first.media_bytes(video_id) == second.media_bytes(video_id)
            assert first.media_bytes(video_id) == first.media_bytes(video_id)


def test_threads_that_want_the_same_media_get_one_file(own: Callable[..., YouTubeEmulator]) -> None:
    emulator = own(worlds.many(40))
    ids = list(emulator.world.videos)
    found: dict[str, bytes] = {}

    def fetch(video_id: str) -> None:
        found[video_id] = requests.get(media_url(video_id), timeout=60).content

    threads = [threading.Thread(target=fetch, args=(video_id,)) for video_id in ids]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(found) == 40
    assert len(set(found.values())) == 3
    assert sum(emulator.media_requests(i) for i in ids) == 40


def test_damaged_media_is_served_with_a_length_that_fits(serve: Serve) -> None:
    emulator = serve("failures")
    whole = emulator.media_bytes(emulator.world.video_titled("Damage none").id)
    for damage in Damage:
        video = emulator.world.video_titled(f"Damage {damage}")
        answer = requests.get(media_url(video.id), timeout=20)
        assert answer.content == emulator.media_bytes(video.id)
        assert (answer.content == whole) == (damage is Damage.NONE)
    half = emulator.media_bytes(emulator.world.video_titled("Damage half").id)
    assert half == whole[: len(whole) // 2]
    assert emulator.media_bytes(emulator.world.video_titled("Damage html").id).startswith(b"<!DOCTYPE html>")
    silent = encoding.decode(emulator.media_bytes(emulator.world.video_titled("Silent").id))
    assert not silent.any()


def test_rss_names_the_newest_fifteen(serve: Serve) -> None:
    emulator = serve("many")
    channel = emulator.world.by_handle("ManyVideos")
    assert channel
    feed = "https://www.youtube.com/feeds/videos.xml?channel_id="
    text = requests.get(feed + channel.id, timeout=20).text
    places = [text.index(f"<yt:videoId>{v.id}<") for v in channel.feed("UU")[:15]]
    assert places == sorted(places)
    assert text.count("<entry>") == 15
    assert requests.get(feed + "UC" + "x" * 22, timeout=20).status_code == 404


def test_malformed_innertube_requests_are_refused(serve: Serve) -> None:
    serve("tiny")
    for body in (b"", b"[]", b"{}", b'{"context": 1}', b"\xff\xfe", b'{"context": {"client": {"clientName": "X"}}}'):
        answer = requests.post(PLAYER, data=body, headers={"X-YouTube-Client-Name": "1"}, timeout=20)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, 400)


def test_stopping_ends_open_connections_and_removes_every_file(own: Callable[..., YouTubeEmulator]) -> None:
    emulator = own(worlds.tiny())
    video_id = next(iter(emulator.world.videos))
    url = media_url(video_id)
    folder = Path(emulator.ca_file).parents[1]
    emulator.faults.media(video_id, "stall", seconds=300)
    failures: list[Exception] = []

    def wait() -> None:
        try:
            requests.get(url, timeout=120)
        except requests.exceptions.RequestException as error:
            failures.append(error)

    waiting = threading.Thread(target=wait)
    waiting.start()
    while emulator.media_requests(video_id) == 0:
        waiting.join(0.01)
    emulator.stop()
    emulator.stop()
    waiting.join(30)
    assert not waiting.is_alive()
    assert len(failures) == 1
    assert not folder.exists()


def test_a_plain_openssl_client_trusts_the_bundle_from_the_environment(serve: Serve) -> None:
    emulator = serve("tiny")
    script = "import urllib.request as u; print(u.urlopen('https://www.youtube.com/iframe_api').status)"
    done = subprocess.run(
        [sys.executable, "-c", script], env=emulator.environment(), capture_output=True, text=True, timeout=60
    )
    assert done.stdout.strip() == "200", done.stderr

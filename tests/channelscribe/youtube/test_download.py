"""Downloads by the real yt-dlp from the emulated YouTube: formats, metadata, cookies, certificates, threads."""

from __future__ import annotations

import threading
from datetime import UTC, timedelta
from pathlib import Path

import av
import certifi
import pytest

from channelscribe.core.errors import (
    EnvironmentFailure,
    Transient,
    UsageError,
)
from channelscribe.core.model import Availability, Video, VideoKind
from channelscribe.youtube.download import AudioFormat, Downloader
from channelscribe.youtube.lane import Lane
from tests.channelscribe.youtube.clocks import JumpClock
from tests.channelscribe.youtube.conftest import only_file, quick, titled
from tests.emulators.youtube import YouTubeEmulator

GOOD = "Lecture 003"


def media(youtube: YouTubeEmulator, title: str, itag: str = "140") -> bytes:
    return youtube.media_bytes(youtube.world.video_titled(title).id, itag)


def test_audio_is_downloaded_whole_and_described(
    downloader: Downloader, youtube: YouTubeEmulator, tmp_path: Path
) -> None:
    served = youtube.world.video_titled(GOOD)
    told: list[tuple[int, int | None]] = []
    got = downloader.download(titled(youtube, GOOD), tmp_path / "work", progress=lambda a, b: told.append((a, b)))
    assert got.local.read_bytes() == media(youtube, GOOD)
    assert got.local == only_file(tmp_path / "work")
    assert (got.extension, got.language, got.source_format.split()[0]) == ("m4a", "en", "140")
    assert got.video.title == GOOD and got.video.published_at == served.published
    assert (got.video.channel_id, got.video.channel_title) == (served.channel_id, "Many Videos")
    assert got.video.availability is Availability.PUBLIC and got.video.duration_s == round(served.duration_s)
    assert got.downloaded_by.startswith("yt-dlp 20")
    assert told[-1] == (len(media(youtube, GOOD)),) * 2


def test_better_knowledge_of_the_api_is_kept(downloader: Downloader, youtube: YouTubeEmulator, tmp_path: Path) -> None:
    served = youtube.world.video_titled(GOOD)
    exact = served.published.astimezone(UTC) - timedelta(seconds=7)
    known = Video(served.id, "Original title", "UC-api", "", exact, 12.5, language="de", discovered_by="api")
    video = downloader.download(known, tmp_path).video
    assert (video.title, video.channel_id, video.published_at) == ("Original title", "UC-api", exact)
    assert (video.duration_s, video.language, video.channel_title) == (12.5, "de", "Many Videos")


def test_kinds_are_told_apart(downloader: Downloader, youtube: YouTubeEmulator, tmp_path: Path) -> None:
    kinds = {t: downloader.download(titled(youtube, t), tmp_path / t).video.kind for t in ("Short 0", "Kind was_live")}
    assert kinds == {"Short 0": VideoKind.SHORT, "Kind was_live": VideoKind.LIVE}


def test_an_id_that_begins_with_a_dash(downloader: Downloader, youtube: YouTubeEmulator, tmp_path: Path) -> None:
    assert downloader.download(titled(youtube, "Dash id"), tmp_path).local.read_bytes() == media(youtube, "Dash id")


def _streams(path: Path) -> tuple[list[str], float]:
    with av.open(str(path)) as container:
        names = [s.codec_context.name for s in container.streams]
        stream = next(s for s in container.streams if s.type == "audio")
        assert isinstance(stream, av.AudioStream)
        samples = sum(frame.samples for frame in container.decode(stream))
        return names, samples / stream.rate


def test_webm_only_becomes_m4a_without_transcoding(
    downloader: Downloader, youtube: YouTubeEmulator, tmp_path: Path
) -> None:
    got = downloader.download(titled(youtube, "Only webm"), tmp_path)
    names, duration_s = _streams(got.local)
    assert got.extension == "m4a" and got.source_format.startswith("251")
    assert names in (["opus"], ["libopus"]) and duration_s == pytest.approx(6.0, abs=0.2)


def test_mp3_on_request(downloader: Downloader, youtube: YouTubeEmulator, tmp_path: Path) -> None:
    got = downloader.download(titled(youtube, "Dash id"), tmp_path, AudioFormat.MP3)
    names, duration_s = _streams(got.local)
    assert got.extension == "mp3" and names in (["mp3float"], ["mp3"])
    assert duration_s == pytest.approx(6.0, abs=0.2)
    assert not list(tmp_path.glob("*.draft"))


def test_mp4_on_request_has_picture_and_sound(youtube: YouTubeEmulator, tmp_path: Path, clock: JumpClock) -> None:
    config = quick(javascript=True)  # muxed files are only given to clients that solve the player's riddle
    got = Downloader(config, Lane(config, clock), clock).download(titled(youtube, "Dash id"), tmp_path, AudioFormat.MP4)
    names, _ = _streams(got.local)
    assert got.extension == "mp4" and set(names) == {"h264", "aac"}


def test_the_javascript_riddle_is_solved_without_a_path(
    youtube: YouTubeEmulator, tmp_path: Path, clock: JumpClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    youtube.player.po_token_enforced = False
    youtube.faults.add(r"client=VISIONOS ", "status", status=500, times=-1)
    config = quick(javascript=True)
    got = Downloader(config, Lane(config, clock), clock).download(titled(youtube, GOOD), tmp_path / "work")
    assert got.local.read_bytes() == media(youtube, GOOD)
    assert {r.client for r in youtube.log if r.media} == {"TVHTML5"}


def test_a_file_that_is_already_there_is_not_fetched_again(
    downloader: Downloader, youtube: YouTubeEmulator, tmp_path: Path
) -> None:
    video = titled(youtube, GOOD)
    first = downloader.download(video, tmp_path)
    assert downloader.download(video, tmp_path).local == first.local
    assert youtube.media_requests(video.video_id) == 1


def test_a_damaged_leftover_is_replaced(downloader: Downloader, youtube: YouTubeEmulator, tmp_path: Path) -> None:
    video = titled(youtube, GOOD)
    whole = downloader.download(video, tmp_path).local
    for damaged in (b"", b"<html>", whole.read_bytes()[:-1], whole.read_bytes() + b"x"):
        whole.write_bytes(damaged)
        assert downloader.download(video, tmp_path).local.read_bytes() == media(youtube, GOOD)


def test_the_operators_cookies_are_used_and_left_as_they_are(
    youtube: YouTubeEmulator, tmp_path: Path, clock: JumpClock
) -> None:
    jar = tmp_path / "cookies.txt"
    line = ".youtube.com\tTRUE\t/\tTRUE\t1999999999\t{}\tsecret-cookie-value\n"
    jar.write_text("# Netscape HTTP Cookie File\n" + line.format("LOGIN_INFO") + line.format("SAPISID"))
    before = jar.read_bytes()
    config = quick(cookies=str(jar), javascript=True)  # signed in, YouTube sends the player's riddle
    folder = tmp_path / "work"
    got = Downloader(config, Lane(config, clock), clock).download(titled(youtube, "Case members"), folder)
    assert jar.read_bytes() == before
    assert only_file(folder) == got.local


def test_cookies_that_are_missing_or_no_cookies_are_told(
    youtube: YouTubeEmulator, tmp_path: Path, clock: JumpClock
) -> None:
    with pytest.raises(EnvironmentFailure, match="does not exist"):
        quick(cookies=str(tmp_path / "none.txt"))
    rubbish = tmp_path / "rubbish.txt"
    rubbish.write_text("this is no cookie jar\n")
    config = quick(cookies=str(rubbish))
    with pytest.raises(EnvironmentFailure) as refused:
        Downloader(config, Lane(config, clock), clock).download(titled(youtube, GOOD), tmp_path / "work")
    assert refused.value.code == "cookies"


def test_an_unknown_authority_is_not_trusted(
    downloader: Downloader, youtube: YouTubeEmulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "HTTPLIB2_CA_CERTS"):
        monkeypatch.setenv(name, certifi.where())
    with pytest.raises(EnvironmentFailure) as untrusted:
        downloader.download(titled(youtube, GOOD), tmp_path)
    assert untrusted.value.code == "certificate" and len(youtube.log) == 0


def test_one_certificate_variable_is_enough(
    downloader: Downloader, youtube: YouTubeEmulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("SSL_CERT_FILE", "CURL_CA_BUNDLE", "HTTPLIB2_CA_CERTS"):
        monkeypatch.delenv(name)
    assert downloader.download(titled(youtube, GOOD), tmp_path).local.exists()


def test_a_wrong_certificate_path_is_one_sentence(
    downloader: Downloader, youtube: YouTubeEmulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none.pem"))
    with pytest.raises(EnvironmentFailure, match="does not exist"):
        downloader.download(titled(youtube, GOOD), tmp_path)


def test_threads_share_one_downloader(downloader: Downloader, youtube: YouTubeEmulator, tmp_path: Path) -> None:
    names = [f"Lecture {i:03d}" for i in range(8)]
    whole: dict[str, bool] = {}

    def work(name: str) -> None:
        got = downloader.download(titled(youtube, name), tmp_path / name)
        whole[name] = got.local.read_bytes() == media(youtube, name)

    threads = [threading.Thread(target=work, args=(name,), daemon=True) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert whole == dict.fromkeys(names, True)


def test_two_threads_never_write_into_one_folder(
    downloader: Downloader, youtube: YouTubeEmulator, tmp_path: Path
) -> None:
    video = titled(youtube, GOOD)
    youtube.faults.media(video.video_id, "slow", bytes_per_s=60_000)
    results: list[object] = []

    def work() -> None:
        try:
            results.append(downloader.download(video, tmp_path).local.read_bytes() == media(youtube, GOOD))
        except Transient as error:
            results.append(error.code)

    threads = [threading.Thread(target=work, daemon=True) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(map(str, results)) == ["True", "busy"]


@pytest.mark.parametrize("bad", ["", "short", "../../etc/x", "aaaaaaaaaa\n", "aaaaaaaaaaaa"])
def test_only_video_ids_are_downloaded(
    downloader: Downloader, youtube: YouTubeEmulator, tmp_path: Path, bad: str
) -> None:
    with pytest.raises(UsageError):
        downloader.download(Video(bad, "x"), tmp_path)
    assert len(youtube.log) == 0


def test_a_folder_with_percent_signs_is_taken_literally(
    downloader: Downloader, youtube: YouTubeEmulator, tmp_path: Path
) -> None:
    folder = tmp_path / "100% %(title)s ~ $HOME"
    got = downloader.download(titled(youtube, GOOD), folder)
    assert got.local.parent == folder and only_file(folder) == got.local

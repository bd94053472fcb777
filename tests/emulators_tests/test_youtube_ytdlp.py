"""The real, unmodified yt-dlp against the emulator: listing, downloading, refusals."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.emulators.youtube import Availability, Kind, YouTubeEmulator
from tests.emulators_tests.conftest import watch

Serve = Callable[[str], YouTubeEmulator]
Ydl = Callable[..., Any]
DENO = shutil.which("deno", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
WORDS = {
    Availability.PRIVATE: "Private video",
    Availability.DELETED: "removed by the uploader",
    Availability.TERMINATED: "terminated",
    Availability.MEMBERS: "members-only content",
    Availability.AGE: "confirm your age",
    Availability.GEO: "not made this video available in your country",
    Availability.COPYRIGHT: "copyright grounds",
    Availability.BOT: "not a bot",
    Availability.RATELIMITED: "try again later",
    Availability.CAPTCHA: "",
    Availability.UNAVAILABLE: "Video unavailable",
    Availability.PROCESSING: "processing this video",
}


def entries(ydl: Ydl, url: str, **options: Any) -> list[dict[str, Any]]:
    with ydl(extract_flat=True, **options) as client:
        return list(client.extract_info(url, download=False)["entries"])


@pytest.mark.parametrize("name", ["@ManyVideos", "@manyvideos", "user/manyvideosold", "c/ManyVideosCustom", "channel/"])
def test_a_channel_of_several_pages_is_listed_by_each_of_its_names(serve: Serve, ydl: Ydl, name: str) -> None:
    emulator = serve("many")
    channel = emulator.world.by_handle("ManyVideos")
    assert channel
    name = name + channel.id if name == "channel/" else name
    found = entries(ydl, f"https://www.youtube.com/{name}/videos")
    assert [e["id"] for e in found] == [v.id for v in channel.feed("UULF")]
    assert len(found) == 137
    assert emulator.requests("browse") == 4


def test_playlists_of_several_pages_and_their_odd_ones(serve: Serve, ydl: Ydl) -> None:
    emulator = serve("many")
    for playlist in emulator.world.playlists.values():
        found = entries(ydl, f"https://www.youtube.com/playlist?list={playlist.id}") if playlist.video_ids else []
        assert [e["id"] for e in found] == playlist.video_ids
    assert entries(ydl, "https://www.youtube.com/playlist?list=UU" + next(iter(emulator.world.channels))[2:])


def test_the_tabs_of_the_demo_channel(serve: Serve, ydl: Ydl) -> None:
    serve("demo")
    videos = entries(ydl, "https://www.youtube.com/@NorthernAges/videos")
    assert "[Private video]" in [e["title"] for e in videos]
    assert len(videos) == 10
    shorts = entries(ydl, "https://www.youtube.com/@NorthernAges/shorts")
    assert len(shorts) == 1
    live = entries(ydl, "https://www.youtube.com/@NorthernAges/streams")
    assert [e["live_status"] for e in live] == ["is_live"]
    nested = entries(ydl, "https://www.youtube.com/@NorthernAges")
    assert [e["_type"] for e in nested] == ["playlist"] * 3


def test_unknown_names_are_not_found(serve: Serve, ydl: Ydl) -> None:
    from yt_dlp.utils import DownloadError

    serve("many")
    for place in ("@NobodyHere/videos", "channel/UC" + "x" * 22 + "/videos", "playlist?list=PL" + "x" * 32):
        with pytest.raises(DownloadError, match=r"404|does not exist"):
            entries(ydl, "https://www.youtube.com/" + place)


def test_hostile_titles_arrive_as_they_were_given(serve: Serve, ydl: Ydl) -> None:
    emulator = serve("hostile")
    channel = emulator.world.by_username("hostileold")
    assert channel
    found = entries(ydl, f"https://www.youtube.com/@{channel.handle}/videos")
    assert {e["id"]: e["title"] for e in found} == {v.id: v.list_title for v in channel.videos}
    for video in channel.videos[:5]:
        with ydl() as client:
            info = client.extract_info(watch(video.id), download=False)
        assert (info["id"], info["title"]) == (video.id, video.title)


def test_a_download_in_this_process_brings_exactly_the_served_bytes(serve: Serve, ydl: Ydl, tmp_path: Path) -> None:
    emulator = serve("tiny")
    video = emulator.world.video_titled("Tiny film 0")
    with ydl() as client:
        info = client.extract_info(watch(video.id))
    assert (tmp_path / f"{video.id}.m4a").read_bytes() == emulator.media_bytes(video.id)
    assert info["timestamp"] == int(video.published.timestamp())
    assert (info["live_status"], info["media_type"], info["duration"]) == ("not_live", "video", 8)
    assert emulator.media_requests(video.id) == 1
    assert emulator.bytes_served(video.id) == len(emulator.media_bytes(video.id))
    assert all(r.tls for r in emulator.log)


def test_a_subprocess_needs_only_environment_variables(serve: Serve, tmp_path: Path) -> None:
    emulator = serve("tiny")
    video = emulator.world.video_titled("Tiny film 1")
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), **emulator.environment()}
    command = [sys.executable, "-m", "yt_dlp", "-q", "--no-cache-dir", "--fixup", "never", "-f", "140"]
    command += ["-o", "%(id)s.%(ext)s", "--", f"https://youtu.be/{video.id}"]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / f"{video.id}.m4a").read_bytes() == emulator.media_bytes(video.id)


def test_without_the_authority_nothing_is_trusted(serve: Serve, ydl: Ydl) -> None:
    from yt_dlp.utils import DownloadError

    emulator = serve("tiny")
    video = emulator.world.video_titled("Tiny film 0")
    with pytest.raises(DownloadError, match="CERTIFICATE_VERIFY_FAILED"), ydl(compat_opts=set()) as client:
        client.extract_info(watch(video.id), download=False)


@pytest.mark.skipif(not DENO, reason="no deno binary")
def test_the_real_solver_solves_both_puzzles(serve: Serve, ydl: Ydl, tmp_path: Path) -> None:
    emulator = serve("tiny")
    video = emulator.world.video_titled("Tiny film 2")
    television = {"youtube": {"player_client": ["tv_samsung"]}}
    with ydl(js_runtimes={"deno": {}}, extractor_args=television) as client:
        client.extract_info(watch(video.id))
    last = emulator.log.matching("/videoplayback")[-1]
    assert "sig=" in last.query
    assert (last.client, last.status) == ("TVHTML5", 206)
    assert (tmp_path / f"{video.id}.m4a").read_bytes() == emulator.media_bytes(video.id)


@pytest.mark.parametrize("availability", WORDS, ids=str)
def test_refusals_carry_youtubes_words(serve: Serve, ydl: Ydl, availability: Availability) -> None:
    from yt_dlp.utils import DownloadError

    emulator = serve("failures")
    video = emulator.world.video_titled(f"Case {availability}")
    with pytest.raises(DownloadError) as caught, ydl() as client:
        client.extract_info(watch(video.id), download=False)
    assert WORDS[availability] in str(caught.value)
    assert emulator.media_requests(video.id) == 0


@pytest.mark.parametrize("kind", [Kind.UPCOMING, Kind.PREMIERE], ids=str)
def test_what_has_not_begun_says_when(serve: Serve, ydl: Ydl, kind: Kind) -> None:
    from yt_dlp.utils import DownloadError

    video = serve("failures").world.video_titled(f"Kind {kind}")
    words = "Premieres in" if kind is Kind.PREMIERE else "This live event will begin"
    with pytest.raises(DownloadError, match=words), ydl() as client:
        client.extract_info(watch(video.id), download=False)


@pytest.mark.parametrize(
    ("kind", "live_status"), [(Kind.LIVE, "is_live"), (Kind.WAS_LIVE, "was_live"), (Kind.SHORT, "not_live")], ids=str
)
def test_live_statuses(serve: Serve, ydl: Ydl, kind: Kind, live_status: str) -> None:
    video = serve("failures").world.video_titled(f"Kind {kind}")
    with ydl(ignore_no_formats_error=True) as client:
        info = client.extract_info(watch(video.id), download=False)
    assert info["live_status"] == live_status
    assert (info.get("media_type") == "short") == (kind is Kind.SHORT)


def test_formats_follow_the_video(serve: Serve, ydl: Ydl) -> None:
    emulator = serve("failures")
    for title, wanted in (("Opus only", {"251", "249"}), ("Every format", {"140", "139", "251", "249", "134"})):
        with ydl() as client:
            info = client.extract_info(watch(emulator.world.video_titled(title).id), download=False)
        found = {f["format_id"]: f["filesize"] for f in info["formats"]}
        video = emulator.world.video_titled(title)
        assert {i: len(emulator.media_bytes(video.id, i)) for i in wanted} == found


def test_dubs_are_tracks_of_their_own_and_the_original_is_marked(serve: Serve, ydl: Ydl, tmp_path: Path) -> None:
    emulator = serve("failures")
    video = emulator.world.video_titled("Dubbed")
    with ydl(format="ba[ext=m4a]", format_sort=["lang", "abr"]) as client:
        info = client.extract_info(watch(video.id))
    assert {f["language"] for f in info["formats"] if f["vcodec"] == "none"} == {"en", "de", "es"}
    assert info["language"] == "en"
    assert (tmp_path / f"{video.id}.m4a").read_bytes() == emulator.media_bytes(video.id)
    with ydl(format="ba[ext=m4a][language=de]", outtmpl=str(tmp_path / "dub.m4a")) as client:
        client.extract_info(watch(video.id))
    assert (tmp_path / "dub.m4a").read_bytes() == emulator.media.bytes_of(video.media.track("de"), "140")
    assert (tmp_path / "dub.m4a").read_bytes() != emulator.media_bytes(video.id)


def test_captions_are_the_sentences_of_the_recording(serve: Serve, ydl: Ydl, tmp_path: Path) -> None:
    emulator = serve("tiny")
    video = emulator.world.video_titled("Tiny film 0")
    wanted = {"writeautomaticsub": True, "subtitleslangs": ["en-orig"], "subtitlesformat": "vtt"}
    with ydl(skip_download=True, **wanted) as client:
        client.extract_info(watch(video.id))
    text = next(tmp_path.glob("*.vtt")).read_text()
    assert all(s.text in text for s in emulator.recording(video.id).sentences)
    assert emulator.media_requests(video.id) == 0


def test_a_private_video_can_be_made_public_while_it_is_served(own: Callable[..., YouTubeEmulator], ydl: Ydl) -> None:
    from yt_dlp.utils import DownloadError

    from tests.emulators import worlds

    emulator = own(worlds.demo())
    video = next(v for v in emulator.world.videos.values() if v.availability is Availability.PRIVATE)
    with pytest.raises(DownloadError, match="Private video"), ydl() as client:
        client.extract_info(watch(video.id), download=False)
    emulator.world.change(video.id, availability="ok")
    with ydl() as client:
        assert client.extract_info(watch(video.id), download=False)["title"] == video.title


def test_a_cut_download_goes_on_where_it_stopped(serve: Serve, ydl: Ydl, tmp_path: Path) -> None:
    from yt_dlp.utils import DownloadError

    emulator = serve("tiny")
    video = emulator.world.video_titled("Tiny film 0")
    emulator.faults.media(video.id, "cut", after_bytes=40_000)
    with pytest.raises(DownloadError), ydl() as client:
        client.extract_info(watch(video.id))
    part = next(tmp_path.glob("*.part")).stat().st_size
    with ydl() as client:
        client.extract_info(watch(video.id))
    assert 0 < part <= 40_000
    assert emulator.log[-1].range.startswith(f"bytes={part}-")
    assert (tmp_path / f"{video.id}.m4a").read_bytes() == emulator.media_bytes(video.id)


@pytest.mark.parametrize(("match", "status"), [("/videoplayback", 403), ("/player", 429), ("/videoplayback", 503)])
def test_faults_reach_the_real_client(serve: Serve, ydl: Ydl, match: str, status: int) -> None:
    from yt_dlp.utils import DownloadError

    emulator = serve("tiny")
    video = emulator.world.video_titled("Tiny film 1")
    rule = emulator.faults.add(match, "status", status=status, times=-1)
    with pytest.raises(DownloadError) as caught, ydl(retries=0, extractor_retries=0) as client:
        client.extract_info(watch(video.id))
    told = [str(caught.value), *client.params["logger"].lines]
    assert any(str(status) in line for line in told)
    assert rule.hits >= 1
    emulator.faults.clear()
    with ydl() as client:
        assert client.extract_info(watch(video.id))["id"] == video.id


def test_the_bot_wall_stands_before_every_video(own: Callable[..., YouTubeEmulator], ydl: Ydl) -> None:
    from yt_dlp.utils import DownloadError

    from tests.emulators import worlds

    emulator = own(worlds.tiny(2))
    emulator.player.bot_wall = True
    for video_id in emulator.world.videos:
        with pytest.raises(DownloadError, match="not a bot"), ydl() as client:
            client.extract_info(watch(video_id), download=False)


def test_channels_and_playlists_are_resolved_without_a_page(serve: Serve, ydl: Ydl) -> None:
    emulator = serve("many")
    playlist = next(iter(emulator.world.playlists.values()))
    no_page = {"youtubetab": {"skip": ["webpage"]}}
    for place, count in (("@ManyVideos/videos", 137), (f"playlist?list={playlist.id}", 137)):
        found = entries(ydl, "https://www.youtube.com/" + place, extractor_args=no_page)
        assert len(found) == count
    assert emulator.requests("resolve_url") >= 1
    assert emulator.requests("^GET ") == 0

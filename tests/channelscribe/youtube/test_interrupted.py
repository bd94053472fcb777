"""Downloads that are killed, and disks that are full: in processes of their own, as in life."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from channelscribe.youtube.download import Downloader
from tests.channelscribe.youtube.conftest import titled
from tests.emulators.youtube import YouTubeEmulator

GOOD = "Lecture 003"
CHILD = """
import json, resource, sys
from pathlib import Path
from channelscribe.core.errors import ChannelscribeError
from channelscribe.core.model import Video
from channelscribe.youtube.download import Downloader
from channelscribe.youtube.lane import Lane
from tests.channelscribe.youtube.conftest import quick
video_id, folder, limit = sys.argv[1:]
if int(limit):
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
try:
    got = Downloader(quick(), Lane(quick())).download(Video(video_id, "x"), Path(folder))
    print(json.dumps({"local": str(got.local)}))
except ChannelscribeError as error:
    print(json.dumps({"class": error.failure_class, "code": error.code, "reason": error.reason}))
"""


def start(video_id: str, folder: Path, limit_bytes: int = 0) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", CHILD, video_id, str(folder), str(limit_bytes)]
    return subprocess.Popen(command, env=dict(os.environ), stdout=subprocess.PIPE, text=True)


def wait_for_part(folder: Path, least_bytes: int, child: subprocess.Popen[str]) -> Path:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and child.poll() is None:
        for part in folder.glob("*.part"):
            if part.stat().st_size >= least_bytes:
                return part
        time.sleep(0.02)
    raise AssertionError("the child did not get that far")


def test_a_killed_download_goes_on_where_it_was(
    downloader: Downloader, youtube: YouTubeEmulator, tmp_path: Path
) -> None:
    video = titled(youtube, GOOD)
    whole = youtube.media_bytes(video.video_id)
    youtube.faults.media(video.video_id, "slow", bytes_per_s=15_000)
    child = start(video.video_id, tmp_path)
    try:
        part = wait_for_part(tmp_path, 10_000, child)
    finally:
        child.send_signal(signal.SIGKILL)
        child.communicate(timeout=30)
    kept = part.stat().st_size
    assert 0 < kept < len(whole)
    got = downloader.download(video, tmp_path)
    assert got.local.read_bytes() == whole
    assert [r.range for r in youtube.log if r.media][-1].startswith(f"bytes={kept}-")
    assert list(tmp_path.iterdir()) == [got.local]


def test_a_full_disk_is_one_sentence_and_loses_nothing(
    downloader: Downloader, youtube: YouTubeEmulator, tmp_path: Path
) -> None:
    video = titled(youtube, GOOD)
    whole = youtube.media_bytes(video.video_id)
    output, _ = start(video.video_id, tmp_path, limit_bytes=len(whole) // 2).communicate(timeout=60)
    told = json.loads(output.splitlines()[-1])
    assert (told["class"], told["code"]) == ("environment", "disk")
    assert downloader.download(video, tmp_path).local.read_bytes() == whole

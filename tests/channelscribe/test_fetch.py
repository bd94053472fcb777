"""What a failed fetch leaves behind: nothing that a later try would take for a finished download."""

from __future__ import annotations

from pathlib import Path

import pytest

from channelscribe.core.errors import Permanent, Poisoned
from channelscribe.core.model import Video
from channelscribe.fetch import fetch
from channelscribe.store.archive import Archive
from channelscribe.store.root import DataRoot
from channelscribe.youtube.download import Downloaded
from tests.channelscribe.records import VIDEO_ID, a_video
from tests.emulators.encoding import PICTURE, encode, encode_m4a
from tests.emulators.speech import Score, compose

WHOLE = compose(Score(seed=4, duration_s=4.0))


class Served:
    """Does with the folder what yt-dlp does: a file that stands there under its final name is taken as it is."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.requests = 0

    def download(self, video: Video, folder: Path, *_: object) -> Downloaded:
        path = folder / f"{video.video_id}.140.m4a"
        if not path.exists():
            self.requests += 1
            path.write_bytes(self.content)
        return Downloaded(video, path, "m4a", "140", "en", "yt-dlp")


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (encode_m4a(WHOLE.pcm)[:40], Poisoned),
        (b"\0\0\0\x1cftypM4A " + bytes(range(256)) * 40, Poisoned),
        (encode(WHOLE.pcm, PICTURE), Permanent),
    ],
    ids=["only its beginning", "rubbish", "no sound"],
)
def test_a_bad_file_is_asked_for_afresh(tmp_path: Path, content: bytes, error: type[Exception]) -> None:
    served = Served(content)
    with Archive(DataRoot.open(tmp_path)) as archive:
        with pytest.raises(error):
            fetch(served, archive, a_video())  # type: ignore[arg-type]
        assert not list(tmp_path.rglob(f"*{VIDEO_ID}*.m4a"))
        served.content = encode_m4a(WHOLE.pcm)
        media, fresh = fetch(served, archive, a_video(), again=True)  # type: ignore[arg-type]
    assert (fresh, served.requests) == (True, 2)
    assert (tmp_path / media.path).read_bytes() == served.content

"""The bytes behind the media server: recordings encoded when first asked for, kept on disk, handed out as files.

One store per emulator; its folder goes with it. Memory holds only the few recordings used last.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict, defaultdict
from dataclasses import dataclass
from pathlib import Path

from tests.emulators import encoding
from tests.emulators.encoding import Encoding
from tests.emulators.speech import Recording, Score, compose
from tests.emulators.youtube.world import Damage, MediaSpec

_KEPT_RECORDINGS = 2
_HTML = (
    b"<!DOCTYPE html><html><head><title>Sorry</title></head><body>" + b"<p>Not media.</p>" * 4000 + b"</body></html>"
)


@dataclass(frozen=True)
class Format:
    """One entry of YouTube's format list."""

    itag: str
    encoding: Encoding
    extension: str
    mime: str
    codecs: str
    bitrate: int
    quality: str

    @property
    def muxed(self) -> bool:
        return self.encoding.picture and self.encoding.sound


FORMATS = {
    f.itag: f
    for f in (
        Format("140", encoding.M4A, "m4a", "audio/mp4", "mp4a.40.2", 130_000, "AUDIO_QUALITY_MEDIUM"),
        Format("139", encoding.M4A_LOW, "m4a", "audio/mp4", "mp4a.40.5", 49_000, "AUDIO_QUALITY_LOW"),
        Format("251", encoding.WEBM, "webm", "audio/webm", "opus", 135_000, "AUDIO_QUALITY_MEDIUM"),
        Format("249", encoding.WEBM_LOW, "webm", "audio/webm", "opus", 52_000, "AUDIO_QUALITY_LOW"),
        Format("134", encoding.PICTURE, "mp4", "video/mp4", "avc1.4D401E", 300_000, ""),
        Format("18", encoding.MP4, "mp4", "video/mp4", "avc1.42001E, mp4a.40.2", 500_000, "AUDIO_QUALITY_LOW"),
    )
}


class MediaStore:
    """Files by spec and format; threads that want the same one wait for a single maker."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._makers: defaultdict[Path, threading.Lock] = defaultdict(threading.Lock)
        self._recordings: OrderedDict[Score, Recording] = OrderedDict()

    def recording(self, spec: MediaSpec) -> Recording:
        """What is said in it; the last few are kept in memory."""
        with self._lock:
            if spec.score in self._recordings:
                self._recordings.move_to_end(spec.score)
                return self._recordings[spec.score]
        made = compose(spec.score)
        with self._lock:
            self._recordings[spec.score] = made
            while len(self._recordings) > _KEPT_RECORDINGS:
                self._recordings.popitem(last=False)
        return made

    def file(self, spec: MediaSpec, itag: str) -> Path:
        name = hashlib.sha256(repr((spec.score, spec.damage, itag)).encode()).hexdigest()[:16]
        path = self._folder / f"{name}.{FORMATS[itag].extension}"
        with self._lock:
            maker = self._makers[path]
        with maker:
            if not path.exists():
                self._make(spec, itag, path)
        return path

    def size(self, spec: MediaSpec, itag: str) -> int:
        return self.file(spec, itag).stat().st_size

    def bytes_of(self, spec: MediaSpec, itag: str) -> bytes:
        return self.file(spec, itag).read_bytes()

    def _make(self, spec: MediaSpec, itag: str, path: Path) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        if spec.damage in (Damage.NONE, Damage.HALF):
            encoding.encode_file(self.recording(spec).pcm, part, FORMATS[itag].encoding)
        if spec.damage is Damage.HALF:
            whole = part.read_bytes()
            part.write_bytes(whole[: len(whole) // 2])
        elif spec.damage is not Damage.NONE:
            part.write_bytes(_rubbish(spec.damage))
        part.replace(path)


def _rubbish(damage: Damage) -> bytes:
    if damage is Damage.HTML:
        return _HTML
    if damage is Damage.NOISE:
        return b"".join(hashlib.sha256(bytes([i, j])).digest() for i in range(256) for j in range(8))
    return b""

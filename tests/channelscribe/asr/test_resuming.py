"""An interrupted file goes on where it was: only what is missing is decoded, the transcript is the undisturbed one."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from channelscribe.asr.engine import EngineStats
from channelscribe.asr.registry import expected_fingerprint
from channelscribe.asr.whisper import WhisperEngine
from channelscribe.core.errors import EnvironmentFailure, Transient
from channelscribe.core.model import Transcript
from channelscribe.core.profile import TranscriptionProfile
from channelscribe.core.window import KeptWindows, Piece, Window
from channelscribe.store.archive import Archive
from channelscribe.store.root import DataRoot
from channelscribe.store.windows import FOLDER, WindowFiles
from channelscribe.transcribe import transcribe
from tests.channelscribe.asr.models import Tiny
from tests.channelscribe.asr.parts import MemoryListener
from tests.channelscribe.records import a_media, a_video

SHA, COUNT = "ab" * 32, 16
# An interruption comes when so many windows have been read and so many of those are finished.
READ, FINISHED = 9, 6
REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Tiny(seconds=2, languages=("en", "de", "fr"), seed=4, positions=40).save(tmp_path_factory.mktemp("tiny"))


def small(folder: Path | str) -> TranscriptionProfile:
    return TranscriptionProfile(model=str(folder), window_s=2.0, temperatures=(0.0, 0.8), batch_size=4, pool_mib=16)


@pytest.fixture(scope="module")
def profile(folder: Path) -> TranscriptionProfile:
    return small(folder)


@pytest.fixture
def root(tmp_path: Path) -> DataRoot:
    return DataRoot.open(tmp_path / "data")


def hear(
    profile: TranscriptionProfile,
    keeper: WindowFiles | None,
    before: Callable[[WhisperEngine, int], None] = lambda engine, index: None,
    cancelled: Callable[[], bool] | None = None,
) -> tuple[Transcript, EngineStats]:
    """`before` is called before each window is read from the file."""
    listener = MemoryListener(lambda stem: COUNT, before=lambda index: before(engine, index))
    with WhisperEngine(profile, listener, keeper=keeper) as engine:
        made = engine.transcribe(Path("v7.m4a"), video_id="v7", media_sha256=SHA, cancelled=cancelled)
        return made, engine.stats()


def some_finished(engine: WhisperEngine) -> None:
    until_s = time.monotonic() + 120
    while engine.stats().windows < FINISHED:
        assert time.monotonic() < until_s
        time.sleep(0.005)


def content(transcript: Transcript) -> Transcript:
    return replace(transcript, created_at=None, wall_s=0.0)


@pytest.fixture(scope="module")
def wanted(profile: TranscriptionProfile) -> Transcript:
    made, stats = hear(profile, None)
    assert (stats.windows, stats.resumed) == (COUNT, 0)
    return content(made)


def interrupt(profile: TranscriptionProfile, root: DataRoot) -> KeptWindows:
    """Cancels in the middle; what was kept then."""
    stop = threading.Event()

    def before(engine: WhisperEngine, index: int) -> None:
        if index == READ:
            some_finished(engine)
            stop.set()

    with pytest.raises(Transient) as caught:
        hear(profile, WindowFiles(root), before, stop.is_set)
    assert caught.value.code == "cancelled"
    return WindowFiles(root).kept(expected_fingerprint(profile, SHA))


def test_a_cancelled_file_goes_on_where_it_was(
    profile: TranscriptionProfile, root: DataRoot, wanted: Transcript
) -> None:
    kept = interrupt(profile, root)
    assert FINISHED <= len(kept.texts) < COUNT
    assert kept.language == wanted.language
    made, stats = hear(profile, WindowFiles(root))
    assert content(made) == wanted
    assert (stats.resumed, stats.windows, stats.encoded) == (
        len(kept.texts),
        COUNT - len(kept.texts),
        COUNT - len(kept.texts),
    )


def test_all_windows_finished_need_no_model(profile: TranscriptionProfile, root: DataRoot, wanted: Transcript) -> None:
    hear(profile, WindowFiles(root))
    made, stats = hear(profile, WindowFiles(root))
    assert (stats.resumed, stats.windows, stats.loaded_s) == (COUNT, 0, 0)
    assert (made.segments, made.language, made.fingerprint) == (wanted.segments, wanted.language, wanted.fingerprint)


def test_windows_cut_otherwise_are_not_used(
    profile: TranscriptionProfile, root: DataRoot, wanted: Transcript, caplog: pytest.LogCaptureFixture
) -> None:
    kept = interrupt(profile, root)
    name, files = expected_fingerprint(profile, SHA), WindowFiles(root)
    files.forget(name)
    for text in kept.texts:
        pieces = tuple(Piece(piece.start + 160, piece.end) for piece in text.window.pieces)
        files.keep(
            name, "fr" if kept.language != "fr" else "en", replace(text, window=Window(text.window.index, pieces))
        )
    made, stats = hear(profile, files)
    assert content(made) == wanted
    assert (stats.resumed, stats.windows) == (0, COUNT)
    assert "cut otherwise" in caplog.text


def test_other_parameters_share_nothing(profile: TranscriptionProfile, root: DataRoot) -> None:
    interrupt(profile, root)
    other = profile.model_copy(update={"temperatures": (0.0,)})
    assert hear(other, WindowFiles(root))[1].resumed == 0


def test_a_rubbish_checkpoint_costs_only_its_windows(
    profile: TranscriptionProfile, root: DataRoot, wanted: Transcript
) -> None:
    interrupt(profile, root)
    path = root.local(f"{FOLDER}/{expected_fingerprint(profile, SHA)}")
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2] + b"\0\xff rubbish" + data[len(data) // 2 :])
    made, stats = hear(profile, WindowFiles(root))
    assert content(made) == wanted
    assert stats.resumed + stats.windows == COUNT


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a disk that is always full")
def test_a_full_disk_does_not_harm_the_run(profile: TranscriptionProfile, root: DataRoot, wanted: Transcript) -> None:
    root.local(f"{FOLDER}/{expected_fingerprint(profile, SHA)}").symlink_to("/dev/full")
    assert content(hear(profile, WindowFiles(root))[0]) == wanted


CHILD = """
import sys
from channelscribe.store.root import DataRoot
from channelscribe.store.windows import WindowFiles
from tests.channelscribe.asr.test_resuming import READ, hear, small, some_finished
import torch
torch.set_num_threads(1)

def before(engine, index):
    if index == READ:
        some_finished(engine)
    if index == READ + 1:
        print("in the middle", flush=True)
        sys.stdin.read()

made, stats = hear(small(sys.argv[1]), WindowFiles(DataRoot.open(sys.argv[2])), before)
print("done", stats.resumed, stats.windows, flush=True)
"""


def child(folder: Path, root: DataRoot) -> subprocess.Popen[str]:
    """Reads on from the middle once its stdin is closed."""
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, str(folder), root.url],
        cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


def in_the_middle(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    assert process.stdout.readline().strip() == "in the middle"


def test_a_killed_process_loses_at_most_what_was_at_work(
    folder: Path, profile: TranscriptionProfile, root: DataRoot, wanted: Transcript
) -> None:
    process = child(folder, root)
    in_the_middle(process)
    process.kill()
    process.communicate()
    kept = WindowFiles(root).kept(expected_fingerprint(profile, SHA))
    assert FINISHED <= len(kept.texts) < COUNT
    made, stats = hear(profile, WindowFiles(root))
    assert content(made) == wanted
    assert (stats.resumed, stats.windows) == (len(kept.texts), COUNT - len(kept.texts))


def test_two_processes_at_one_file_and_one_killed(
    folder: Path, profile: TranscriptionProfile, root: DataRoot, wanted: Transcript
) -> None:
    both = [child(folder, root), child(folder, root)]
    for process in both:
        in_the_middle(process)
    both[0].kill()
    both[0].communicate()
    said, _ = both[1].communicate()
    assert said.splitlines()[-1].startswith("done")
    made, stats = hear(profile, WindowFiles(root))
    assert made.segments == wanted.segments
    assert stats.resumed == COUNT


def test_the_verb_forgets_once_the_transcript_stands(
    profile: TranscriptionProfile, root: DataRoot, wanted: Transcript, monkeypatch: pytest.MonkeyPatch
) -> None:
    video, media = a_video(duration_s=None), a_media(sha256=SHA)
    root.write_bytes(media.path, b"sound")
    name = expected_fingerprint(profile, SHA)

    def attempt(archive: Archive) -> Any:
        listener = MemoryListener(lambda stem: COUNT)
        listener_at = replace_path(listener)
        with WhisperEngine(profile, listener_at, keeper=archive.windows) as engine:
            return transcribe(engine, archive, video, media, name, run_id="r"), engine.stats()

    with Archive(root) as archive:
        with monkeypatch.context() as broken:
            broken.setattr(archive, "put_transcript", _disk_full)
            with pytest.raises(EnvironmentFailure):
                attempt(archive)
        assert len(archive.windows.kept(name).texts) == COUNT, "finished, but not in the archive yet"
        (made, fresh), stats = attempt(archive)
        assert fresh
        assert made.segments == wanted.segments
        assert stats.resumed == COUNT
        assert archive.windows.kept(name) == KeptWindows()
        assert not root.local(f"{FOLDER}/{name}").exists()


def replace_path(listener: MemoryListener) -> Any:
    """Whatever the media file is called, the sounds of `wanted`."""
    return lambda path, **more: listener(Path("v7.m4a"), **more)


def _disk_full(*_: Any) -> None:
    raise EnvironmentFailure("The disk is full.", code="disk_full")

"""The windows of unfinished files: what was kept comes back equal, and nothing on the disk can harm a run."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from channelscribe.core.model import Segment, Word
from channelscribe.core.window import KeptWindows, Piece, Window, WindowText
from channelscribe.store.archive import Archive
from channelscribe.store.root import DataRoot
from channelscribe.store.windows import FOLDER, WindowFiles

NAME = "ab" * 32


def text(index: int, said: str = "Guten Tag", score: float = -0.25, words: int = 0) -> WindowText:
    heard = tuple(Word(f"w{i}", i * 0.1, i * 0.1 + 0.07, 0.3) for i in range(words))
    segment = Segment(-1, index * 30.0 + 0.02, index * 30.0 + 7.1, said, score, 0.01, 1.1, None, heard)
    pieces = (Piece(index * 480_000, index * 480_000 + 4000), Piece(index * 480_000 + 9000, index * 480_000 + 99_000))
    return WindowText(Window(index, pieces), (segment,) if said else (), silent=not said)


@pytest.fixture
def root(tmp_path: Path) -> DataRoot:
    return DataRoot.open(tmp_path)


@pytest.fixture
def windows(root: DataRoot) -> WindowFiles:
    return WindowFiles(root)


def file(root: DataRoot) -> Path:
    return root.local(f"{FOLDER}/{NAME}")


@settings(max_examples=60, deadline=None)
@given(
    said=st.lists(st.text(max_size=30).filter(lambda t: "\ud800" not in t), min_size=1, max_size=6),
    score=st.floats(allow_nan=False),
    words=st.integers(0, 4),
)
def test_what_is_kept_comes_back_equal(
    tmp_path_factory: pytest.TempPathFactory, said: list[str], score: float, words: int
) -> None:
    root = DataRoot.open(tmp_path_factory.mktemp("root"))
    wanted = tuple(text(index, each, score, words) for index, each in enumerate(said))
    for each in wanted:
        WindowFiles(root).keep(NAME, "de", each)
    assert WindowFiles(root).kept(NAME) == KeptWindows("de", wanted)


def test_nothing_kept_is_nothing_and_forgetting_is_final(windows: WindowFiles, root: DataRoot) -> None:
    assert windows.kept(NAME) == KeptWindows()
    windows.forget(NAME)
    windows.keep(NAME, "de", text(0))
    assert windows.kept("cd" * 32) == KeptWindows()
    windows.forget(NAME)
    assert windows.kept(NAME) == KeptWindows()
    assert not file(root).exists()


def test_the_newest_of_a_window_counts_and_only_one_language(windows: WindowFiles) -> None:
    windows.keep(NAME, "de", text(1, "old"))
    windows.keep(NAME, "fr", text(2, "autre"))
    windows.keep(NAME, "de", text(1, "new"))
    assert windows.kept(NAME) == KeptWindows("de", (text(1, "new"),))


@pytest.mark.parametrize("cut", [1, 5, 40, 300])
def test_a_torn_last_record_is_ignored_and_the_next_one_is_whole(
    windows: WindowFiles, root: DataRoot, caplog: pytest.LogCaptureFixture, cut: int
) -> None:
    windows.keep(NAME, "de", text(0))
    windows.keep(NAME, "de", text(1))
    file(root).write_bytes(file(root).read_bytes()[:-cut])
    assert windows.kept(NAME) == KeptWindows("de", (text(0),))
    assert not caplog.records
    windows.keep(NAME, "de", text(2))
    assert windows.kept(NAME).texts == (text(0), text(2))


@pytest.mark.parametrize(
    "rubbish",
    [b"\xff" * 5000, b"\n".join([b"{}"] * 9), b'\n00000000 {"version":1}\n12 x\n', b"\0" * 100 + b"\n\n" + b"\0" * 100],
)
def test_rubbish_is_ignored_with_a_warning(
    windows: WindowFiles, root: DataRoot, caplog: pytest.LogCaptureFixture, rubbish: bytes
) -> None:
    file(root).write_bytes(rubbish)
    windows.keep(NAME, "de", text(3))
    assert windows.kept(NAME) == KeptWindows("de", (text(3),))
    assert "cannot be read" in caplog.text


def test_a_flipped_bit_costs_one_window(windows: WindowFiles, root: DataRoot) -> None:
    for index in range(5):
        windows.keep(NAME, "de", text(index))
    data = bytearray(file(root).read_bytes())
    data[len(data) // 2] ^= 1
    file(root).write_bytes(data)
    kept = windows.kept(NAME).texts
    assert len(kept) == 4
    assert set(kept) < {text(index) for index in range(5)}


def test_records_of_another_version_are_not_read(
    windows: WindowFiles, root: DataRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("channelscribe.store.windows.VERSION", 99)
    windows.keep(NAME, "de", text(0))
    monkeypatch.undo()
    assert windows.kept(NAME) == KeptWindows()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a disk that is always full")
def test_a_full_disk_is_told_once_and_harms_nothing(
    windows: WindowFiles, root: DataRoot, caplog: pytest.LogCaptureFixture
) -> None:
    file(root).symlink_to("/dev/full")
    for index in range(5):
        windows.keep(NAME, "de", text(index))
    assert len(caplog.records) == 1
    assert "the work itself goes on" in caplog.text
    windows.forget(NAME)
    windows.keep(NAME, "de", text(0))
    assert windows.kept(NAME).texts == (text(0),)


def test_what_is_no_file_harms_nothing(windows: WindowFiles, root: DataRoot) -> None:
    file(root).mkdir()
    windows.keep(NAME, "de", text(0))
    assert windows.kept(NAME) == KeptWindows()
    windows.forget(NAME)
    assert windows.sweep() == 0


@pytest.mark.parametrize("name", ["", "../../etc/passwd", "a/b", "x" * 5000, "\0", "\ud800", "."])
def test_hostile_names_stay_in_their_folder(windows: WindowFiles, root: DataRoot, tmp_path: Path, name: str) -> None:
    windows.keep(name, "de", text(0))
    assert windows.kept(name).texts == (text(0),)
    assert [p.parent for p in tmp_path.rglob("*") if p.is_file()] == [file(root).parent]


def test_a_remote_root_keeps_them_on_this_machine() -> None:
    root = DataRoot.open("memory://windows-kept-here")
    windows = WindowFiles(root)
    windows.keep(NAME, "de", text(0))
    assert windows.kept(NAME).texts == (text(0),)
    assert file(root).is_file()
    assert not root.exists(f"{FOLDER}/{NAME}")


def test_only_what_is_old_is_swept(root: DataRoot) -> None:
    with Archive(root) as archive:
        archive.windows.keep(NAME, "de", text(0))
        archive.windows.keep("cd" * 32, "de", text(0))
        old_s = time.time() - 31 * 86_400
        os.utime(file(root), (old_s, old_s))
        assert archive.windows.sweep() == 1
        assert archive.windows.kept(NAME) == KeptWindows()
        assert archive.windows.kept("cd" * 32).texts == (text(0),)


def test_threads_share_a_file(windows: WindowFiles) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda index: windows.keep(NAME, "de", text(index)), range(200)))
    assert windows.kept(NAME).texts == tuple(text(index) for index in range(200))


CHILD = """
import sys
from channelscribe.store.root import DataRoot
from channelscribe.store.windows import WindowFiles
from tests.channelscribe.store.test_windows import NAME, text
windows = WindowFiles(DataRoot.open(sys.argv[1]))
for index in range(int(sys.argv[2]), 10**6, 2):
    windows.keep(NAME, "de", text(index))
    print(index, flush=True)
"""


def test_two_processes_killed_while_writing_lose_at_most_their_last_window(tmp_path: Path, root: DataRoot) -> None:
    started = [
        subprocess.Popen([sys.executable, "-c", CHILD, str(tmp_path), first], stdout=subprocess.PIPE, text=True)
        for first in ("0", "1")
    ]
    said = []
    for child in started:
        assert child.stdout is not None
        said.append([int(child.stdout.readline()) for _ in range(60)])
        child.kill()
    for child in started:
        child.wait()
        assert child.stdout is not None
        child.stdout.close()
    kept = {each.window.index for each in WindowFiles(root).kept(NAME).texts}
    assert set(said[0]) | set(said[1]) <= kept

"""A full, limited or forbidden disk is one sentence, and what was stored before is still whole."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from channelscribe.core.errors import EnvironmentFailure
from channelscribe.core.model import OutcomeState
from channelscribe.store.archive import Archive
from channelscribe.store.root import DataRoot
from tests.channelscribe.records import a_transcript, a_video, an_outcome
from tests.channelscribe.store import children

SIZE_BYTES = 1 << 20


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of one megabyte."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = shutil.which("mount")
    options = f"size={SIZE_BYTES}"
    if mount is None or subprocess.run([mount, "-t", "tmpfs", "-o", options, "tmpfs", place], check=False).returncode:
        pytest.skip("this user may not mount a small disk here")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def temporaries(folder: Path) -> list[Path]:
    return [p for p in folder.rglob("*") if p.name.startswith(".tmp")]


def test_a_full_disk_is_named_with_what_is_needed_and_free(small_disk: Path) -> None:
    root = DataRoot.open(small_disk / "data")
    with pytest.raises(EnvironmentFailure) as caught:
        root.write_bytes("archive/c/x.json", b"x" * (2 * SIZE_BYTES))
    assert caught.value.code == "disk_full"
    assert str(small_disk / "data") in caught.value.reason
    assert f"{2 * SIZE_BYTES} bytes needed" in caught.value.reason
    assert "bytes free" in caught.value.reason
    assert not temporaries(small_disk)
    root.write_bytes("archive/c/x.json", b"fits")
    assert root.read_bytes("archive/c/x.json") == b"fits"


def test_publishing_onto_a_full_disk_keeps_the_source_and_the_old_file(small_disk: Path, tmp_path: Path) -> None:
    root = DataRoot.open(small_disk / "data")
    root.write_bytes("archive/x.m4a", b"old")
    source = tmp_path / "big"
    source.write_bytes(b"x" * (2 * SIZE_BYTES))
    with pytest.raises(EnvironmentFailure) as caught:
        root.publish(source, "archive/x.m4a")
    assert caught.value.code == "disk_full"
    assert source.stat().st_size == 2 * SIZE_BYTES
    assert root.read_bytes("archive/x.m4a") == b"old"
    assert not temporaries(small_disk)


def test_publishing_from_another_device_moves_the_file(small_disk: Path, tmp_path: Path) -> None:
    root = DataRoot.open(small_disk / "data")
    source = tmp_path / "small"
    source.write_bytes(b"content")
    assert source.stat().st_dev != small_disk.stat().st_dev
    root.publish(source, "archive/x.m4a")
    assert root.read_bytes("archive/x.m4a") == b"content"
    assert not source.exists()
    assert not temporaries(small_disk)


def test_a_disk_that_fills_while_transcripts_come_loses_none_that_was_put(small_disk: Path) -> None:
    archive = Archive(DataRoot.open(small_disk / "data"))
    put = 0
    with pytest.raises(EnvironmentFailure) as caught:
        for put in range(10_000):
            archive.put_transcript(a_transcript(f"f{put}", segments=200), "run")
    assert caught.value.code == "disk_full"
    assert set(Archive(archive.root).transcript_fingerprints()) == {f"f{n}" for n in range(put)}


def test_outcomes_wait_until_there_is_room_again(small_disk: Path) -> None:
    root = DataRoot.open(small_disk / "data")
    archive = Archive(root, flush_s=0.05)
    filler = small_disk / "filler"
    with filler.open("wb", buffering=0) as handle, pytest.raises(OSError, match="No space"):
        while True:
            handle.write(b"x" * 4096)
    archive.put_outcome(an_outcome(OutcomeState.DONE))
    with pytest.raises(EnvironmentFailure):
        archive.flush()
    filler.unlink()
    archive.close()
    assert len(Archive(root).outcomes()) == 1


def test_compaction_on_a_full_disk_keeps_every_row(small_disk: Path) -> None:
    archive = Archive(DataRoot.open(small_disk / "data"))
    for n in range(3):
        title = os.urandom(60_000).hex()
        archive.put_videos([a_video(f"video-{n:05d}", title=title)])
    (small_disk / "filler").write_bytes(b"x" * (archive.root.free_bytes() or 0))
    with pytest.raises(EnvironmentFailure) as caught:
        archive.tidy()
    assert caught.value.code == "disk_full"
    assert len(archive.videos()) == 3


def test_a_limit_on_file_size_is_said() -> None:
    said = children.run(
        """
        import resource, tempfile
        from channelscribe.core.errors import EnvironmentFailure
        from channelscribe.store.root import DataRoot
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        with tempfile.TemporaryDirectory() as folder:
            root = DataRoot.open(folder)
            try:
                root.write_bytes("a/x", b"x" * 5000)
            except EnvironmentFailure as error:
                print(error.code, error.reason, root.list("a"))
        """
    )
    assert said.startswith("file_too_large ")
    assert "5000 bytes" in said
    assert said.endswith("[]\n")


def test_a_folder_without_rights_is_said(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir(mode=0o500)
    said = children.run(
        """
        import os, sys
        from channelscribe.core.errors import EnvironmentFailure
        from channelscribe.store.root import DataRoot
        if os.geteuid() == 0:
            os.seteuid(65534)
        try:
            DataRoot.open(sys.argv[1])
        except EnvironmentFailure as error:
            print(error.code, error.reason)
        """,
        tmp_path / "data",
    )
    assert said.startswith("not_writable ")
    assert str(tmp_path / "data") in said


def test_a_read_only_disk_is_said(small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with pytest.raises(EnvironmentFailure) as caught:
        DataRoot.open(small_disk / "data")
    assert caught.value.code == "not_writable"

"""Backup and restore: what was there comes back equal, and nothing that is broken or foreign is taken for it."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys
import tarfile
import threading
import time
from datetime import timedelta
from pathlib import Path

import pytest

from channelscribe.backup import backup
from channelscribe.core.errors import ChannelscribeError, EnvironmentFailure, UsageError
from channelscribe.restore import restore
from channelscribe.saved import MANIFEST, backups
from channelscribe.store.archive import Archive
from channelscribe.store.root import DataRoot
from channelscribe.verification import verify
from tests.channelscribe.records import NOON
from tests.channelscribe.upkeep.conftest import MakeRoot
from tests.channelscribe.upkeep.finished import At, build, finish, snapshot

CHECKOUT = Path(__file__).resolve().parents[3]


def test_what_was_saved_comes_back_equal_and_can_be_worked_with(make_root: MakeRoot) -> None:
    root, target, empty = make_root(), make_root(), make_root()
    build(root)
    before = snapshot(root)
    with Archive(root) as archive:
        manifest = backup(archive, target, extra={"prefect/state.json": b"{}"}, media=True)
    assert manifest.missing == ()
    assert restore(target, empty).name == manifest.name
    assert snapshot(empty) == before == snapshot(root)
    assert empty.read_bytes("prefect/state.json") == b"{}"
    with Archive(empty) as archive:
        assert verify(archive, "v").sound
        finish(archive, 99)
        assert len(archive.media()) == 5


def test_without_sound_everything_else_comes_back_and_the_next_sync_fetches_it(make_root: MakeRoot) -> None:
    root, target, empty = make_root(), make_root(), make_root()
    build(root)
    before = {name: data for name, data in snapshot(root).items() if not name.endswith(".m4a")}
    with Archive(root) as archive:
        backup(archive, target)
    restore(target, empty)
    assert snapshot(empty) == before
    with Archive(empty) as archive:
        assert {f.what for f in verify(archive, "v", mend=False).findings} == {"archive_media_missing"}


def test_an_empty_archive_has_a_backup_too(make_root: MakeRoot) -> None:
    target, empty = make_root(), make_root()
    with Archive(make_root()) as archive:
        assert backup(archive, target).entries == ()
    restore(target, empty)
    assert empty.list("") == []


def test_any_tar_unpacks_it(folder: DataRoot, tmp_path: Path) -> None:
    build(folder, 2)
    target = DataRoot.open(tmp_path / "backups")
    with Archive(folder) as archive:
        name = backup(archive, target, media=True).name
    (tmp_path / "by hand").mkdir()
    subprocess.run(["tar", "-xf", tmp_path / "backups" / f"{name}.001.tar", "-C", (tmp_path / "by hand")], check=True)
    assert snapshot(DataRoot.open(tmp_path / "by hand")) == snapshot(folder)


def test_a_root_that_holds_anything_is_left_as_it_is(make_root: MakeRoot) -> None:
    root, target, used = make_root(), make_root(), make_root()
    build(root, 2)
    with Archive(root) as archive:
        backup(archive, target)
    with Archive(used) as archive:
        finish(archive, 50)
    before = snapshot(used)
    with pytest.raises(UsageError, match="not empty"):
        restore(target, used)
    assert snapshot(used) == before
    stray = make_root()
    stray.write_bytes("notes.txt", b"mine")
    with pytest.raises(UsageError, match=r"not empty \(notes.txt\)"):
        restore(target, stray)
    assert stray.list("videos") == []


def test_a_backup_into_the_archive_itself_is_refused(make_root: MakeRoot) -> None:
    root = make_root()
    with Archive(root) as archive, pytest.raises(UsageError) as refused:
        backup(archive, root)
    assert refused.value.code == "bad_target"


def test_old_backups_go_only_after_the_new_one_was_read_back(make_root: MakeRoot) -> None:
    root, target = make_root(), make_root()
    build(root, 1)
    with Archive(root) as archive:
        made = [backup(archive, target, keep=2, clock=At(NOON + timedelta(days=d))).name for d in range(4)]
    assert backups(target) == made[2:]
    assert {rel.split(".")[0] for rel in target.list("")} == set(made[2:])


def test_two_backups_in_one_second_have_names_of_their_own(make_root: MakeRoot) -> None:
    root, target = make_root(), make_root()
    build(root, 1)
    with Archive(root) as archive:
        made = [backup(archive, target, clock=At(NOON)).name for _ in range(3)]
    assert len(set(made)) == 3
    assert set(backups(target)) == set(made)


def test_many_tar_files(make_root: MakeRoot, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("channelscribe.backup._TAR_BYTES", 6_000)
    root, target, empty = make_root(), make_root(), make_root()
    build(root, 2)
    with Archive(root) as archive:
        assert len(backup(archive, target, media=True).tars) > 2
    restore(target, empty)
    assert snapshot(empty) == snapshot(root)


@pytest.mark.parametrize("harm", ["cut", "bit", "gone", "empty", "other tar"])
def test_a_damaged_backup_is_never_restored(harm: str, folder: DataRoot, tmp_path: Path) -> None:
    build(folder, 2)
    target, empty = DataRoot.open(tmp_path / "backups"), DataRoot.open(tmp_path / "new")
    with Archive(folder) as archive:
        name = backup(archive, target).name
    tar = tmp_path / "backups" / f"{name}.001.tar"
    data = bytearray(tar.read_bytes())
    data[len(data) // 2] ^= 1
    changes = {"cut": bytes(data[:-5000]), "bit": bytes(data), "empty": b"", "other tar": _foreign()}
    tar.write_bytes(changes[harm]) if harm in changes else tar.unlink()
    with pytest.raises(EnvironmentFailure) as refused:
        restore(target, empty)
    assert refused.value.code == "backup_damaged"
    assert empty.list("archive/UC") == []


def _foreign() -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        info = tarfile.TarInfo("../../evil")
        info.size = 4
        tar.addfile(info, io.BytesIO(b"evil"))
    return made.getvalue()


@pytest.mark.parametrize(
    "manifest",
    [b"", b"{", b"[]", b"null", b'{"format": 99}', b'{"format": 1, "made_at": "x"}', b'{"format": 1, "entries": 3}'],
)
def test_a_manifest_that_is_none_is_named(manifest: bytes, make_root: MakeRoot) -> None:
    target = make_root()
    target.write_bytes("channelscribe-20260101T000000Z" + MANIFEST, manifest)
    with pytest.raises(EnvironmentFailure) as refused:
        restore(target, make_root())
    assert refused.value.code == "backup_damaged"


def test_a_manifest_that_leads_out_of_the_root_is_refused(folder: DataRoot, tmp_path: Path) -> None:
    build(folder, 1)
    target = DataRoot.open(tmp_path / "backups")
    with Archive(folder) as archive:
        name = backup(archive, target).name
    path = tmp_path / "backups" / (name + MANIFEST)
    raw = json.loads(path.read_text())
    raw["entries"][0]["path"] = "../outside.txt"
    path.write_text(json.dumps(raw))
    with pytest.raises(ChannelscribeError):
        restore(target, DataRoot.open(tmp_path / "new"))
    assert not (tmp_path / "outside.txt").exists()


@pytest.mark.parametrize(
    "evil", ["../outside.txt", "archive/../../outside.txt", "/{tmp}/outside.txt", "..\\outside.txt"]
)
@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_a_hostile_backup_whose_checksums_agree_writes_nothing_outside(evil: str, kind: bytes, tmp_path: Path) -> None:
    path, name = evil.format(tmp=str(tmp_path).strip("/")), "channelscribe-20260101T000000Z"
    data, made = b"evil", io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        info = tarfile.TarInfo(path)
        info.type, info.linkname, info.size = kind, "/etc/hostname", len(data) if kind == tarfile.REGTYPE else 0
        tar.addfile(info, io.BytesIO(data))
    digest = hashlib.sha256(data).hexdigest()
    entry = {"path": path, "bytes": len(data), "sha256": digest, "tar": f"{name}.001.tar"}
    tars = [[f"{name}.001.tar", len(made.getvalue()), hashlib.sha256(made.getvalue()).hexdigest()]]
    said = {"format": 1, "made_at": "2026-01-01T00:00:00+00:00", "entries": [entry], "tars": tars, "rows": {}}
    target, root = DataRoot.open(tmp_path / "backups"), DataRoot.open(tmp_path / "new" / "root")
    target.write_bytes(f"{name}.001.tar", made.getvalue())
    target.write_bytes(name + MANIFEST, json.dumps({**said, "missing": []}).encode())
    with pytest.raises(ChannelscribeError):
        restore(target, root)
    assert [p.name for p in tmp_path.rglob("*outside*")] == []


def test_no_backup_and_a_wrong_name_are_told(make_root: MakeRoot) -> None:
    for name in ("", "channelscribe-20200101T000000Z"):
        with pytest.raises(UsageError) as refused:
            restore(make_root(), make_root(), name)
        assert refused.value.code == "no_backup"


_WORK = """
import sys
from channelscribe import backup as b
from channelscribe.restore import restore
from channelscribe.store.archive import Archive
from channelscribe.store.root import DataRoot
b._TAR_BYTES = 4_000
if sys.argv[1] == "backup":
    with Archive(DataRoot.open(sys.argv[2])) as archive:
        b.backup(archive, DataRoot.open(sys.argv[3]), media=True)
else:
    restore(DataRoot.open(sys.argv[2]), DataRoot.open(sys.argv[3]))
"""


def _killed(what: str, source: Path, target: Path, files: str) -> None:
    """kill -9 as soon as there are some files of that pattern at the target."""
    process = subprocess.Popen([sys.executable, "-c", _WORK, what, str(source), str(target)], cwd=CHECKOUT)
    while process.poll() is None and len(list(target.glob(files))) < 3:
        time.sleep(0.001)
    process.kill()
    process.wait()


def test_kill_in_backup_and_in_restore_loses_nothing(tmp_path: Path) -> None:
    root = DataRoot.open(tmp_path / "data")
    build(root, 8)
    before = snapshot(root)
    _killed("backup", tmp_path / "data", tmp_path / "backups", "*.tar")
    target = DataRoot.open(tmp_path / "backups")
    assert snapshot(root) == before
    assert backups(target) == []
    with pytest.raises(UsageError):
        restore(target, DataRoot.open(tmp_path / "never"))
    with Archive(root) as archive:
        backup(archive, target, media=True)
    _killed("restore", tmp_path / "backups", tmp_path / "new", "archive/UC/*")
    new = DataRoot.open(tmp_path / "new")
    restore(target, new)
    assert snapshot(new) == before


def test_tar_files_of_an_interrupted_backup_go_after_a_day(make_root: MakeRoot) -> None:
    root, target = make_root(), make_root()
    target.write_bytes("channelscribe-20261120T110000Z.001.tar", b"half")
    target.write_bytes("channelscribe-20261121T110000Z.001.tar", b"half, and maybe still written elsewhere")
    target.write_bytes("holiday.tar", b"mine")
    with Archive(root) as archive:
        backup(archive, target, clock=At(NOON))
    left = target.list("")
    assert "channelscribe-20261120T110000Z.001.tar" not in left
    assert {"channelscribe-20261121T110000Z.001.tar", "holiday.tar"} <= set(left)


def test_beside_writers_and_compactions_a_backup_is_consistent(folder: DataRoot, tmp_path: Path) -> None:
    build(folder, 3)
    stop, failures = threading.Event(), list[BaseException]()

    def work() -> None:
        try:
            with Archive(folder) as archive:
                for number in range(100, 250):
                    finish(archive, number)
                    if number % 4 == 0:
                        archive.tidy()
                    if stop.is_set():
                        return
        except BaseException as error:
            failures.append(error)

    writer = threading.Thread(target=work)
    writer.start()
    try:
        for turn in range(3):
            target, empty = DataRoot.open(tmp_path / f"b{turn}"), DataRoot.open(tmp_path / f"new{turn}")
            with Archive(folder) as archive:
                known = set(archive.media())
                backup(archive, target)
            restore(target, empty)
            with Archive(empty) as restored:
                media, transcribed = restored.media(), {v for _, v in restored.transcribed()}
                assert known <= set(media)
                assert {u.video_id for u in restored.uploads().values()} <= transcribed <= set(media)
                assert set(media) <= set(restored.videos())
    finally:
        stop.set()
        writer.join()
    assert not failures

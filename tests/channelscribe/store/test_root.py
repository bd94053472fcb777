"""A data root keeps whole files under relative paths, the same on a folder and in an object store."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from channelscribe.core.errors import EnvironmentFailure, Transient, UsageError
from channelscribe.store.root import DataRoot
from tests.channelscribe.store import children


def test_what_is_written_is_read(root: DataRoot) -> None:
    assert not root.exists("a/b.json")
    assert root.size("a/b.json") is None
    root.write_bytes("a/b.json", b"one")
    root.write_bytes("a/b.json", b"second")
    assert root.exists("a/b.json")
    assert root.size("a/b.json") == 6
    assert root.read_bytes("a/b.json") == b"second"
    assert root.fetch("a/b.json").read_bytes() == b"second"
    root.delete("a/b.json")
    root.delete("a/b.json")
    assert not root.exists("a/b.json")


def test_a_list_holds_the_files_of_one_folder_and_no_hidden_ones(root: DataRoot) -> None:
    for rel in ("d/b", "d/a", "d/.hidden", "d/_work", "d/sub/x", "e/y", "top"):
        root.write_bytes(rel, b"")
    assert root.list("d") == ["d/a", "d/b"]
    assert root.list("d/") == ["d/a", "d/b"]
    assert root.list("d/sub") == ["d/sub/x"]
    assert root.list("") == ["top"]
    assert root.list("nowhere") == []


def test_a_published_file_moves_and_replaces(root: DataRoot, tmp_path: Path) -> None:
    for content in (b"first", b"the second"):
        work = root.local(".work/id/download.part")
        work.write_bytes(content)
        root.publish(work, "archive/c/x.m4a")
        assert not work.exists()
        assert root.fetch("archive/c/x.m4a").read_bytes() == content
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(b"third")
    root.publish(elsewhere, "archive/c/x.m4a")
    assert not elsewhere.exists()
    assert root.read_bytes("archive/c/x.m4a") == b"third"


def test_a_fetched_copy_follows_a_change_of_the_same_length(root: DataRoot, root_url: str) -> None:
    root.write_bytes("m/x", b"aaaa")
    assert root.fetch("m/x").read_bytes() == b"aaaa"
    DataRoot.open(root_url).write_bytes("m/x", b"bbbb")
    assert root.fetch("m/x").read_bytes() == b"bbbb"


def test_forgetting_a_copy_keeps_the_file(root: DataRoot) -> None:
    root.write_bytes("m/x", b"data")
    root.fetch("m/x")
    root.forget("m/x")
    assert root.read_bytes("m/x") == b"data"
    assert root.fetch("m/x").read_bytes() == b"data"


@pytest.mark.parametrize("call", ["read_bytes", "fetch"])
def test_a_missing_file_says_which_one(root: DataRoot, call: str) -> None:
    with pytest.raises(Transient, match=r"gone/x\.m4a") as caught:
        getattr(root, call)("gone/x.m4a")
    assert caught.value.code == "file_missing"


def test_publishing_nothing_says_so(root: DataRoot, tmp_path: Path) -> None:
    with pytest.raises(Transient) as caught:
        root.publish(tmp_path / "never made", "archive/x")
    assert caught.value.code == "file_missing"
    assert not root.exists("archive/x")


OUTSIDE = ["../x", "a/../../x", "/etc/passwd", "C:/x", "c:\\x", "..\\x", "\\\\host\\x", "", ".", "a\x00b", "//x"]


@pytest.mark.parametrize("rel", OUTSIDE)
def test_a_path_outside_is_refused(root: DataRoot, rel: str) -> None:
    for act in (root.local, root.read_bytes, root.exists, root.size, root.delete, root.fetch):
        with pytest.raises(UsageError):
            act(rel)
    with pytest.raises(UsageError):
        root.write_bytes(rel, b"")


@given(st.text(max_size=40))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
def test_no_path_ever_leaves_the_root(tmp_path: Path, rel: str) -> None:
    root = DataRoot.open(tmp_path / "inside")
    try:
        place = root.local(rel)
    except (UsageError, EnvironmentFailure):
        return
    assert place.resolve().is_relative_to((tmp_path / "inside").resolve())


def test_both_slashes_mean_the_same(root: DataRoot) -> None:
    root.write_bytes("a\\b\\c.txt", b"x")
    assert root.list("a/b") == ["a/b/c.txt"]


@pytest.mark.parametrize(
    "url", ["", "  ", "a\x00b", "nonsense://bucket/x", "s3:/bucket/lost-slash", "http://127.0.0.1:9/x", "s3://"]
)
def test_what_is_no_data_root_is_one_sentence(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CHANNELSCRIBE_CACHE", str(tmp_path / "cache"))
    with pytest.raises(EnvironmentFailure) as caught:
        DataRoot.open(url)
    assert "\n" not in caught.value.reason
    assert not (tmp_path / "s3:").exists()


def test_a_url_given_as_a_path_is_noticed() -> None:
    with pytest.raises(EnvironmentFailure, match="slash"):
        DataRoot.open(Path("s3://bucket/x"))


def test_a_file_is_no_data_root(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for place in ("file", "file/below"):
        with pytest.raises(EnvironmentFailure, match="a file is in its place"):
            DataRoot.open(tmp_path / place)


@pytest.mark.parametrize(("scheme", "module", "extra"), [("s3", "s3fs", "s3"), ("gs", "gcsfs", "gcs")])
def test_a_missing_extra_is_named(scheme: str, module: str, extra: str) -> None:
    said = children.run(
        """
        import sys
        sys.modules[sys.argv[2]] = None
        from channelscribe.core.errors import EnvironmentFailure
        from channelscribe.store.root import DataRoot
        try:
            DataRoot.open(f"{sys.argv[1]}://bucket/x")
        except EnvironmentFailure as error:
            print(error.code, error.reason)
        """,
        scheme,
        module,
    )
    assert said.startswith("extra_missing ")
    assert f"channelscribe[{extra}]" in said


def test_the_forms_of_a_folder_mean_one_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    DataRoot.open(tmp_path / "a b").write_bytes("x", b"1")
    for form in ("a b", "~/a b", str(tmp_path / "a b"), (tmp_path / "a b").as_uri(), f"local://{tmp_path}/a b"):
        assert DataRoot.open(form).read_bytes("x") == b"1", form


def test_a_password_in_the_url_is_never_shown() -> None:
    with pytest.raises(EnvironmentFailure) as caught:
        DataRoot.open("nonsense://user:hunter2secret@host/x")
    assert "hunter2secret" not in caught.value.reason


def test_opening_leaves_nothing_behind(tmp_path: Path) -> None:
    DataRoot.open(tmp_path / "data")
    assert list((tmp_path / "data").iterdir()) == []


def test_free_bytes_are_known_on_a_disk(root: DataRoot, root_url: str) -> None:
    free = root.free_bytes()
    assert (free is None) if root_url.startswith("memory") else (free is not None and free > 0)


def test_a_lock_keeps_others_out(root: DataRoot) -> None:
    inside, most = 0, 0
    guard = threading.Lock()

    def work() -> None:
        nonlocal inside, most
        for _ in range(20):
            with root.lock("one/thing:?"):
                with guard:
                    inside += 1
                    most = max(most, inside)
                with guard:
                    inside -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1


def test_a_held_lock_is_said_and_other_names_are_free(root: DataRoot) -> None:
    with root.lock("a/b"), root.lock("a_b"), pytest.raises(Transient, match="a/b") as caught, root.lock("a/b", 0):
        pytest.fail("entered twice")
    assert caught.value.code == "locked"
    with root.lock("a/b", 0):
        pass


def test_an_error_inside_a_lock_passes_and_lets_go(root: DataRoot) -> None:
    with pytest.raises(OSError, match="mine"), root.lock("x"):
        raise OSError("mine")
    with root.lock("x", 0):
        pass


def test_a_killed_holder_lets_go(tmp_path: Path) -> None:
    holder = children.start(
        """
        import sys, time
        from channelscribe.store.root import DataRoot
        with DataRoot.open(sys.argv[1]).lock("video"):
            print("held", flush=True)
            time.sleep(600)
        """,
        tmp_path,
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        root = DataRoot.open(tmp_path)
        with pytest.raises(Transient), root.lock("video", 0):
            pytest.fail("entered twice")
    finally:
        holder.kill()
        holder.communicate()
    with root.lock("video", 10):
        pass


def test_only_abandoned_temporaries_are_swept(tmp_path: Path) -> None:
    root = DataRoot.open(tmp_path)
    root.write_bytes("archive/c/x.json", b"kept")
    for name, age_s in ((".tmp-1-old", 2e5), (".tmp-2-young", 10), (".other", 2e5)):
        path = tmp_path / "archive/c" / name
        path.write_bytes(b"half")
        os.utime(path, (1e9 - age_s, 1e9 - age_s))
    assert root.sweep("archive", 1e9 - 1e5) == 1
    assert sorted(p.name for p in (tmp_path / "archive/c").iterdir()) == [".other", ".tmp-2-young", "x.json"]

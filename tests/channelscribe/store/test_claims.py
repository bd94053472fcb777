"""Several machines on one data root in an object store: each thing is done by one, and a dead one's claims pass on."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from channelscribe.core.errors import Transient
from channelscribe.store.claims import Claims, Watch, beat_rel
from channelscribe.store.root import DataRoot
from tests.flows.environment import clean
from tests.object_store import ObjectStore, object_store

Machine = Callable[[str], DataRoot]
CLAIM_S = 1.2
HOLD = """
import sys, time
from channelscribe.store.claims import Claims
from channelscribe.store.root import DataRoot
with Claims(DataRoot.open(sys.argv[1]), claim_s=1.2).hold("v"):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture(scope="module")
def store() -> Iterator[ObjectStore]:
    with object_store() as opened:
        yield opened


@pytest.fixture
def machine(store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """The same bucket, with locks and copies of its own for each name."""

    def opened(name: str) -> DataRoot:
        for key, value in store.environment(tmp_path / name).items():
            monkeypatch.setenv(key, value)
        return DataRoot.open(f"{store.url}/{tmp_path.name}")

    return opened


def claims(root: DataRoot) -> Claims:
    return Claims(root, claim_s=CLAIM_S)


def test_of_many_who_create_one_succeeds(root: DataRoot) -> None:
    won: list[int] = []

    def create(number: int) -> None:
        if root.create("a/b", f"{number}".encode()):
            won.append(number)

    threads = [threading.Thread(target=create, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert root.read_bytes("a/b") == f"{won[0]}".encode()
    root.delete("a/b")
    assert root.create("a/b", b"again")


def test_machines_are_told_apart_and_keep_their_names(machine: Machine) -> None:
    here, there = machine("a"), machine("b")
    assert here.remote and here.place != there.place
    assert machine("a").place == here.place


def test_two_machines_never_hold_the_same(machine: Machine) -> None:
    both = [claims(machine(name)) for name in ("a", "b")]
    inside, most, turns = 0, 0, 0
    lock = threading.Lock()

    def work(own: Claims) -> None:
        nonlocal inside, most, turns
        for _ in range(6):
            with own.hold("v"):
                with lock:
                    inside, turns = inside + 1, turns + 1
                    most = max(most, inside)
                time.sleep(0.02)
                with lock:
                    inside -= 1

    threads = [threading.Thread(target=work, args=(own,)) for own in both]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (most, turns) == (1, 12)
    for own in both:
        own.close()


def test_a_holder_that_lives_keeps_its_claim_for_longer_than_a_claim_lasts(machine: Machine) -> None:
    here, there = claims(machine("a")), claims(machine("b"))
    seen: list[str] = []
    with here.hold("v") as held:
        other = threading.Thread(target=lambda: seen.append(wait_for(there, seen)))
        other.start()
        time.sleep(2 * CLAIM_S)
        held.check()
        seen.append("let go")
    other.join()
    assert seen == ["let go", "entered"]
    here.close()
    there.close()


def wait_for(own: Claims, _: list[str]) -> str:
    with own.hold("v"):
        return "entered"


def test_one_that_slept_finds_out_and_leaves_the_new_holder_alone(machine: Machine) -> None:
    here, there = claims(machine("a")), claims(machine("b"))
    with here.hold("v") as slept:
        here.pulse.close()  # what a suspended process does: no more beats
        with there.hold("v") as held:
            with pytest.raises(Transient) as told:
                slept.check()
            assert told.value.code == "claim_lost"
            held.check()
    with there.hold("v"), pytest.raises(Transient):
        slept.check()
    there.close()
    assert there._root.list(".claims") == there._root.list(".claims/beats") == []


@pytest.mark.parametrize("where", ["the same machine", "another machine"])
def test_the_claim_of_a_killed_process_passes_on(
    machine: Machine, store: ObjectStore, tmp_path: Path, where: str
) -> None:
    here = machine("a")
    environment = clean(**store.environment(tmp_path / "a"))
    command = [sys.executable, "-c", HOLD, here.url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
        holder.send_signal(signal.SIGKILL)
    next_one = claims(here if where == "the same machine" else machine("b"))
    with next_one.hold("v") as held:
        assert held.generation == 1
        held.check()
    with next_one.hold("v") as held:
        assert held.generation == 0, "the dead claim went with its successor"
    next_one.close()


def test_waiting_can_be_called_off(machine: Machine) -> None:
    here, there = claims(machine("a")), claims(machine("b"))
    looks = 0

    def give_up() -> None:
        nonlocal looks
        looks += 1
        if looks > 3:
            raise KeyError("stopped")

    with here.hold("v"), pytest.raises(KeyError), there.hold("v", give_up):
        raise AssertionError("never held")
    with there.hold("v"):
        pass
    here.close()
    there.close()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"owner": 1}', b"\xff" * 5000])
def test_garbage_in_place_of_a_claim_is_taken_over(machine: Machine, content: bytes) -> None:
    root = machine("a")
    root.write_bytes(".claims/v.0", content)
    own = claims(root)
    with own.hold("v") as held:
        held.check()
    own.close()


def test_a_watcher_sees_life_and_silence(root: DataRoot) -> None:
    own = claims(root)
    with own.pulse.going("run"):
        watch = Watch(root, own.pulse._clock)
        assert watch.silent_s("run") == 0.0
        own.pulse.beat()
        assert watch.silent_s("run") == 0.0, "it changed"
        assert root.exists(beat_rel("run"))
    assert not root.exists(beat_rel("run"))
    first = watch.silent_s("run")
    assert first == 0.0 <= watch.silent_s("run")
    own.close()

"""The power limit comes back: on leaving, after kill -9, from several processes, and nothing of it ever raises."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from filelock import FileLock
from hypothesis import given, settings
from hypothesis import strategies as st

from channelscribe.gpu.capping import PowerCap, open_cap, recover
from channelscribe.gpu.cards import list_cards, visible
from channelscribe.gpu.nvml import Nvml
from channelscribe.gpu.reader import NvmlReader
from tests.emulators.nvml import FakeCard, FakeDriver, installed

ROOT = Path(__file__).resolve().parents[3]
CHILD = """
import sys
from pathlib import Path
from channelscribe.gpu.capping import PowerCap
from channelscribe.gpu.nvml import Nvml
from tests.emulators.nvml import FakeCard, FakeDriver, installed
card = FakeCard(limit_mw=int(sys.argv[2]))
with installed(FakeDriver([card])):
    cap = PowerCap(Nvml(), card.uuid, card, folder=Path(sys.argv[1]))
    cap.apply(float(sys.argv[3]))
    print(card.limit_mw, flush=True)
    sys.stdin.readline()
    cap.restore()
    print(card.limit_mw, flush=True)
"""


@contextmanager
def capped(card: FakeCard, folder: Path) -> Iterator[PowerCap]:
    with installed(FakeDriver([card])):
        cap = PowerCap(Nvml(), card.uuid, card, folder=folder)
        yield cap
        cap.close()


@contextmanager
def another_process(folder: Path, limit_mw: int, watts: float) -> Iterator[subprocess.Popen[str]]:
    """Caps its own picture of the same card, whose limit is `limit_mw`; a line on its input lets it leave."""
    command = [sys.executable, "-c", CHILD, str(folder), str(limit_mw), str(watts)]
    child = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield child
    finally:
        child.kill()
        child.communicate()


def line(child: subprocess.Popen[str]) -> int:
    assert child.stdout is not None
    return int(child.stdout.readline())


def leases(folder: Path) -> list[str]:
    return [path.name for path in folder.glob("*.json")] if folder.exists() else []


def test_a_cap_is_set_and_taken_off(tmp_path: Path) -> None:
    card = FakeCard()
    with capped(card, tmp_path) as cap:
        cap.apply(300.0)
        assert card.limit_mw == 300_000
        cap.apply(None)
        assert card.limit_mw == 450_000
        assert leases(tmp_path) == []
        cap.apply(280.0)
        cap.apply(260.0)
        assert card.limit_mw == 260_000
    assert card.limit_mw == 450_000
    assert leases(tmp_path) == []


def test_it_stays_within_what_the_card_allows_and_never_above_what_it_had(tmp_path: Path) -> None:
    card = FakeCard(limit_mw=400_000)
    with capped(card, tmp_path) as cap:
        cap.apply(20.0)
        assert card.limit_mw == 150_000
        cap.apply(475.0)
        assert card.limit_mw == 400_000
    assert card.limit_mw == 400_000


def test_a_wish_above_the_limit_touches_nothing(tmp_path: Path) -> None:
    card = FakeCard()
    with capped(card, tmp_path) as cap:
        cap.apply(600.0)
        assert leases(tmp_path) == []
    assert card.asked["nvmlDeviceSetPowerManagementLimit"] == 0


def test_the_same_wish_again_costs_no_call(tmp_path: Path) -> None:
    card = FakeCard()
    with capped(card, tmp_path) as cap:
        for _ in range(50):
            cap.apply(300.0)
        assert card.asked["nvmlDeviceSetPowerManagementLimit"] == 1


@pytest.mark.parametrize("refusal", ["NO_PERMISSION", "NOT_SUPPORTED", "GPU_IS_LOST", "UNKNOWN"])
@pytest.mark.parametrize(
    "function",
    [
        "nvmlDeviceSetPowerManagementLimit",
        "nvmlDeviceGetPowerManagementLimit",
        "nvmlDeviceGetPowerManagementLimitConstraints",
    ],
)
def test_without_permission_it_is_said_once_and_nothing_is_left(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, function: str, refusal: str
) -> None:
    card = FakeCard(refuses={function: refusal})
    with caplog.at_level(logging.WARNING), capped(card, tmp_path) as cap:
        for watts in (300.0, 250.0, None, 200.0):
            cap.apply(watts)
        assert cap.given_up
    assert card.limit_mw == 450_000
    assert leases(tmp_path) == []
    assert len(caplog.records) == 1
    assert "cannot be lowered" in caplog.text


def test_where_the_original_cannot_be_kept_nothing_is_changed(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    card = FakeCard()
    with capped(card, tmp_path / "file") as cap:
        cap.apply(300.0)
        assert "kept on disk" in cap.given_up
    assert card.limit_mw == 450_000


def test_after_kill_9_the_next_start_restores(tmp_path: Path) -> None:
    with another_process(tmp_path, 450_000, 240.0) as child:
        assert line(child) == 240_000
        child.kill()
        child.wait()
    card = FakeCard(limit_mw=240_000)
    with installed(FakeDriver([card])):
        recover(Nvml(), card.uuid, card, folder=tmp_path)
        assert card.limit_mw == 450_000
        assert leases(tmp_path) == []
        recover(Nvml(), card.uuid, card, folder=tmp_path)
        assert card.limit_mw == 450_000


def test_after_kill_9_the_next_cap_still_knows_the_original(tmp_path: Path) -> None:
    with another_process(tmp_path, 450_000, 240.0) as child:
        assert line(child) == 240_000
        child.kill()
        child.wait()
    card = FakeCard(limit_mw=240_000)
    with capped(card, tmp_path) as cap:
        cap.apply(300.0)
        assert card.limit_mw == 300_000
    assert card.limit_mw == 450_000


def test_two_processes_agree_on_the_lower_wish_and_the_last_one_restores(tmp_path: Path) -> None:
    card = FakeCard()
    with capped(card, tmp_path) as cap:
        cap.apply(300.0)
        with another_process(tmp_path, card.limit_mw, 200.0) as child:
            assert line(child) == 200_000
            card.limit_mw = 200_000
            recover(Nvml(), card.uuid, card, folder=tmp_path)
            assert card.limit_mw == 200_000, "a card in use is not recovered"
            cap.apply(350.0)
            assert card.limit_mw == 200_000, "the other's wish is lower"
            child.communicate("\n")
        card.limit_mw = 350_000  # what the leaving process set for us
        assert leases(tmp_path) != []
    assert card.limit_mw == 450_000
    assert leases(tmp_path) == []


def test_the_one_that_leaves_first_hands_over_to_the_rest(tmp_path: Path) -> None:
    card = FakeCard()
    with capped(card, tmp_path) as cap:
        cap.apply(200.0)
        with another_process(tmp_path, card.limit_mw, 300.0) as child:
            assert line(child) == 200_000
            cap.restore()
            assert card.limit_mw == 300_000, "ours is gone, the other's wish counts"
            assert child.communicate("\n")[0].split() == ["450000"], "the last one restores"


def test_a_limit_that_somebody_else_has_set_since_is_theirs(tmp_path: Path) -> None:
    card = FakeCard()
    with capped(card, tmp_path) as cap:
        cap.apply(300.0)
        card.limit_mw = 380_000
    assert card.limit_mw == 380_000
    assert leases(tmp_path) == []


def test_a_card_that_rounds_is_recognised(tmp_path: Path) -> None:
    card = FakeCard(step_mw=25_000)
    with capped(card, tmp_path) as cap:
        cap.apply(310.0)
        assert card.limit_mw == 300_000
    assert card.limit_mw == 450_000


def test_a_machine_that_was_started_anew_has_forgotten_limits_by_itself(tmp_path: Path) -> None:
    card = FakeCard(limit_mw=300_000)
    lease = {"boot_s": psutil.boot_time() - 86_400, "original_w": 450.0, "set_w": [300.0], "holders": []}
    (tmp_path / f"{card.uuid}.json").write_text(json.dumps(lease))
    with installed(FakeDriver([card])):
        recover(Nvml(), card.uuid, card, folder=tmp_path)
    assert card.limit_mw == 300_000
    assert leases(tmp_path) == []


def test_a_later_process_with_the_number_of_a_dead_holder_holds_nothing(tmp_path: Path) -> None:
    card = FakeCard(limit_mw=300_000)
    holder = {"pid": os.getpid(), "started_s": psutil.Process().create_time() - 5000, "cap_w": 300.0}
    lease = {"boot_s": psutil.boot_time(), "original_w": 450.0, "set_w": [300.0], "holders": [holder]}
    (tmp_path / f"{card.uuid}.json").write_text(json.dumps(lease))
    with installed(FakeDriver([card])):
        recover(Nvml(), card.uuid, card, folder=tmp_path)
    assert card.limit_mw == 450_000


@settings(max_examples=30, deadline=None)
@given(
    content=st.one_of(
        st.text(max_size=60),
        st.recursive(
            st.one_of(st.none(), st.integers(), st.floats(), st.text(max_size=5)),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(["boot_s", "original_w", "set_w", "holders", "pid"]), inner, max_size=5
                )
            ),
            max_leaves=12,
        ).map(json.dumps),
    )
)
def test_a_note_that_is_none_harms_nothing(tmp_path_factory: pytest.TempPathFactory, content: str) -> None:
    folder = tmp_path_factory.mktemp("power")
    card = FakeCard()
    (folder / f"{card.uuid}.json").write_text(content, encoding="utf-8")
    with installed(FakeDriver([card])):
        recover(Nvml(), card.uuid, card, folder=folder)
        cap = PowerCap(Nvml(), card.uuid, card, folder=folder)
        cap.apply(300.0)
        assert card.limit_mw == 300_000
        cap.close()
    assert card.limit_mw == 450_000


def test_a_hostile_original_is_held_within_what_the_card_allows(tmp_path: Path) -> None:
    card = FakeCard(limit_mw=300_000)
    lease = {"boot_s": psutil.boot_time(), "original_w": 1e9, "set_w": [300.0], "holders": []}
    (tmp_path / f"{card.uuid}.json").write_text(json.dumps(lease))
    with installed(FakeDriver([card])):
        recover(Nvml(), card.uuid, card, folder=tmp_path)
    assert card.limit_mw == 480_000


def test_a_lock_that_another_process_keeps_delays_and_does_not_fail(tmp_path: Path) -> None:
    card = FakeCard()
    with capped(card, tmp_path) as cap:
        with FileLock(tmp_path / f"{card.uuid}.lock"):
            cap.apply(300.0)
            recover(Nvml(), card.uuid, card, folder=tmp_path)
        assert card.limit_mw == 450_000
        assert not cap.given_up
        cap.apply(300.0)
        assert card.limit_mw == 300_000


def test_a_real_reader_has_a_cap_and_closing_the_reader_leaves_it_working(tmp_path: Path) -> None:
    card = FakeCard()
    with installed(FakeDriver([card])):
        nvml = Nvml()
        reader = NvmlReader(nvml, visible(list_cards(nvml), {})[0])
        cap = open_cap(reader, folder=tmp_path)
        assert isinstance(cap, PowerCap)
        cap.apply(300.0)
        reader.close()
        cap.close()
    assert card.limit_mw == 450_000

"""Several runs on one card: the strictest verdict counts, what a dead one said grows old, rubbish harms nobody."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from channelscribe.core.gpu import Cause, Decision, Zone
from channelscribe.gpu.judgement import FRESH_S, Judgement
from tests.channelscribe.gpu.bench import StepClock

RUN = Decision(Zone.RUN)
SLOW = Decision(Zone.SLOW, Cause.TEMPERATURE, "warm", 72.0, 75.0, 70.0, "°C", None, 0.5, 0.75)
PAUSE = Decision(Zone.PAUSE, Cause.TEMPERATURE, "76 °C, over 75 °C", 76.0, 75.0, 70.0, "°C", 40.0)


@pytest.fixture
def clock() -> StepClock:
    return StepClock()


def runs(folder: Path, clock: StepClock, *names: str, card: str = "GPU-1") -> list[Judgement]:
    return [Judgement(card, name, folder=folder, clock=clock) for name in names]


def test_a_run_alone_hears_itself(tmp_path: Path, clock: StepClock) -> None:
    (alone,) = runs(tmp_path, clock, "a")
    assert [alone.consult(d) for d in (RUN, SLOW, PAUSE, RUN)] == [RUN, SLOW, PAUSE, RUN]


def test_the_strictest_counts_for_all_and_says_who_judged(tmp_path: Path, clock: StepClock) -> None:
    first, second, third = runs(tmp_path, clock, "sync A", "sync B", "sync C")
    first.consult(PAUSE)
    third.consult(SLOW)
    heard = second.consult(RUN)
    assert (heard.zone, heard.cause, heard.value, heard.limit, heard.expected_wait_s) == (
        Zone.PAUSE, Cause.TEMPERATURE, 76.0, 75.0, 40.0,
    )  # fmt: skip
    assert "sync A" in heard.reason and "76 °C" in heard.reason
    assert first.consult(PAUSE) == PAUSE


def test_what_was_heard_is_not_told_on_so_that_a_pause_ends(tmp_path: Path, clock: StepClock) -> None:
    first, second = runs(tmp_path, clock, "a", "b")
    first.consult(PAUSE)
    assert second.consult(RUN).zone is Zone.PAUSE
    assert first.consult(RUN) == RUN
    assert second.consult(RUN) == RUN


def test_what_a_killed_run_said_is_forgotten_soon(tmp_path: Path, clock: StepClock) -> None:
    (alive,) = runs(tmp_path, clock, "alive")
    code = (
        "import os, signal, sys; from pathlib import Path; from tests.channelscribe.gpu.test_judgement import *\n"
        "(j,) = runs(Path(sys.argv[1]), StepClock(), 'killed'); j.consult(PAUSE); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=Path(__file__).parents[3], timeout=120)
    assert done.returncode != 0
    assert alive.consult(RUN).zone is Zone.PAUSE
    clock.sleep(FRESH_S + 1)
    assert alive.consult(RUN) == RUN


def test_a_run_that_goes_takes_its_word_with_it(tmp_path: Path, clock: StepClock) -> None:
    first, second = runs(tmp_path, clock, "a", "b")
    first.consult(PAUSE)
    first.withdraw()
    first.withdraw()
    assert second.consult(RUN) == RUN


def test_another_card_is_another_matter(tmp_path: Path, clock: StepClock) -> None:
    (hot,), (cool,) = runs(tmp_path, clock, "a", card="GPU-1"), runs(tmp_path, clock, "b", card="GPU-2")
    hot.consult(PAUSE)
    assert cool.consult(RUN) == RUN


@pytest.mark.parametrize("cause", [Cause.MEMORY, Cause.LEAK, Cause.STALL, Cause.SENSOR, Cause.FOREIGN, Cause.PERSON])
def test_what_concerns_one_process_is_not_shared(tmp_path: Path, clock: StepClock, cause: Cause) -> None:
    first, second = runs(tmp_path, clock, "a", "b")
    first.consult(Decision(Zone.PAUSE, cause, "mine"))
    assert second.consult(RUN) == RUN


def test_companions_are_known_by_their_process(tmp_path: Path, clock: StepClock) -> None:
    first, second = runs(tmp_path, clock, "a", "b")
    first.consult(RUN)
    second.consult(RUN)
    assert second.companions == {os.getpid()}
    clock.sleep(FRESH_S + 1)
    second.consult(RUN)
    assert second.companions == set()


RUBBISH = [
    b"", b"{", b"[]", b"null", b"[" * 100_000, b"\xff\xfe", b'{"who": "x"}', b'"text"',
    json.dumps({"who": "x", "pid": 1, "at_s": "soon", "decision": {}}).encode(),
    json.dumps({"who": "x", "pid": 1, "at_s": 1e300, "decision": {"zone": "pause", "cause": "none"}}).encode(),
    json.dumps({"who": "x", "pid": 1, "at_s": 0, "decision": {"zone": "melt", "cause": "none"}}).encode(),
    json.dumps({"who": "x", "pid": 1, "at_s": 0, "decision": 7}).encode(),
]  # fmt: skip


def test_rubbish_in_the_folder_is_no_verdict(tmp_path: Path, clock: StepClock) -> None:
    (judge,) = runs(tmp_path, clock, "a")
    judge.consult(RUN)
    folder = next(tmp_path.iterdir())
    for number, content in enumerate(RUBBISH):
        (folder / f"{number}.json").write_bytes(content)
    (folder / "folder.json").mkdir()
    assert judge.consult(RUN) == RUN
    assert judge.consult(PAUSE) == PAUSE


def test_numbers_of_others_are_bounded(tmp_path: Path, clock: StepClock) -> None:
    (judge,) = runs(tmp_path, clock, "a")
    judge.consult(RUN)
    decision = {"zone": "slow", "cause": "temperature", "duty": -5, "batch_share": 1e9, "value": "hot", "limit": True}
    said = {"who": "x" * 9999, "pid": 1, "at_s": clock.now().timestamp(), "decision": decision | {"reason": "y" * 9999}}
    (next(tmp_path.iterdir()) / "x.json").write_text(json.dumps(said))
    heard = judge.consult(RUN)
    assert heard.zone is Zone.SLOW
    assert 0 < heard.duty <= 1 and 0 < heard.batch_share <= 1
    assert heard.value is None and len(heard.reason) < 2000


def test_without_a_folder_each_judges_alone(tmp_path: Path, clock: StepClock) -> None:
    (tmp_path / "file").write_text("in the way")
    (judge,) = runs(tmp_path / "file", clock, "a")
    assert [judge.consult(d) for d in (RUN, PAUSE)] == [RUN, PAUSE]
    judge.withdraw()


def test_a_card_with_a_hostile_name_stays_in_the_folder(tmp_path: Path, clock: StepClock) -> None:
    (judge,) = runs(tmp_path / "inside", clock, "a", card="../../../evil\x00/GPU")
    judge.consult(PAUSE)
    assert [p.name for p in tmp_path.iterdir()] == ["inside"]

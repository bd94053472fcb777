"""The plan: correct first, the best mode for all that follows, and a parent that has never heard of torch."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.gpu.__main__ import chosen, main
from benchmarks.gpu.modes import ALONE, AS_IT_IS, PLAIN, TOGETHER, Mode, fastest, without_switches
from benchmarks.gpu.outcome import DONE, RIGHT, WRONG, Outcome
from benchmarks.gpu.part import WORKS, work_of
from benchmarks.gpu.plan import FAULTS, Asked, Found, Part, plan
from benchmarks.gpu.session import ROOT
from benchmarks.gpu.stage import Stage, rehearsal

STAGE = Stage("folder")


def walked(among: Asked, outcome_of: Callable[[Part], Outcome]) -> list[Part]:
    parts = [next(among)]
    while True:
        try:
            parts.append(among.send(outcome_of(parts[-1])))
        except StopIteration:
            return parts


def judging(right: set[Mode], **found: object) -> Callable[[Part], Outcome]:
    def outcome(part: Part) -> Outcome:
        state = (RIGHT if part.mode in right else WRONG) if part.work == "correctness" else DONE
        return Outcome(part.name, state, found=found if part.work in ("encoder", "steps") else {})

    return outcome


def raced(parts: list[Part]) -> set[Mode]:
    return {part.mode for part in parts if part.work in ("race", "files", "busy")}


def test_words_come_before_speed_and_both_shapes_are_there() -> None:
    works = [part.work for part in walked(plan(STAGE, Found()), judging(set(ALONE)))]
    assert works[:5] == ["facts", *["correctness"] * len(ALONE)]
    assert works.index("checkpoint") < works.index("encoder") < works.index("steps") < works.index("race")
    names = [part.name for part in walked(plan(STAGE, Found()), judging(set(ALONE)))]
    assert len(set(names)) == len(names)
    wanted = (
        "turbo equal",
        "turbo variable",
        "large-v3 equal",
        "large-v3 variable",
        "guard",
        "busy",
        "files",
        "the whole",
    )
    assert all(any(name.startswith(beginning) for name in names) for beginning in wanted)


@pytest.mark.parametrize("stage", [STAGE, rehearsal("folder")], ids=["GPU", "rehearsal"])
def test_every_part_is_one_that_a_child_can_do(stage: Stage) -> None:
    for part in walked(plan(stage, Found(), FAULTS), judging(set(ALONE))):
        assert part.work in WORKS and callable(work_of(part.work))
        assert 0 < part.least_s <= part.limit_s


def test_the_first_mode_that_is_right_runs_the_rest() -> None:
    assert raced(walked(plan(STAGE, Found()), judging(set(ALONE)))) == {AS_IT_IS}
    assert raced(walked(plan(STAGE, Found()), judging({ALONE[2], ALONE[3]}))) == {ALONE[2]}


def test_several_faults_at_once_are_tried_only_when_none_alone_is_right() -> None:
    def modes(right: set[Mode]) -> list[Mode]:
        return [part.mode for part in walked(plan(STAGE, Found()), judging(right)) if part.work == "correctness"]

    assert modes({ALONE[3]}) == list(ALONE)
    assert modes({PLAIN}) == [*ALONE, *TOGETHER]
    found = Found()
    assert raced(walked(plan(STAGE, found), judging(set()))) == {PLAIN}
    assert not found.right


def test_of_modes_that_are_right_the_fastest_runs_the_rest() -> None:
    slow = {mode.name: 2.0 for mode in ALONE}
    quick = {**slow, Mode(cudnn=False).name: 1.0}
    assert raced(walked(plan(STAGE, Found()), judging(set(ALONE), by_mode=quick))) == {Mode(cudnn=False)}
    assert raced(walked(plan(STAGE, Found()), judging({AS_IT_IS}, by_mode=quick))) == {AS_IT_IS}
    assert fastest([], {}) is None
    assert fastest(ALONE, {ALONE[0].name: 1.0, ALONE[1].name: 0.99}) == AS_IT_IS
    assert fastest(ALONE, {ALONE[1].name: 0.5}) == AS_IT_IS


@pytest.mark.parametrize("mode", [*ALONE, *TOGETHER], ids=lambda mode: mode.name)
def test_a_mode_travels_in_the_environment(mode: Mode) -> None:
    assert Mode.of(mode.environment()) == mode
    assert without_switches({"PATH": "x", **PLAIN.environment()}) == {"PATH": "x"}


def test_a_stage_travels_as_json() -> None:
    import json

    assert Stage.of(json.loads(rehearsal("folder").json())) == rehearsal("folder")


def test_only_some_parts_can_be_asked_for() -> None:
    some = walked(chosen(plan(STAGE, Found(), ("hang",)), ["facts", "guard"]), lambda part: Outcome(part.name, DONE))
    assert [part.name for part in some] == ["facts", "broken on purpose: hang", "guard"]


def test_the_parent_never_imports_torch(tmp_path: Path) -> None:
    """Not even while it runs: here a plan of which no part is begun."""
    code = "import sys, benchmarks.gpu.__main__ as m; m.main(sys.argv[1:]); print([n for n in ('torch', 'numpy', 'channelscribe') if n in sys.modules])"  # fmt: skip  # noqa: E501
    asked = ["--rehearse", "--only", "nothing", "--out", str(tmp_path / "out"), "--folder", str(tmp_path / "work")]
    found = subprocess.run([sys.executable, "-c", code, *asked], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.splitlines()[-1] == "[]"


def test_unknown_faults_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--rehearse", "--break", "hang,quake"]) == 2
    assert capsys.readouterr().err == f"quake is no fault; choose among {', '.join(FAULTS)}.\n"

"""The parent of the twelve minutes with parts that go wrong in every way: the others' results are there, always."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.gpu.limited import DIED, FAILED, OVER_MEMORY, OVER_TIME
from benchmarks.gpu.outcome import DONE, GARBLED, LEFT_OUT, RIGHT, SKIPPED, WRONG, Outcome
from benchmarks.gpu.part import WORKS, main
from benchmarks.gpu.plan import FAULTS, Asked, Part, broken
from benchmarks.gpu.results import MOST_FILES, Results
from benchmarks.gpu.session import ROOT, Session
from benchmarks.gpu.stage import Stage
from tests.benchmarks.gpu.processes import alive, child_of

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="limits are looked up in /proc")
STAGE = Stage("unused", device="cpu")
# A child that writes what a part writes, without the seconds that importing torch takes.
CHILD = """
import sys
from pathlib import Path
from benchmarks.gpu.notes import Notes, Skip
notes = Notes(Path(sys.argv[1]))
{code}
"""


def session(tmp_path: Path, codes: dict[str, str], seconds: float = 600.0) -> tuple[Session, Results]:
    def command(part: Part, result: Path) -> list[str]:
        return [sys.executable, "-c", CHILD.format(code=codes[part.name]), str(result)]

    results = Results(tmp_path / "out", {"what": "a test"})
    return Session(results, STAGE, seconds, 1 << 30, command), results


def parts(*names: str, limit_s: float = 60.0, least_s: float = 0.0, keeps: tuple[str, ...] = ()) -> Asked:
    for name in names:
        yield Part(name, "fake", limit_s, least_s, keeps=keeps)


def go(tmp_path: Path, codes: dict[str, str]) -> dict[str, Outcome]:
    running, results = session(tmp_path, codes)
    running.go(parts(*codes))
    written = json.loads((tmp_path / "out" / "results.json").read_text(encoding="utf-8"))
    assert [one["name"] for one in written["parts"]] == list(codes)
    return {one.name: one for one in results.outcomes}


def test_each_way_to_end_has_its_word_and_costs_no_other_part(tmp_path: Path) -> None:
    found = go(
        tmp_path,
        {
            "measures": "notes.put(ms=1)",
            "right": "notes.put(ms=2); notes.judge(True)",
            "wrong once": "notes.judge(False); notes.judge(True)",
            "skips": "notes.skip('nothing to read')",
            "raises": "notes.put(ms=3); notes.fail(ValueError('no')); sys.exit(1)",
            "dies": "notes.put(ms=4); import os; os.abort()",
            "cuts its result off": "notes.path.write_text('{\"found\": {')",
            "writes something else": "notes.path.write_text('[1]')",
            "writes too much": "notes.path.write_text('x' * (2 << 20))",
            "writes nothing": "print('but says something')",
            "last": "notes.put(ms=5)",
        },
    )
    states = [one.state for one in found.values()]
    assert states == [DONE, RIGHT, WRONG, SKIPPED, FAILED, DIED, *[GARBLED] * 4, DONE]
    assert found["skips"].why == "nothing to read"
    assert "ValueError: no" in found["raises"].why
    assert [found[name].found["ms"] for name in ("raises", "dies", "last")] == [3, 4, 5]
    assert "but says something" in found["writes nothing"].why


def test_all_kinds_of_work_are_done_by_children(tmp_path: Path) -> None:
    """Checkpoints too: what the parent's own process holds of a GPU, no part after it can have."""
    begun: list[str] = []

    def command(part: Part, result: Path) -> list[str]:
        begun.append(part.work)
        return [sys.executable, "-c", CHILD.format(code="notes.put()"), str(result)]

    results = Results(tmp_path / "out", {})
    asked = (Part(work, work, 60.0, 0.0, {"arch": "mini"}) for work in WORKS)
    Session(results, replace(STAGE, folder=str(tmp_path)), 600.0, 1 << 30, command).go(asked)  # type: ignore[arg-type]
    assert begun == [one.name for one in results.outcomes] == list(WORKS)


def test_what_a_part_raises_is_noted_with_its_place(tmp_path: Path) -> None:
    told, result = {"stage": json.loads(STAGE.json()), "arguments": {"fault": "quake"}}, tmp_path / "result.json"
    assert main(["broken", json.dumps(told), str(result)]) == 1
    noted = json.loads(result.read_text(encoding="utf-8"))
    assert noted["failed"].startswith("KeyError: 'quake' (broken.py:")
    assert noted["found"]["before"]


def test_a_part_that_cannot_be_started_costs_no_other_part(tmp_path: Path) -> None:
    def command(part: Part, result: Path) -> list[str]:
        code = CHILD.format(code="notes.put()")
        return ["/no/such/program"] if part.name == "none" else [sys.executable, "-c", code, str(result)]

    results = Results(tmp_path / "out", {})
    Session(results, STAGE, 600.0, 1 << 30, command).go(parts("none", "next"))
    assert [one.state for one in results.outcomes] == [FAILED, DONE]
    assert "FileNotFoundError" in results.outcomes[0].why


def test_a_part_that_is_stopped_keeps_what_it_had_measured(tmp_path: Path) -> None:
    running, results = session(
        tmp_path, {"slow": "notes.put(ms=6); import time; time.sleep(60)", "next": "notes.put()"}
    )
    running.go(parts("slow", "next", limit_s=5.0))
    slow, following = results.outcomes
    assert (slow.state, slow.found) == (OVER_TIME, {"ms": 6})
    assert following.state == DONE


def test_results_are_whole_after_each_part(tmp_path: Path) -> None:
    """The plan, which goes on after each part, sees them on disk."""
    seen: list[tuple[int, str, str]] = []

    def watching() -> Iterator[Part]:
        for name in ("one", "two"):
            yield Part(name, "fake", 60.0, 0.0)
            every = json.loads((tmp_path / "out" / "results.json").read_text(encoding="utf-8"))
            said = [(tmp_path / "out" / file).read_text(encoding="utf-8") for file in ("log.txt", "table.md")]
            seen.append((len(every["parts"]), *said))

    running, _ = session(tmp_path, {"one": "notes.put(ms=1)", "two": "notes.put(ms=2)"})
    running.go(watching())  # type: ignore[arg-type]
    assert [count for count, _, _ in seen] == [1, 2]
    assert "one" in seen[0][1] and "two" not in seen[0][2] and "two" in seen[1][2]


def test_what_has_no_time_is_left_out_and_said(tmp_path: Path) -> None:
    running, results = session(tmp_path, {"short": "notes.put()", "long": "notes.put()"}, seconds=30.0)
    running.go(parts("long", least_s=500.0))
    running.go(parts("short"))
    assert [(one.name, one.state) for one in results.outcomes] == [("long", LEFT_OUT), ("short", DONE)]
    assert "may need 500 s" in (tmp_path / "out" / "log.txt").read_text(encoding="utf-8")


def test_no_part_goes_on_beyond_the_end(tmp_path: Path) -> None:
    running, results = session(tmp_path, {"endless": "import time; time.sleep(60)"}, seconds=5.0)
    running.go(parts("endless", limit_s=500.0))
    assert results.outcomes[0].state == OVER_TIME
    assert results.outcomes[0].seconds < 300


def test_files_are_kept_while_they_are_few_and_small(tmp_path: Path) -> None:
    write = "notes.put(); (notes.folder / 'kept.bin').write_bytes(b'x' * {size})"
    running, results = session(tmp_path, {"small": write.format(size=9), "large": write.format(size=5 << 20)})
    running.go(parts("small", keeps=("kept.bin",)))
    assert (tmp_path / "out" / "kept.bin").read_bytes() == b"x" * 9
    running.go(parts("large", keeps=("kept.bin", "missing.bin")))
    assert results.outcomes[-1].why == "kept.bin, missing.bin could not be kept"
    assert results.complaints() == []
    for number in range(MOST_FILES):
        (tmp_path / "out" / f"more-{number}.txt").write_text("x", encoding="utf-8")
    assert any("files" in complaint for complaint in results.complaints())
    assert not results.keep(tmp_path / "out" / "more-0.txt".replace("more", "other"))


def test_large_findings_are_left_out_of_the_results(tmp_path: Path) -> None:
    found = go(tmp_path, {"talks": "notes.put(said='x' * 200_000)"})
    assert list(found["talks"].found) == ["left out"]
    assert (tmp_path / "out" / "results.json").stat().st_size < 10_000


def test_every_fault_on_purpose_is_survived_by_the_real_child(tmp_path: Path) -> None:
    results = Results(tmp_path / "out", {})
    Session(results, STAGE, 600.0, 1 << 30).go(broken(fault) for fault in FAULTS)  # type: ignore[arg-type]
    states = dict(zip(FAULTS, (one.state for one in results.outcomes), strict=True))
    assert states == {
        "hang": OVER_TIME,
        "crash": DIED,
        "abort": DIED,
        "memory": OVER_MEMORY,
        "garbage": GARBLED,
        "orphan": DONE,
    }
    kept = {one.name: one.found for one in results.outcomes if one.state != GARBLED}
    assert all(found["before"] for found in kept.values())
    assert not alive(results.outcomes[-1].found["orphan"])


def test_a_polite_signal_leaves_the_results_and_no_child(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.gpu", "--rehearse", "--break", "hang", "--only", "nothing"]
    running = subprocess.Popen(
        [*command, "--out", str(tmp_path / "out"), "--folder", str(tmp_path / "work")], cwd=ROOT, stdout=subprocess.PIPE
    )
    child = child_of(running.pid)
    running.send_signal(signal.SIGTERM)
    assert running.wait(60) == 128 + signal.SIGTERM
    assert json.loads((tmp_path / "out" / "results.json").read_text(encoding="utf-8"))["parts"] is not None
    assert not alive(child)

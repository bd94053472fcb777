"""Each part at a tiny size in this process: what it is for is in its notes, and what it says is whole."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest

from benchmarks.gpu import flow as flow_part
from benchmarks.gpu import race as race_part
from benchmarks.gpu.encoder_times import encoder_times
from benchmarks.gpu.engine_parts import Steps, first_calls, loaded
from benchmarks.gpu.facts import facts
from benchmarks.gpu.modes import ALONE
from benchmarks.gpu.notes import Notes, Skip
from benchmarks.gpu.outcome import DONE, Outcome
from benchmarks.gpu.plan import window_ms
from benchmarks.gpu.race import files, race, write_files
from benchmarks.gpu.stage import Stage
from benchmarks.gpu.step_times import step_times
from benchmarks.gpu.table import markdown
from benchmarks.gpu.trace import busy
from benchmarks.job import Job
from benchmarks.workloads import descending, many
from tests.benchmarks.gpu.conftest import written

MODES = {mode.name for mode in ALONE}


def noted(notes: Notes) -> dict[str, Any]:
    found: dict[str, Any] = written(notes)["found"]
    return found


def test_facts_name_versions_rates_and_backends(stage: Stage, notes: Notes) -> None:
    facts(stage, notes)
    found = noted(notes)
    assert found["copy_gb_s"] > 0 and found["bf16_tflop_s"] > 0
    assert len(found["attention"]) == 3 and found["gpu"] == {}
    assert found["versions"]["torch"]


def test_the_encoder_is_timed_by_size_and_mode(stage: Stage, notes: Notes) -> None:
    encoder_times(stage, notes, "mini")
    found = noted(notes)
    assert set(found["recorded_ms"]) == set(found["first_call_s"]) == {"1", "2"}
    assert set(found["by_mode"]) == MODES and all(ms > 0 for ms in found["by_mode"].values())
    assert found["kernels"] and found["modules_ms"] > 0 and found["start_to_fetch_ms"] > 0


def test_a_step_is_timed_by_rows_and_places(stage: Stage, notes: Notes) -> None:
    step_times(stage, notes, "mini")
    found = noted(notes)
    for by_rows in found["attention"].values():
        assert set(by_rows) == {"2"} and set(by_rows["2"]["recorded_ms"]) == {"64"}
    assert set(found["by_mode"]) == MODES
    assert found["admission"]["ms_a_window"] > 0 and found["admission"]["launch_host_ms_a_step"] > 0
    encoder = Outcome("encoder", DONE, found={"by_mode": dict.fromkeys(MODES, 2.0)})
    steps = Outcome("steps", DONE, found=found)
    assert all((window_ms(mode, encoder, steps) or 0) > 2.0 for mode in ALONE)


def test_a_run_says_its_row_its_shapes_and_whether_the_words_are_right(stage: Stage, notes: Notes) -> None:
    race(stage, notes, "mini", "variable")
    found = noted(notes)
    assert written(notes)["right"] is True
    assert found["row"]["tokens_ok"] and found["row"]["rtfx"] > 0
    assert found["stages"]["refills"] > 0
    assert found["met_late_s"] == pytest.approx(sum(found["met_late"].values()), abs=0.01)


def test_a_peer_that_is_not_there_is_skipped(stage: Stage, notes: Notes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.peers.find_spec", lambda name: None)
    with pytest.raises(Skip, match="not installed"):
        race(stage, notes, "mini", "equal", engine="faster-whisper")


def test_files_are_written_before_and_heard(stage: Stage, notes: Notes) -> None:
    files(replace(stage, files_s=15.0), notes, "mini")
    found = noted(notes)
    assert written(notes)["right"] is True
    assert found["files"] >= 2 and found["mib"] < 1 and found["row"]["workload"] == "files"


def test_all_files_are_there_before_anything_is_measured(
    stage: Stage, notes: Notes, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[tuple[Job, set[str]]] = []

    def run(_: Stage, __: Notes, job: Job) -> None:
        begun.append((job, {path.stem for path in Path(job.media).iterdir()}))

    monkeypatch.setattr(race_part, "run", run)
    files(replace(stage, files_s=15.0), notes, "mini")
    ((job, there),) = begun
    assert there >= {take.name for take in (*job.work().takes, *job.warmups())}


def test_files_are_encoded_beside_one_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of them waits for the others; one after the other none would ever come."""
    together = Barrier(3)
    monkeypatch.setattr(race_part, "_write_file", lambda folder, take: together.wait(60))
    write_files(list(many(3).takes), tmp_path, 3)


def test_files_are_written_once_by_many_threads(tmp_path: Path) -> None:
    takes = list(many(3).takes)
    write_files(takes, tmp_path, 3)
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert set(before) == {f"{take.name}.m4a" for take in takes}
    write_files(takes, tmp_path, 3)
    assert {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before


def test_a_steady_slice_is_looked_at_and_the_trace_thrown_away(stage: Stage, notes: Notes) -> None:
    busy(replace(stage, first_s=90.0, slice_s=0.05), notes, "mini")
    found = noted(notes)
    assert found["timeline"]["kernels"] == 0  # on a CPU there are none
    assert found["run"]["windows"] > 0
    assert [path.name for path in notes.folder.iterdir()] == ["result.json"]


def test_what_the_flow_needs_is_named(stage: Stage, notes: Notes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow_part, "find_spec", lambda name: None if name in ("prefect", "duckdb") else object())
    with pytest.raises(Skip, match="needs prefect, duckdb"):
        flow_part.flow(stage, notes)


def test_a_shape_counts_as_new_once(mini: Path) -> None:
    whisper = loaded(mini, "cpu", "float32")
    steps = Steps(whisper, 2)
    steps.fill()
    with first_calls() as met:
        for length in (64, 64, 128):
            steps.recorded(length)
    assert list(met) == ["2 rows, 64 places", "2 rows, 128 places"]
    with first_calls() as met:
        steps.fill()
    assert met == {}


def test_warming_meets_every_number_of_rows_that_slots_compute_in(mini: Path) -> None:
    steps = Steps(loaded(mini, "cpu", "float32"), 13)
    with first_calls() as met:
        for live in range(1, 14):
            steps.fill()
            steps.slots.drop(range(live, 13))
            steps.slots.launch(1)
    assert {int(name.split()[0]) for name in met} == {len(take.tokens) for take in descending(13)}


def test_the_tables_hold_what_the_parts_found(stage: Stage, notes: Notes) -> None:
    step_times(stage, notes, "mini")
    race(replace(stage, first_s=30.0), notes, "mini", "equal")
    page = markdown({"what": "a test"}, [Outcome("both", DONE, found=noted(notes)), Outcome("none", "died", why="a|b")])
    for heading in ("Whole runs", "One decode step", "Parts"):
        assert f"## {heading}" in page
    rows = [line for line in page.splitlines() if line.startswith("|")]
    assert all(line.endswith("|") for line in rows) and "a/b" in page

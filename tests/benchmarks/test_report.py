"""The lines of `make bench BENCH_ARGS=--json` have exactly the form that was agreed; sections are added, never lost."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import report, throughput
from benchmarks.gpu.__main__ import main as gpu_main
from benchmarks.gpu.trace import timeline
from benchmarks.gpu.watch import watched
from benchmarks.job import Job, Result
from benchmarks.report import Measured

KEYS = "engine workload model device dtype audio_s wall_s cpu_s rtfx peak_mib windows tokens_ok".split()  # noqa: SIM905


def measured(engine: str = "channelscribe", *cpu_s: float, ok: bool = True, stages: object = None) -> Measured:
    job = Job(engine, "variable", "tiny", "/some/folder", 60.0, 1.0)
    extra = {"mean_occupancy": 0.93} if stages is None else {}
    results = [Result(2.0 * cpu, cpu, 512.04, 3, ok, "", extra) for cpu in cpu_s or (3.0,)]
    return Measured(job, 60.0, tuple(results))


def test_a_json_line_has_the_agreed_keys_and_types() -> None:
    found = json.loads(report.json_line(measured("hf-pipeline", 3.0)))
    assert list(found) == KEYS
    assert found | {"engine": "", "rtfx": 0} == {
        **dict.fromkeys(("engine",), ""),
        "workload": "variable",
        "model": "tiny",
        "device": "cpu",
        "dtype": "float32",
        "audio_s": 60.0,
        "wall_s": 6.0,
        "cpu_s": 3.0,
        "rtfx": 0,
        "peak_mib": 512.0,
        "windows": 3,
        "tokens_ok": True,
    }
    assert found["rtfx"] == 10.0


def test_the_middle_repeat_counts_and_one_wrong_repeat_spoils_all() -> None:
    assert measured("channelscribe", 9.0, 2.0, 4.0).row().cpu_s == 4.0
    wrong = Measured(measured().job, 60.0, (*measured().results, *measured(ok=False).results))
    assert not wrong.row().tokens_ok


def test_the_table_says_how_much_faster_we_are() -> None:
    among = [measured("channelscribe", 2.0), measured("faster-whisper", 5.0, stages={})]
    cells = [report.cells(one, among) for one in among]
    assert all(len(row) == len(report.HEADINGS) for row in cells)
    assert [row[report.HEADINGS.index("ours is faster by")] for row in cells] == ["1.00x", "2.50x"]
    assert [row[report.HEADINGS.index("full")] for row in cells] == ["93%", ""]
    assert report.cells(among[1], among[1:])[report.HEADINGS.index("ours is faster by")] == ""
    assert len(report.markdown(among).splitlines()) == 4


def test_nothing_that_is_written_names_a_folder() -> None:
    assert "/some/folder" not in report.details_line(measured())
    assert "/some/folder" not in report.markdown([measured()])


def test_sections_are_added(tmp_path: Path) -> None:
    path = tmp_path / "RESULTS.md"
    for number in range(2):
        report.append_section(f"Run {number}", "figures", path)
    assert path.read_text(encoding="utf-8") == "# Results\n\n## Run 0\n\nfigures\n\n## Run 1\n\nfigures\n"


def test_the_plan_holds_every_engine_on_every_set() -> None:
    asked = throughput.parser().parse_args(["--joined", "--models", "tiny,base", "--minutes", "2"])
    jobs = throughput.jobs_of(asked)
    assert len(set(jobs)) == len(jobs)
    for model in ("tiny", "base"):
        for workload in throughput.WORKLOADS:
            of = [job for job in jobs if (job.model, job.workload) == (model, workload)]
            assert {job.engine for job in of} == set(throughput.ENGINES)
            assert [job.dtype for job in of if job.engine == "faster-whisper" and not job.variant] == [
                "float32",
                "int8",
            ]
    assert [job.workload for job in jobs if job.variant] == ["variable", "variable"]


def test_a_child_that_fails_says_why() -> None:
    with pytest.raises(RuntimeError, match="no-such-folder"):
        throughput.measured_once(Job("hf-generate", "equal", "tiny", "no-such-folder", 30.0, 1.0))


def test_the_gpu_part_refuses_without_a_gpu(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    assert gpu_main(["--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "out").exists()
    with watched("cpu") as seen:
        pass
    assert seen() == {}


def test_a_timeline_counts_graphs_and_overlap() -> None:
    kernel = {"cat": "kernel", "name": "k", "tid": 7}
    events = [
        {"cat": "cuda_runtime", "name": "cudaGraphLaunch", "ts": 0, "dur": 1, "tid": 1},
        {**kernel, "ts": 0.0, "dur": 10.0, "args": {"stream": 7}},
        {**kernel, "ts": 5.0, "dur": 10.0, "args": {"stream": 13}},
        {**kernel, "ts": 19.0, "dur": 1.0, "args": {"stream": 7}},
    ]
    found = timeline(events)
    assert (found.kernels, found.streams, found.graph_launches) == (3, 2, 1)
    assert (found.busy_share, found.overlap_share) == pytest.approx((0.8, 0.25))
    assert timeline([]).kernels == 0

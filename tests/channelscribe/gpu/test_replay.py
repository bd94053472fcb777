"""Recorded traces: written, read back, played, and refused when they are none."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from channelscribe.core.errors import UsageError
from channelscribe.core.gpu import Cause, Decision, GpuProcess, GpuSample, Load, Reading, Zone
from channelscribe.core.guard import GuardPolicy
from channelscribe.gpu.backtest import backtest
from channelscribe.gpu.closed import VirtualClock
from channelscribe.gpu.policy import decide, start
from channelscribe.gpu.replay import open_replay, read_trace, write_trace

TRACES = Path(__file__).parent / "traces"
AT = datetime(2026, 11, 21, tzinfo=UTC)


def reading(second: int, run: str = "run", uuid: str = "GPU-1") -> Reading:
    at = AT + timedelta(seconds=second)
    processes = (GpuProcess(5, 1 << 30, True, "me"), GpuProcess(6, None, False))
    sample = GpuSample(
        uuid, "Card", at, at.timestamp(), temp_c=50.0 + second, xids=(1,), processes=processes, errors=("odd",)
    )  # fmt: skip
    return Reading(run, sample, Load("decode", 8, 3, 2, 0.5, 1.0, 0.25), Decision(Zone.SLOW, Cause.POWER, "warm"))


def test_what_is_written_is_read(tmp_path: Path) -> None:
    readings = [reading(i) for i in range(5)]
    write_trace(tmp_path / "t.parquet", readings)
    points = read_trace(tmp_path / "t.parquet")
    assert [(p.sample, p.load) for p in points] == [(r.sample, r.load) for r in readings]
    assert {p.zone for p in points} == {"slow"}


def test_the_newest_run_of_a_folder_is_taken_or_the_one_named(tmp_path: Path) -> None:
    write_trace(tmp_path / "b.parquet", [reading(i, "old") for i in range(3)])
    write_trace(tmp_path / "a.parquet", [reading(i, "new") for i in range(10, 14)] + [reading(2, "new", "GPU-2")])
    assert len(read_trace(tmp_path)) == 4
    assert len(read_trace(tmp_path, "old")) == 3
    with pytest.raises(UsageError, match="no run"):
        read_trace(tmp_path, "none")


def test_rows_of_other_versions_and_tools_are_read_leniently(tmp_path: Path) -> None:
    rows = [{"at": AT, "temp_c": None, "power_w": float("nan"), "lost": None, "new_column": 1}]
    rows += [{"at": AT + timedelta(seconds=1), "temp_c": 61.5, "power_w": 200.0, "lost": False, "new_column": 2}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "t.parquet")
    first, second = (p.sample for p in read_trace(tmp_path / "t.parquet"))
    assert (first.temp_c, first.power_w, second.temp_c, second.power_w) == (None, None, 61.5, 200.0)
    pq.write_table(pa.table({"at": [AT.replace(tzinfo=None)], "temp_c": ["hot"]}), tmp_path / "u.parquet")
    assert read_trace(tmp_path / "u.parquet")[0].sample.temp_c is None


def test_what_is_no_trace_is_refused(tmp_path: Path) -> None:
    good = tmp_path / "good.parquet"
    write_trace(good, [reading(0)])
    whole = good.read_bytes()
    (tmp_path / "cut.parquet").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.parquet").write_text("temp_c\n50\n")
    (tmp_path / "none.parquet").write_bytes(b"")
    pq.write_table(pa.table({"a": [1]}), tmp_path / "other.parquet")
    pq.write_table(pa.table({"at": pa.array([], pa.timestamp("us", "UTC")), "temp_c": pa.array([], pa.float64())}),
                   tmp_path / "empty.parquet")  # fmt: skip
    (tmp_path / "folder").mkdir()
    codes = {"cut": "bad_trace", "text": "bad_trace", "none": "bad_trace", "other": "foreign_trace",
             "empty": "empty_trace", "missing": "no_trace"}  # fmt: skip
    for name, code in codes.items():
        with pytest.raises(UsageError) as refused:
            read_trace(tmp_path / f"{name}.parquet")
        assert refused.value.code == code
    with pytest.raises(UsageError, match="no Parquet"):
        read_trace(tmp_path / "folder")


def test_a_trace_plays_in_the_time_of_its_clock_and_from_the_beginning_again(tmp_path: Path) -> None:
    write_trace(tmp_path / "t.parquet", [reading(i) for i in range(5)])
    clock = VirtualClock()
    reader = open_replay(tmp_path / "t.parquet", clock)
    seen = []
    for _ in range(7):
        sample = reader.sample()
        assert sample.monotonic_s == clock.monotonic()
        seen.append(sample.temp_c)
        clock.sleep(1.0)
    assert seen == [50.0, 51.0, 52.0, 53.0, 54.0, 50.0, 51.0]


@pytest.mark.parametrize("path", sorted(TRACES.glob("*.parquet")), ids=lambda p: p.stem)
def test_our_policy_never_lets_a_recorded_trace_run_over_its_ceiling(path: Path) -> None:
    policy, state = GuardPolicy(), start()
    for point in read_trace(path):
        state, decision = decide(policy, state, point.sample, point.load)
        if (point.sample.temp_c or 0) > policy.temp_c:
            assert decision.zone in (Zone.PAUSE, Zone.STOP)
            assert decision.reason


def test_the_guarded_trace_is_judged_today_as_it_was_when_it_was_recorded() -> None:
    points = read_trace(TRACES / "simulated-fan-failure-guarded.parquet")
    policy, state, zones = GuardPolicy(), start(), []
    for point in points:
        sample = replace(point.sample, monotonic_s=point.sample.monotonic_s - points[0].sample.monotonic_s)
        state, decision = decide(policy, state, sample, point.load)
        zones.append(str(decision.zone))
    same = sum(a == p.zone for a, p in zip(zones, points, strict=True))
    assert same >= 0.95 * len(points)


def test_the_open_loop_table_tells_who_would_have_let_it_run_hot() -> None:
    found = backtest(str(TRACES / "simulated-hot-unguarded.parquet"), GuardPolicy())
    rows = {row.name: row for row in found.rows}
    assert not found.closed_loop
    assert rows["no guard"].exposed_s > 400
    assert rows["ours"].exposed_s == 0
    assert rows["no guard"].energy_j == rows["ours"].energy_j

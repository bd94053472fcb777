"""The sets are the same everywhere, and no window is asked to hold more than it can."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.clocked import MOST_TOKENS, TOKEN_S
from benchmarks.job import Job, workload_of
from benchmarks.workloads import LONGEST_S, SHORTEST_S, WINDOW, Workload, encoded, equal, many, variable
from channelscribe.core.window import RATE_HZ

SETS = (equal(40), variable(20_000.0), variable(600.0, scale=1 / 60), many(50))


@pytest.mark.parametrize("work", SETS, ids=lambda work: f"{work.name}-{work.windows}")
def test_every_window_can_hold_its_tokens(work: Workload) -> None:
    for take in work.takes:
        assert SHORTEST_S <= take.duration_s <= LONGEST_S + 30
        lengths = [len(pcm) for pcm in take.windows()] if take.duration_s < 100 else []
        for count, length in zip(take.tokens, lengths, strict=bool(lengths)):
            assert 1 <= count <= MOST_TOKENS
            assert count * TOKEN_S <= length / RATE_HZ
        assert take.tokens and RATE_HZ <= take.last <= WINDOW
    assert len({take.name for take in work.takes}) == len(work.takes)
    assert work.audio_s == pytest.approx(sum(take.duration_s for take in work.takes))


def test_the_same_set_everywhere() -> None:
    assert variable(600.0, scale=1 / 60) == variable(600.0, scale=1 / 60)
    take = variable(60.0, scale=1 / 60).takes[0]
    assert np.array_equal(take.pcm(), take.pcm())
    assert len(take.pcm()) == round(take.duration_s * RATE_HZ)


def test_lengths_and_densities_vary_as_a_channels_do() -> None:
    work = variable(100_000.0)
    lengths = [take.duration_s for take in work.takes]
    counts = [count for take in work.takes for count in take.tokens]
    assert min(lengths) < 60 and max(lengths) > 3600
    assert min(counts) < 20 and max(counts) > 180
    assert 60 < sum(counts) / len(counts) < 120


def test_equal_windows_come_in_files_that_fill_a_batch() -> None:
    assert [len(take.tokens) for take in equal(40).takes] == [16, 16, 8]
    assert {count for take in equal(40).takes for count in take.tokens} == {120}


def test_jobs_travel_as_json_and_name_their_set() -> None:
    import json

    job = Job("channelscribe", "many-7", "mini", "folder", 60.0, 0.5)
    assert Job(**json.loads(job.json())) == job
    assert len(job.work().takes) == 7
    assert workload_of("files", 60.0, 0.01).name == "files"
    assert job.warm().tokens == (20, 100)


def test_warming_halves_the_rows_and_runs_through_all_lengths() -> None:
    from dataclasses import replace

    job = Job("channelscribe", "equal", "mini", "folder", 60.0, 1.0, "cuda", batch=200)
    assert [len(take.tokens) for take in job.warmups()] == [200, 100, 50, 25, 13, 7, 4, 2]
    assert len({take.name for take in job.warmups()}) == 8
    assert all(min(take.tokens) > 128 for take in job.warmups())
    assert replace(job, device="cpu").warmups() == (replace(job, device="cpu").warm(),)


def test_files_are_written_once(tmp_path: object) -> None:
    from pathlib import Path

    work, written = many(3), list[int]()

    def write(pcm: np.ndarray) -> bytes:  # type: ignore[type-arg]
        written.append(len(pcm))
        return b"m4a"

    folder = Path(str(tmp_path)) / "media"
    paths = encoded(work, folder, write)
    assert encoded(work, folder, write) == paths
    assert written == [len(take.pcm()) for take in work.takes]

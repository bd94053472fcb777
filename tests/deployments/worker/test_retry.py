"""Retry in the dashboard: the same run, only what failed, on the videos that the run began with."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pandas as pd
import pytest

from tests.deployments.worker.channels import MENDED, TOLERATED, channel, film
from tests.deployments.worker.installation import Installation
from tests.emulators.youtube.world import Availability, MediaSpec
from tests.flows.tables import attempts, table

pytestmark = [
    pytest.mark.prefect,
    pytest.mark.slow,
    pytest.mark.skipif(os.name == "nt", reason="signals are POSIX here"),
]


def heal(site: Installation, handle: str) -> None:
    """The private film is published, the broken one is mended."""
    for video in site.films(handle):
        site.youtube.world.change(video.id, availability=Availability.OK, media=MediaSpec(video.media.score))


def expected_bad(site: Installation, handle: str) -> set[str]:
    """The films that are private or broken now."""
    plain = (Availability.OK, "none")
    return {v.id for v in site.films(handle) if (v.availability, str(v.media.damage)) != plain}


def test_a_failed_run_shows_what_failed_and_its_retry_does_only_that(site: Installation, tmp_path: Path) -> None:
    bad = expected_bad(site, MENDED)
    good = {v.id for v in site.films(MENDED)} - bad
    assert (len(good), len(bad)) == (2, 2)
    run_id = site.api.start(source=f"@{MENDED}", data=str(tmp_path), selection={"latest": 0})
    assert site.api.ended(run_id)["state_type"] == "FAILED", site.api.message(run_id)
    assert site.api.message(run_id) == "4 videos: 2 done, 2 failed."
    assert set(site.documents(MENDED)) == good
    assert_page(site, run_id, bad)
    requests, rows = site.media_requests(MENDED), attempts(tmp_path, run_id)

    heal(site, MENDED)
    late = film(site.youtube.world, channel(site.youtube.world, MENDED), "Published in between", 690, days_ago=-1)
    site.api.press_retry(run_id)
    assert site.api.ended(run_id)["state_type"] == "COMPLETED", site.api.message(run_id)
    assert site.api.message(run_id) == "4 videos: 4 done."
    assert_whole_account(tmp_path, run_id, rows, site.api.artifacts(run_id)["run-summary"]["data"])
    assert site.documents(MENDED) == dict.fromkeys(good | bad, 1)
    after = site.media_requests(MENDED)
    assert {v: after[v] for v in good} == {v: requests[v] for v in good}
    assert after[late.id] == 0
    assert tried_after(tmp_path, run_id, len(rows)) == bad

    again = site.api.start(source=f"@{MENDED}", data=str(tmp_path))
    assert site.api.ended(again)["state_type"] == "COMPLETED"
    assert site.api.message(again) == "5 videos: 1 done, 4 already done."
    assert site.documents(MENDED) == dict.fromkeys(good | bad | {late.id}, 1)


def assert_whole_account(data: Path, run_id: str, first: pd.DataFrame, summary: str) -> None:
    """The account of a retried run covers all its attempts: never more sound than time would allow by far."""
    run = table(data, "runs").set_index("run_id").loc[run_id]
    assert (run["videos"], run["done"], run["failed"], run["state"]) == (4, 4, 0, "Completed")
    assert run["started_at"] <= first["at"].min()
    assert run["wall_s"] >= first["seconds"].max()
    assert run["audio_s"] == pytest.approx(4 * 8.0, abs=0.5)
    assert "| documents verified | 4 |" in summary


def tried_after(data: Path, run_id: str, before: int) -> set[str]:
    """The videos of the attempts that came after the first `before` ones of the run."""
    rows = attempts(data, run_id).sort_values("at")
    return {v for v in rows["video_id"].iloc[before:] if v}


def assert_page(site: Installation, run_id: str, bad: set[str]) -> None:
    """What a person reads on the run's page."""
    artifacts = site.api.artifacts(run_id)
    rows = json.loads(artifacts["not-done"]["data"])
    assert {row["link"].rsplit("=", 1)[-1] for row in rows} == bad
    assert list(rows[0])[:2] == ["video", "reason"]
    assert {row["class"] for row in rows} == {"permanent", "poisoned"}
    assert all(len(row["reason"]) > 15 and row["reason"].endswith(".") for row in rows)
    summary = artifacts["run-summary"]["data"]
    assert "Press **Retry**" in summary
    assert all(row["reason"] in summary for row in rows)
    titles = {v.title for v in site.films(MENDED)} - {"Published in between"}
    good = {title for title in titles if "cut" not in title and "broken" not in title}
    names = site.api.task_names(run_id)
    assert good | {f"{step}: {title}" for step in ("download", "transcribe", "upload") for title in good} <= names
    assert {f"discover @{MENDED}", "The broken film"} <= names


def test_a_run_that_tolerates_failures_is_completed_and_may_be_retried(site: Installation, tmp_path: Path) -> None:
    bad = expected_bad(site, TOLERATED)
    good = {v.id for v in site.films(TOLERATED)} - bad
    run_id = site.api.start(source=f"@{TOLERATED}", data=str(tmp_path), tolerate_failures=True)
    assert site.api.ended(run_id)["state_type"] == "COMPLETED", site.api.message(run_id)
    assert site.api.message(run_id) == "2 videos: 1 done, 1 failed."
    assert "not-done" in site.api.artifacts(run_id)
    requests = site.media_requests(TOLERATED)

    heal(site, TOLERATED)
    site.api.press_retry(run_id, force=False)  # without force Prefect may refuse to retry what is Completed
    assert site.api.ended(run_id)["state_type"] == "COMPLETED"
    assert site.api.message(run_id) == "2 videos: 2 done."
    assert site.documents(TOLERATED) == dict.fromkeys(good | bad, 1)
    assert {v: site.media_requests(TOLERATED)[v] for v in good} == {v: requests[v] for v in good}
    assert table(tmp_path, "runs").set_index("run_id").loc[run_id, "state"] == "Completed"

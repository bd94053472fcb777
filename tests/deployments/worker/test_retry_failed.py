"""`retry-failed` and `plan` from their forms, through the worker: shown first, then only what failed is done again."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.deployments.worker.channels import CHOSEN
from tests.deployments.worker.installation import Installation
from tests.emulators.youtube.world import Availability, MediaSpec
from tests.flows.tables import attempts, table

pytestmark = [
    pytest.mark.prefect,
    pytest.mark.slow,
    pytest.mark.skipif(os.name == "nt", reason="signals are POSIX here"),
]
SYNC, RETRY, PLAN = "sync-channel/on-demand", "retry-failed/retry-failed", "plan/plan"


def submit(site: Installation, deployment: str, **parameters: Any) -> httpx.Response:
    """What pressing Run on the form sends."""
    known = site.api.ask("GET", f"/deployments/name/{deployment}")
    body = {"parameters": parameters, "state": {"type": "SCHEDULED", "name": "Scheduled"}}
    with httpx.Client(trust_env=False, timeout=60) as client:
        return client.post(f"{site.api.url}/deployments/{known['id']}/create_flow_run", json=body)


def started(site: Installation, deployment: str, **parameters: Any) -> str:
    for _ in range(30):
        answer = submit(site, deployment, **parameters)
        if answer.status_code != 503:  # Prefect's word for a busy database
            break
    assert answer.is_success, answer.text
    return str(answer.json()["id"])


def rows_of(site: Installation, run_id: str, key: str) -> list[tuple[str, ...]]:
    """The video, what becomes of it, and its kind of failure, of each row of a table artifact."""
    rows = json.loads(site.api.artifacts(run_id)[key]["data"])
    return [(r["link"].rsplit("=", 1)[-1], r.get("then", ""), r.get("class", "")) for r in rows]


def test_failed_videos_are_shown_then_tried_again_from_the_form(site: Installation, tmp_path: Path) -> None:
    good, private, broken = site.films(CHOSEN)
    data = str(tmp_path)
    synced = started(site, SYNC, source=f"@{CHOSEN}", data=data)
    shown = started(
        site, RETRY, failed={"failure_classes": ["permanent"], "stage": "download"}, dry_run=True, data=data
    )
    planned = started(site, PLAN, source=f"@{CHOSEN}", data=data, given={"price_per_kwh": 0.3})
    assert site.api.ended(synced)["state_type"] == "FAILED", site.api.message(synced)

    assert site.api.ended(shown)["state_type"] == "COMPLETED", site.api.message(shown)
    assert site.api.message(shown) == "Dry run: 1 of 2 failed videos chosen: 1 permanent."
    assert rows_of(site, shown, "failed-videos") == [(private.id, "try again", "permanent")]
    assert site.api.run(shown)["name"] == "retry failed: permanent; download"
    assert "stage:download" in site.api.run(shown)["tags"]
    assert_plan(site, planned, private.id)
    assert set(table(tmp_path, "runs")["run_id"]) == {synced}, "a dry run or a plan left a run behind"
    asked, rows = site.media_requests(CHOSEN), len(attempts(tmp_path, synced))

    for video in (private, broken):
        site.youtube.world.change(video.id, availability=Availability.OK, media=MediaSpec(video.media.score))
    wish = {"which": "everything that failed", "channels": [CHOSEN], "release_quarantine": True}
    retried = started(site, RETRY, failed=wish, data=data)
    assert site.api.ended(retried)["state_type"] == "COMPLETED", site.api.message(retried)
    assert site.api.message(retried) == "2 videos: 2 done."
    after = site.media_requests(CHOSEN)
    assert after[good.id] == asked[good.id] and after[private.id] == 1 and after[broken.id] == asked[broken.id] + 1
    assert site.documents(CHOSEN) == {v.id: 1 for v in (good, private, broken)}
    assert set(attempts(tmp_path, retried)["video_id"]) == {private.id, broken.id}
    assert len(attempts(tmp_path, synced)) == rows
    assert {good.title} & site.api.task_names(retried) == set()


def assert_plan(site: Installation, planned: str, private: str) -> None:
    """After the first sync: one film done, one given up, one to be fetched afresh."""
    assert site.api.ended(planned)["state_type"] == "COMPLETED", site.api.message(planned)
    assert site.api.message(planned) == "3 videos: 1 to do, 1 already done, 1 parked."
    assert f"channel:{CHOSEN}" in site.api.run(planned)["tags"]
    page = site.api.artifacts(planned)["plan"]["data"]
    assert "measured in 1 run on cpu" in page and "| money | unknown | the energy is unknown |" in page
    assert rows_of(site, planned, "would-be-skipped") == [(private, "", "")]


def test_a_form_that_cannot_be_is_refused_before_anything_starts(site: Installation) -> None:
    for failed, said in (
        ({"stage": "sleep"}, "'sleep' is not one of ['any step', 'download', 'transcribe', 'upload']"),
        ({"failure_classes": ["fatal"]}, "'fatal' is not one of"),
        ({"most_attempts": -1}, "-1 is less than the minimum of 0"),
    ):
        answer = submit(site, RETRY, failed=failed)
        assert answer.status_code == 409 and said in answer.text, answer.text


def test_the_nightly_retry_waits_for_its_schedule(site: Installation) -> None:
    nightly = site.api.ask("GET", "/deployments/name/retry-failed/retry-nightly")
    assert [s["active"] for s in nightly["schedules"]] == [False]
    assert nightly["parameters"] == {"failed": {"since": "7", "most_attempts": 12}, "tolerate_failures": True}

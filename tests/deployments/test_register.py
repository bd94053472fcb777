"""Deployments as data: what the file says, what reaches the runs, and what must never be written to the server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import Flow
from prefect.flows import load_flow_from_entrypoint

from deployments.register import PREFECT_FILE, job_environment, job_variables, read_specs
from deployments.stack import LIGHT_POOL, POOL


def test_the_file_names_flows_that_exist_and_parameters_they_have() -> None:
    for spec in read_specs(environment={}):
        flow: Flow[..., Any] = load_flow_from_entrypoint(spec.entrypoint)
        assert set(spec.parameters) <= set(flow.parameters.properties)
        assert spec.pool in (POOL, LIGHT_POOL)


def test_no_run_that_waits_for_others_stands_in_their_pool() -> None:
    pools = {spec.name: spec.pool for spec in read_specs(environment={})}
    assert (pools["whole-channel"], pools["shard"]) == (LIGHT_POOL, POOL)


def test_schedules_wait_for_the_operator() -> None:
    schedules = [s for spec in read_specs(environment={}) for s in spec.schedules]
    assert schedules
    assert not any(s["active"] for s in schedules)


def test_the_page_on_upkeep_names_the_schedules_that_there_are() -> None:
    page = (PREFECT_FILE.parents[1] / "docs" / "upkeep.md").read_text(encoding="utf-8")
    written = {row.split("`")[1]: row.split("|")[2] for row in page.splitlines() if row.startswith("| `")}
    for spec in read_specs(environment={}):
        for schedule in spec.schedules:
            minute, hour, day, _, weekday = schedule["cron"].split()
            when = {"1": "first of", "2": "second of", "3": "third of"}.get(day, "")
            when = when or {"0": "Sunday", "6": "Saturday", "*": "every day"}[weekday]
            said = written.pop(spec.name)
            assert when in said and f"{int(hour):02}:{int(minute):02}" in said
    assert not written


def test_no_deployment_has_a_concurrency_limit() -> None:
    assert "concurrency_limit" not in PREFECT_FILE.read_text(encoding="utf-8")


def test_the_environment_fills_the_file() -> None:
    by_name = {spec.name: spec for spec in read_specs(environment={"CHANNELSCRIBE_SOURCE": "@somebody"})}
    assert by_name["daily"].parameters["source"] == "@somebody"
    assert {spec.name: spec for spec in read_specs(environment={})}["daily"].parameters["source"] == ""


def test_settings_and_certificates_reach_the_runs_and_secrets_do_not(tmp_path: Path) -> None:
    environment = {
        "CHANNELSCRIBE_DATA": "/archive",
        "CHANNELSCRIBE_MODEL": "some/model",
        "SSL_CERT_FILE": "/ca.pem",
        "ODIN_API_KEY": "odin-key",
        "ODIN_API_SECRET": "odin-secret",
        "API_SECRET": "old-secret",
        "YOUTUBE_API_KEYS": "yt-key",
        "HTTPS_PROXY": "http://me:password@proxy:3128",
        "CHANNELSCRIBE_ODD": "s3://me:password@bucket",
        "UNRELATED": "x",
        "CUDA_VISIBLE_DEVICES": "1",
        "CHANNELSCRIBE_GPU": "1",
        "CHANNELSCRIBE_CACHE": "/home/me/cache",
        "CHANNELSCRIBE_METRICS_PORT": "9400",
    }
    passed = job_environment(environment)
    assert passed == {"CHANNELSCRIBE_DATA": "/archive", "CHANNELSCRIBE_MODEL": "some/model", "SSL_CERT_FILE": "/ca.pem"}
    variables = job_variables(read_specs(environment={})[0], environment, tmp_path)
    assert variables["env"]["PREFECT_RESULTS_PERSIST_BY_DEFAULT"] == "true"
    assert variables["working_dir"] == str(tmp_path)

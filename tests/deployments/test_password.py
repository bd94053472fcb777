"""An installation whose server has a password: all of it works, nobody else gets in, and no secret stays anywhere.

Also what comes only from a real run: events that automations wait for, and the automation that starts `retry-failed`.
"""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.deployments.worker.api import FINAL, Row, wait_for
from tests.deployments.worker.channels import NIGHTLY
from tests.deployments.worker.installation import Installation, installed

pytestmark = [pytest.mark.prefect, pytest.mark.slow]
PASSWORD = "operator:open-sesame-0123456789"
HEADER = base64.b64encode(PASSWORD.encode()).decode()
SYNC = "sync-channel/on-demand"
SECRETS = ("ODIN_API_KEY", "ODIN_API_SECRET", "YOUTUBE_API_KEYS")


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    given = {"PREFECT_SERVER_API_AUTH_STRING": PASSWORD, "CHANNELSCRIBE_BUDGET_QUOTA": "0"}
    with installed(tmp_path_factory.mktemp("locked"), **given) as up:
        yield up


@pytest.fixture(scope="module")
def synced(locked: Installation) -> Row:
    """A run that is over: what it did and left is there for every test."""
    return ended(locked, SYNC, source=f"@{NIGHTLY}")


def ask(up: Installation, path: str, body: Any = None, method: str = "POST") -> Any:
    """A request of somebody who knows the password; a 503 is Prefect's word for a busy database."""
    with httpx.Client(trust_env=False, timeout=60, headers={"Authorization": f"Basic {HEADER}"}) as client:
        for _ in range(30):
            answer = client.request(method, up.api.url + path, json=body)
            if answer.status_code != 503:
                assert answer.is_success, f"{path}: {answer.status_code} {answer.text}"
                return answer.json() if answer.content else None
            time.sleep(1)
    raise AssertionError(f"{path} stayed busy")


def ended(up: Installation, name: str, **parameters: str) -> Row:
    """A run of the deployment, when it is over."""
    deployment = ask(up, f"/deployments/name/{name}", method="GET")
    run: Row = ask(up, f"/deployments/{deployment['id']}/create_flow_run", {"parameters": parameters})

    def now() -> Row:
        found: Row = ask(up, f"/flow_runs/{run['id']}", method="GET")
        return found

    wait_for(lambda: now()["state_type"] in FINAL, f"the end of {name}")
    return now()


def events(up: Installation, name: str) -> list[Row]:
    found: list[Row] = ask(up, "/events/filter", {"filter": {"event": {"name": [name]}}})["events"]
    return found


@pytest.mark.parametrize("header", [{}, {"Authorization": f"Basic {HEADER[:-4]}AAA="}, {"Authorization": PASSWORD}])
def test_without_the_password_there_is_no_answer(locked: Installation, header: dict[str, str]) -> None:
    with httpx.Client(trust_env=False, timeout=60, headers=header) as client:
        for path in ("/flow_runs/filter", "/block_documents/filter", "/deployments/filter", "/variables/filter"):
            assert client.post(locked.api.url + path, json={}).status_code == 401
        assert client.get(f"{locked.api.url}/admin/settings").status_code == 401
        assert client.get(f"{locked.api.url}/health").status_code == 200


def test_a_run_works_behind_the_password_and_sends_its_events(locked: Installation, synced: Row) -> None:
    assert synced["state_type"] == "COMPLETED", synced["state"]
    assert locked.documents(NIGHTLY) == {v.id: 1 for v in locked.films(NIGHTLY)}
    wait_for(lambda: bool(events(locked, "channelscribe.budget.passed")), "the event of the budget", 60)
    (progress,) = events(locked, "channelscribe.run.progress")
    assert progress["resource"]["prefect.resource.id"] == f"prefect.flow-run.{synced['id']}"
    assert "prefect.tag.channelscribe" in {r["prefect.resource.id"] for r in progress["related"]}
    (over,) = events(locked, "channelscribe.budget.passed")
    assert over["resource"]["prefect.resource.id"] == "channelscribe.budget.quota"
    assert "units of YouTube's quota today; 0 are allowed." in over["payload"]["message"]


def test_the_automation_of_the_retry_is_off_and_switched_on_plans_one_run(locked: Installation) -> None:
    (automation,) = ask(locked, "/automations/filter", {})
    assert (automation["name"], automation["enabled"]) == ("channelscribe: retry what failed", False)
    retry = ask(locked, "/deployments/name/retry-failed/retry-failed", method="GET")
    planned = {"flow_runs": {"deployment_id": {"any_": [retry["id"]]}}}
    assert ask(locked, "/flow_runs/filter", planned) == []
    ask(locked, f"/automations/{automation['id']}", {"enabled": True}, "PATCH")
    failed = ended(locked, SYNC, source="@NobodyHere")
    assert failed["state_type"] == "FAILED"
    wait_for(lambda: bool(ask(locked, "/flow_runs/filter", planned)), "the retry", 60)
    ask(locked, f"/automations/{automation['id']}", {"enabled": False}, "PATCH")
    (run,) = ask(locked, "/flow_runs/filter", planned)
    wait = datetime.fromisoformat(run["expected_start_time"]) - datetime.fromisoformat(failed["end_time"])
    assert timedelta(minutes=9) < wait < timedelta(minutes=12)
    assert run["state_type"] == "SCHEDULED"
    assert run["parameters"]["failed"]["most_attempts"] == 6


@pytest.mark.usefixtures("synced")
def test_no_secret_is_in_what_stays(locked: Installation, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "deployments.cli", "backup", str(tmp_path), "--data", str(locked.data), "--json"]
    done = subprocess.run(
        command, env=locked.environment, cwd=locked.home, capture_output=True, text=True, timeout=300, check=True
    )
    run = ended(locked, "back-up-archive/backup", target=str(tmp_path / "of the deployment"))
    assert run["state_type"] == "COMPLETED" and "1 videos in" in run["state"]["message"], run["state"]
    states = [tar.read_bytes() for tar in tmp_path.rglob("*.tar")]
    saved = [b'"odin-credentials"' in state and b'"youtube-keys"' in state for state in states]
    assert saved == [True, True], "the state of the server is in both backups"
    assert json.loads(done.stdout)["files"] > 1
    secrets = [locked.environment[name].encode() for name in SECRETS] + [PASSWORD.encode(), HEADER.encode()]
    kept = [p for folder in (locked.home, tmp_path) for p in folder.rglob("*") if p.is_file()]
    assert {"prefect.db", "worker.log", "up.txt"} <= {p.name for p in kept}
    assert [p.name for p in kept for secret in secrets if secret in p.read_bytes()] == []
    assert not any(secret.decode() in done.stdout + done.stderr for secret in secrets)

"""The Prefect API as the dashboard uses it: create a run, press Retry, Cancel, edit a block, flip a schedule."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx

FINAL = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
_LONGEST_S = 300.0
_BUSY_TRIES = 30
Row = dict[str, Any]


@dataclass(frozen=True)
class Api:
    """A 503 is Prefect's word for a busy SQLite file; the dashboard asks again, and so does this.

    A question that gets no answer at all is asked again too; what changes something is not.
    """

    url: str

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        with httpx.Client(trust_env=False, timeout=60) as client:
            for _ in range(_BUSY_TRIES):
                try:
                    answer = client.request(method, self.url + path, json=body)
                except httpx.ReadTimeout:
                    assert method == "GET" or path.endswith("/filter"), f"{method} {path}: no answer"
                    continue
                if answer.status_code != 503:
                    assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text}"
                    return answer.json() if answer.content else None
                time.sleep(1)
        raise AssertionError(f"{path} stayed busy")

    def deployment(self, name: str) -> Row:
        found: Row = self.ask("GET", f"/deployments/name/sync-channel/{name}")
        return found

    def start(self, **parameters: Any) -> str:
        """Quick run of the on-demand deployment with these fields of the form."""
        body = {"parameters": parameters, "state": {"type": "SCHEDULED", "name": "Scheduled"}}
        run: Row = self.ask("POST", f"/deployments/{self.deployment('on-demand')['id']}/create_flow_run", body)
        return str(run["id"])

    def run(self, run_id: str) -> Row:
        found: Row = self.ask("GET", f"/flow_runs/{run_id}")
        return found

    def set_state(self, run_id: str, kind: str, name: str, *, force: bool) -> Row:
        state = {"type": kind, "name": name, "message": f"{name} from the UI"}
        answer: Row = self.ask("POST", f"/flow_runs/{run_id}/set_state", {"state": state, "force": force})
        return answer

    def press_retry(self, run_id: str, *, force: bool = True) -> None:
        """What the dashboard sends: with force in V2, without it in V1."""
        answer = self.set_state(run_id, "SCHEDULED", "AwaitingRetry", force=force)
        assert answer["status"] == "ACCEPT", answer

    def cancel(self, run_id: str) -> None:
        answer = self.set_state(run_id, "CANCELLING", "Cancelling", force=True)
        assert answer["status"] == "ACCEPT", answer

    def ended(self, run_id: str) -> Row:
        """The run, as soon as its state is final."""
        wait_for(lambda: self.run(run_id)["state_type"] in FINAL, f"the end of run {run_id}")
        return self.run(run_id)

    def message(self, run_id: str) -> str:
        return str(self.run(run_id)["state"]["message"])

    def artifacts(self, run_id: str) -> dict[str, Row]:
        """The newest of every key."""
        wanted = {"artifacts": {"flow_run_id": {"any_": [run_id]}}}
        found: list[Row] = self.ask("POST", "/artifacts/filter", wanted)
        return {a["key"]: a for a in sorted(found, key=lambda a: str(a["created"]))}

    def task_names(self, run_id: str) -> set[str]:
        wanted = {"task_runs": {"flow_run_id": {"any_": [run_id]}}, "limit": 200}
        return {t["name"] for t in self.ask("POST", "/task_runs/filter", wanted)}

    def resume(self, run_id: str) -> None:
        answer: Row = self.ask("POST", f"/flow_runs/{run_id}/resume", {})
        assert answer["status"] == "ACCEPT", answer

    def press_pause(self, run_id: str) -> None:
        """What the button of V2 sends: it puts the run aside and ends its process."""
        details = {"pause_reschedule": True, "pause_timeout": None}
        state = {"type": "PAUSED", "name": "Suspended", "message": "from the UI", "state_details": details}
        answer: Row = self.ask("POST", f"/flow_runs/{run_id}/set_state", {"state": state, "force": True})
        assert answer["status"] == "ACCEPT", answer

    def make_block(self, slug: str, **data: Any) -> str:
        """Saves a block as the dashboard's form does; returns its id."""
        kind = self.ask("GET", f"/block_types/slug/{slug}")["id"]
        schemas = self.ask("POST", "/block_schemas/filter", {"block_schemas": {"block_type_id": {"any_": [kind]}}})
        body = {"name": "default", "data": data, "block_schema_id": schemas[0]["id"], "block_type_id": kind}
        return str(self.ask("POST", "/block_documents/", body)["id"])

    def delete_block(self, block_id: str) -> None:
        self.ask("DELETE", f"/block_documents/{block_id}")

    def blocks(self) -> dict[str, Row]:
        """The saved blocks by type, as the dashboard gets them."""
        found: list[Row] = self.ask("POST", "/block_documents/filter", {})
        return {b["block_type"]["slug"]: b for b in found}

    def edit_block(self, slug: str, **data: Any) -> None:
        known = self.blocks()[slug]
        body = {"block_schema_id": known["block_schema_id"], "data": data, "merge_existing_data": True}
        self.ask("PATCH", f"/block_documents/{known['id']}", body)


def wait_for(happened: Callable[[], bool], what: str, seconds: float = _LONGEST_S) -> None:
    end_s = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end_s, f"{what} did not come"
        time.sleep(0.3)

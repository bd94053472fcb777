"""What a Prefect server knows of us, without any secret: blocks, deployments, schedules, automations, work pools.

For a backup: an operator who loses the server sees in it what was set where. `up` makes the rest anew.
"""

from __future__ import annotations

import json
from typing import Any

from prefect.client.orchestration import SyncPrefectClient

from channelscribe.core.redact import redact

_DEPLOYMENT = ("name", "description", "tags", "paused", "parameters", "entrypoint", "work_pool_name")
_SECRET = "(secret, not saved)"


def export_state(client: SyncPrefectClient) -> bytes:
    """JSON, the same for the same state. Values that a block type calls secret are named and left out."""
    state = {
        "format": 1,
        "blocks": [_block(document) for document in client.read_block_documents(include_secrets=False)],
        "deployments": [_deployment(d) for d in client.read_deployments()],
        "work_pools": [
            p.model_dump(mode="json", include={"name", "type", "is_paused"}) for p in client.read_work_pools()
        ],
        "automations": [a.model_dump(mode="json", exclude={"id"}) for a in client.read_automations()],
    }
    return redact(json.dumps(state, indent=1, sort_keys=True, ensure_ascii=False, default=str)).encode("utf-8")


def _pool(pool: Any) -> dict[str, Any]:
    return {name: getattr(pool, name) for name in ("name", "type", "is_paused")}


def _block(document: Any) -> dict[str, Any]:
    secret = tuple(document.block_schema.fields.get("secret_fields", ())) if document.block_schema else ()
    return {
        "type": document.block_type.slug,
        "name": document.name,
        "values": _without(document.data, secret),
    }


def _without(data: dict[str, Any], secret: tuple[str, ...], path: str = "") -> dict[str, Any]:
    """A field is secret by its path (`api_key`, `login.password`) or as a whole (`headers.*`)."""
    kept: dict[str, Any] = {}
    for name, value in data.items():
        own = f"{path}{name}"
        if any(s == own or s.startswith(f"{own}.*") for s in secret) or _masked(value):
            kept[name] = _SECRET
        elif isinstance(value, dict):
            kept[name] = _without(value, secret, f"{own}.")
        else:
            kept[name] = value
    return kept


def _masked(value: Any) -> bool:
    return isinstance(value, str) and len(value) > 2 and not value.strip("*")


def _deployment(found: Any) -> dict[str, Any]:
    """Without job variables: an environment is the worker's own business."""
    schedules = [
        {"slug": s.slug, "active": s.active, "schedule": s.schedule.model_dump(mode="json", exclude_none=True)}
        for s in found.schedules
    ]
    return {**{name: getattr(found, name) for name in _DEPLOYMENT}, "schedules": schedules}

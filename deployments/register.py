"""Makes a Prefect server know our work pool, blocks and deployments, from `prefect.yaml` and the environment.

Stands between `up` and the server. Running it again brings code and environment up to date and leaves what an operator
changed in the UI (parameters, schedules) alone.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from uuid import UUID

    from prefect import Flow
    from prefect.client.orchestration import SyncPrefectClient

PREFECT_FILE = Path(__file__).with_name("prefect.yaml")
_VARIABLE = re.compile(r"\{\{\s*\$(\w+)\s*\}\}")
_PASSED_ON = ("CHANNELSCRIBE_", "HF_HOME", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
# A worker's own card, folder and port; with the registering machine's all workers of a pool would share one card.
_OF_ONE_MACHINE = ("CHANNELSCRIBE_GPU", "CHANNELSCRIBE_CACHE", "CHANNELSCRIBE_METRICS_PORT")
_CERTIFICATES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "HTTPLIB2_CA_CERTS", "CURL_CA_BUNDLE")


@dataclass(frozen=True)
class DeploymentSpec:
    """One deployment as `prefect.yaml` describes it."""

    name: str
    entrypoint: str
    pool: str
    description: str = ""
    tags: tuple[str, ...] = ()
    parameters: dict[str, Any] = field(default_factory=dict)
    schedules: tuple[dict[str, Any], ...] = ()
    job_environment: dict[str, str] = field(default_factory=dict)


def read_specs(file: Path = PREFECT_FILE, environment: Mapping[str, str] = os.environ) -> list[DeploymentSpec]:
    """The deployments of the file, `{{ $NAME }}` filled from the environment (empty when unset)."""
    text = file.read_text(encoding="utf-8")
    filled = _fill(yaml.safe_load(text), environment)
    return [_spec(entry) for entry in filled["deployments"]]


def _fill(value: Any, environment: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _fill(item, environment) for key, item in value.items()}
    if isinstance(value, list):
        return [_fill(item, environment) for item in value]
    return _VARIABLE.sub(lambda m: environment.get(m[1], ""), value) if isinstance(value, str) else value


def _spec(entry: Mapping[str, Any]) -> DeploymentSpec:
    pool = entry["work_pool"]
    return DeploymentSpec(
        name=entry["name"],
        entrypoint=entry["entrypoint"],
        pool=pool["name"],
        description=entry.get("description", ""),
        tags=tuple(entry.get("tags", ())),
        parameters=dict(entry.get("parameters", {})),
        schedules=tuple(entry.get("schedules", ())),
        job_environment=dict(pool.get("job_variables", {}).get("env", {})),
    )


def job_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """What a run needs wherever a worker of the pool was started: our settings and the certificates.

    Secrets and proxies (their addresses may hold passwords) stay out of the server's database, and what belongs to one
    machine stays there: runs inherit all of these from the worker's own environment.
    """
    ours = {k: v for k, v in environment.items() if k.startswith(_PASSED_ON) or k in _CERTIFICATES}
    return {k: v for k, v in ours.items() if v and "@" not in v and k not in _OF_ONE_MACHINE}


def job_variables(spec: DeploymentSpec, environment: Mapping[str, str], working_dir: Path) -> dict[str, Any]:
    return {"working_dir": str(working_dir), "env": {**job_environment(environment), **spec.job_environment}}


def register(client: SyncPrefectClient, working_dir: Path, environment: Mapping[str, str] = os.environ) -> list[str]:
    """Work pool, block types, blocks and deployments; returns the full names of the deployments."""
    from blocks.register import register_all, save_from_environment

    register_all()
    save_from_environment()
    specs = read_specs(environment=environment)
    for pool in dict.fromkeys(spec.pool for spec in specs):
        ensure_pool(client, pool)
    return [_deploy(client, spec, job_variables(spec, environment, working_dir)) for spec in specs]


def ensure_pool(client: SyncPrefectClient, name: str) -> None:
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.exceptions import ObjectAlreadyExists
    from prefect.workers.process import ProcessWorker

    template = ProcessWorker.get_default_base_job_template()
    try:
        client.create_work_pool(WorkPoolCreate(name=name, type="process", base_job_template=template))
    except ObjectAlreadyExists:
        return


def _deploy(client: SyncPrefectClient, spec: DeploymentSpec, variables: dict[str, Any]) -> str:
    from prefect.exceptions import ObjectNotFound
    from prefect.flows import load_flow_from_entrypoint

    flow: Flow[..., Any] = load_flow_from_entrypoint(spec.entrypoint)
    full_name = f"{flow.name}/{spec.name}"
    try:
        known = client.read_deployment_by_name(full_name)
    except ObjectNotFound:
        _create(client, spec, flow, variables)
    else:
        _update(client, known.id, spec, flow, variables)
    return full_name


def _create(client: SyncPrefectClient, spec: DeploymentSpec, flow: Flow[..., Any], variables: dict[str, Any]) -> None:
    from prefect.client.schemas.actions import DeploymentScheduleCreate
    from prefect.client.schemas.schedules import construct_schedule
    from prefect.utilities.callables import parameter_schema

    schedules = [
        DeploymentScheduleCreate(
            schedule=construct_schedule(cron=entry["cron"], timezone=entry.get("timezone")),
            active=entry.get("active", False),
            slug=entry.get("slug"),
        )
        for entry in spec.schedules
    ]
    client.create_deployment(
        client.create_flow(flow),
        spec.name,
        schedules=schedules,
        parameters=spec.parameters,
        description=spec.description,
        work_pool_name=spec.pool,
        tags=list(spec.tags),
        entrypoint=spec.entrypoint,
        pull_steps=[],
        parameter_openapi_schema=parameter_schema(flow).model_dump_for_openapi(),
        enforce_parameter_schema=True,
        job_variables=variables,
    )


def _update(
    client: SyncPrefectClient, known: UUID, spec: DeploymentSpec, flow: Flow[..., Any], variables: dict[str, Any]
) -> None:
    from prefect.client.schemas.actions import DeploymentUpdate
    from prefect.utilities.callables import parameter_schema

    client.update_deployment(
        known,
        DeploymentUpdate(
            description=spec.description,
            tags=list(spec.tags),
            work_pool_name=spec.pool,
            entrypoint=spec.entrypoint,
            parameter_openapi_schema=parameter_schema(flow).model_dump_for_openapi(),
            job_variables=variables,
        ),
    )


def main() -> None:
    """`python -m deployments.register`: at the server of PREFECT_API_URL, for workers that start in this folder."""
    from prefect.client.orchestration import get_client

    from deployments.automations import apply

    with get_client(sync_client=True) as client:
        sys.stdout.write("\n".join(register(client, Path.cwd())) + "\n")
        sys.stderr.write(apply(client).sentence + "\n")


if __name__ == "__main__":
    main()

"""The manifests: against the schemas of Kubernetes, and that everything they refer to is there."""

from __future__ import annotations

from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest

from deployments.stack import LIGHT_POOL, POOL
from tests.deployments.places import compose, kubernetes
from tests.deployments.places.settings import SECRET, known

OBJECTS = kubernetes.objects()
SECRETS = kubernetes.objects("secret.example.yaml")
PODS = list(kubernetes.pods())
VERSIONS = ("1.30", "1.33")


def name_of(one: dict[str, Any]) -> str:
    return f"{one['kind']}-{one['metadata']['name']}"


@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_is_one_that_kubernetes_knows(version: str) -> None:
    for one in OBJECTS + SECRETS:
        kubernetes_validate.validate(one, version, strict=True)


def test_an_object_with_a_slip_is_refused() -> None:
    slip = {**OBJECTS[0], "metdata": {}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(slip, VERSIONS[-1], strict=True)


def test_every_file_is_applied_but_the_example() -> None:
    there = {p.name for p in kubernetes.FOLDER.glob("*.yaml")}
    assert there - set(kubernetes.kustomization()["resources"]) == {"kustomization.yaml", "secret.example.yaml"}
    assert len({name_of(one) for one in OBJECTS}) == len(OBJECTS)


def test_selectors_find_their_pods_and_ports_are_open() -> None:
    for one, pod in PODS:
        labels = pod["metadata"]["labels"]
        if one["kind"] != "Job":
            assert one["spec"]["selector"]["matchLabels"] == labels, name_of(one)
    for service in (one for one in OBJECTS if one["kind"] == "Service"):
        targets = [pod for _, pod in PODS if service["spec"]["selector"].items() <= pod["metadata"]["labels"].items()]
        assert len(targets) == 1, name_of(service)
        opened = {p["containerPort"] for c in targets[0]["spec"]["containers"] for p in c.get("ports", [])}
        assert {p["port"] for p in service["spec"]["ports"]} <= opened


def test_what_is_referred_to_is_there() -> None:
    keys = {(s["metadata"]["name"], key) for s in SECRETS for key in s["stringData"]}
    for container in kubernetes.containers():
        for entry in container.get("env", []):
            reference = entry.get("valueFrom", {}).get("secretKeyRef")
            assert reference is None or (reference["name"], reference["key"]) in keys, entry
        assert kubernetes.environment(container) is not None
    for one, pod in PODS:
        claims = {c["metadata"]["name"] for c in one["spec"].get("volumeClaimTemplates", [])}
        mounted = {m["name"] for c in pod["spec"]["containers"] for m in c.get("volumeMounts", [])}
        assert mounted == claims, name_of(one)


def test_variables_mean_something_and_server_and_services_get_what_compose_gives_them() -> None:
    compose_server = set(compose.read(dict.fromkeys(compose.variables(), "x"))["services"]["server"]["environment"])
    seen = 0
    for container in kubernetes.containers():
        if container["image"] != "channelscribe":
            continue
        names = kubernetes.environment(container)
        assert names - {"POD", "REDIS_PASSWORD"} <= known(), container["name"]
        if "PREFECT_SERVER_DATABASE_HOST" in names:
            seen += 1
            assert names - {"REDIS_PASSWORD"} == compose_server
            order = [entry["name"] for entry in container["env"]]
            assert order.index("REDIS_PASSWORD") < order.index("PREFECT_SERVER_DOCKET_URL")
    assert seen == 3


def test_no_secret_has_a_value_here() -> None:
    assert not [key for s in SECRETS for key, value in s["stringData"].items() if value]
    assert not [key for one in OBJECTS if one["kind"] == "ConfigMap" for key in one["data"] if SECRET.search(key)]


def test_one_pod_one_card_one_run() -> None:
    by_pool = {}
    for one, pod in PODS:
        container = pod["spec"]["containers"][0]
        command = container.get("command", [])
        if "deployments.worker" in command:
            limit = command[command.index("--limit") + 1]
            cards = container["resources"]["limits"].get("nvidia.com/gpu")
            by_pool[command[command.index("--pool") + 1]] = (one["kind"], limit, cards)
    assert by_pool == {POOL: ("StatefulSet", "1", 1), LIGHT_POOL: ("StatefulSet", "4", None)}


def test_what_serves_or_polls_is_probed_and_nothing_of_ours_may_more_than_it_must() -> None:
    for one, pod in PODS:
        spec = pod["spec"]
        assert spec["automountServiceAccountToken"] is False, name_of(one)
        for container in spec["containers"]:
            open_ports = "ports" in container
            assert not open_ports or {"livenessProbe", "readinessProbe"} & set(container), name_of(one)
            if container["image"] == "channelscribe":
                assert spec["securityContext"]["runAsNonRoot"] is True
                assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}

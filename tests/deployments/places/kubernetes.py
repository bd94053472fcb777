"""The manifests as `kubectl kustomize` puts them together, as far as tests look at them."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import yaml

from tests.deployments.places.image import ROOT

FOLDER = ROOT / "deployments" / "kubernetes"
Object = dict[str, Any]
_POD_MAKERS = ("Deployment", "StatefulSet", "Job")


def kustomization() -> Object:
    found: Object = yaml.safe_load((FOLDER / "kustomization.yaml").read_text(encoding="utf-8"))
    return found


@functools.cache
def objects(*names: str) -> list[Object]:
    """Of the files that are named, or of all resources."""
    files = names or tuple(kustomization()["resources"])
    return [one for name in files for one in yaml.safe_load_all((FOLDER / name).read_text(encoding="utf-8"))]


def pods() -> Iterator[tuple[Object, Object]]:
    """(the object that makes them, their template)."""
    yield from ((one, one["spec"]["template"]) for one in objects() if one["kind"] in _POD_MAKERS)


def containers() -> list[Object]:
    return [c for _, pod in pods() for kind in ("initContainers", "containers") for c in pod["spec"].get(kind, [])]


def environment(container: Object) -> set[str]:
    """The names of all variables of a container."""
    stored = {(one["kind"], one["metadata"]["name"]): one for one in objects() + objects("secret.example.yaml")}
    names = {entry["name"] for entry in container.get("env", [])}
    for source in container.get("envFrom", []):
        kind, reference = ("ConfigMap", "configMapRef") if "configMapRef" in source else ("Secret", "secretRef")
        one = stored[kind, source[reference]["name"]]
        names |= set(one.get("data") or one.get("stringData") or {})
    return names

"""Cloud Run: the pool's template, filled as Prefect's worker fills it, against Google's own description of the API."""

from __future__ import annotations

import json
import re
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from prefect.utilities.templating import apply_values, find_placeholders

from channelscribe.core.model import Run
from channelscribe.store.archive import Archive
from channelscribe.store.root import DataRoot
from deployments.register import job_variables, read_specs
from tests.channelscribe.records import NOON, a_video
from tests.deployments.places.image import ROOT

FOLDER = ROOT / "deployments" / "cloudrun"
POOL = json.loads((FOLDER / "pool.json").read_text(encoding="utf-8"))
PAGE = (FOLDER / "README.md").read_text(encoding="utf-8")
API = json.loads(files("googleapiclient").joinpath("discovery_cache/documents/run.v2.json").read_text())["schemas"]
_TYPES: dict[str, type] = {"string": str, "boolean": bool, "integer": int, "object": dict, "array": list}


def job(**given: Any) -> dict[str, Any]:
    """The body of the request that makes the job, but for environment, labels and command, which the worker puts in."""
    defaults = {k: v["default"] for k, v in POOL["variables"]["properties"].items() if v.get("default") is not None}
    filled: Any = apply_values(POOL["job_configuration"]["job_body"], {**defaults, **given})
    filled["template"]["template"]["timeout"] = f"{filled['template']['template']['timeout']}s"
    return dict(filled)


def slips(value: Any, schema: dict[str, Any], where: str = "job") -> list[str]:
    """What Google would not know: fields without a name in its description, values of another type."""
    schema = API[schema["$ref"]] if "$ref" in schema else schema
    if not isinstance(value, _TYPES[schema["type"]]):
        return [f"{where} is no {schema['type']}"]
    if isinstance(value, list):
        return [s for i, item in enumerate(value) for s in slips(item, schema["items"], f"{where}[{i}]")]
    if not isinstance(value, dict):
        return []
    known = schema.get("properties", {})
    rest = schema.get("additionalProperties")
    lost = [f"{where}.{name} is unknown" for name in value if name not in known and rest is None]
    return lost + [
        s for name, v in value.items() if (t := known.get(name, rest)) for s in slips(v, t, f"{where}.{name}")
    ]


def test_google_knows_every_field_of_the_job() -> None:
    assert slips(job(image="registry/channelscribe:1"), {"$ref": "GoogleCloudRunV2Job"}) == []


def test_a_slip_is_found() -> None:
    wrong = job(image="x")
    wrong["template"]["template"]["nodeSelectr"] = {}
    assert slips(wrong, {"$ref": "GoogleCloudRunV2Job"}) == ["job.template.template.nodeSelectr is unknown"]
    wrong = job(image="x")
    wrong["template"]["template"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] = 1
    assert slips(wrong, {"$ref": "GoogleCloudRunV2Job"})


def test_an_instance_is_what_was_asked_for() -> None:
    task = job(image="x")["template"]["template"]
    assert task["containers"][0]["resources"]["limits"] == {"cpu": "8", "memory": "32Gi", "nvidia.com/gpu": "1"}
    assert task["nodeSelector"] == {"accelerator": "nvidia-l4"}
    assert (task["timeout"], task["maxRetries"]) == ("3600s", 0)
    assert "--concurrency-limit 5" in PAGE
    assert "--limit 5" in PAGE


def test_every_blank_of_the_template_has_a_variable() -> None:
    blanks = {p.name for p in find_placeholders(POOL["job_configuration"])}
    assert blanks == set(POOL["variables"]["properties"])


def test_the_pool_takes_what_registration_gives_it() -> None:
    environment = {"CHANNELSCRIBE_DATA": "gs://bucket/archive"}
    for spec in read_specs(environment=environment):
        variables = job_variables(spec, environment, Path("/srv/channelscribe"))
        jsonschema.validate({"image": "x", **variables}, POOL["variables"])
        assert variables["env"]["CHANNELSCRIBE_DATA"] == "gs://bucket/archive"


@pytest.mark.parametrize(
    "wrong", [{"timeout": 3601}, {"max_retries": 1}, {"accelerator": "nvidia-h100"}, {"image": None}]
)
def test_the_pool_refuses_what_would_harm(wrong: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"image": "x", **wrong}, POOL["variables"])


def test_the_page_sizes_a_shard_from_what_was_measured(tmp_path: Path) -> None:
    """Shards at 20 times real time over videos of 10 minutes; runs of other kinds do not count."""
    code = re.findall(r"```python\n(.*?)```", PAGE, re.S)[0].replace("gs://my-bucket/archive", str(tmp_path))
    with Archive(DataRoot.open(tmp_path)) as archive:
        for name, audio_s, wall_s in (("sync all of @x, shard 1", 20_000.0, 1000.0), ("sync @y", 10.0, 9000.0)):
            archive.put_run(Run(name, name, "@x", "done", {}, {}, NOON, NOON, audio_s=audio_s, wall_s=wall_s))
        archive.put_videos([a_video(f"abcdefghij{i}", duration_s=600.0) for i in range(3)])
    found: dict[str, Any] = {}
    exec(code, found)
    assert found["shard_size"] == int(0.7 * (3600 - 600) * 20 / 600)

"""The Compose file: against the schema of Compose, and what a schema cannot say."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

import jsonschema
import pytest
import yaml

from deployments.stack import LIGHT_POOL, POOL
from tests.deployments.places import compose
from tests.deployments.places.settings import SECRET, known

VALUES = {name: f"value-of-{name.lower()}" for name, must in compose.variables().items() if must}
PROJECT = compose.read(VALUES)
SERVICES: dict[str, dict[str, Any]] = PROJECT["services"]
OURS = compose.ours(SERVICES)


def test_the_file_is_what_compose_understands() -> None:
    schema = json.loads(files("check_jsonschema").joinpath("builtin_schemas/vendor/compose-spec.json").read_text())
    jsonschema.Draft7Validator(schema).validate(PROJECT)


@pytest.mark.parametrize("name", sorted(OURS))
def test_every_variable_means_something(name: str) -> None:
    assert set(SERVICES[name].get("environment", {})) <= known()


def test_whoever_is_waited_for_says_when_it_is_ready() -> None:
    waited = 0
    for service in SERVICES.values():
        for needed, how in service.get("depends_on", {}).items():
            waited += 1
            healthy = "test" in SERVICES[needed].get("healthcheck", {})
            ends = SERVICES[needed]["restart"].startswith("on-failure")
            assert healthy if how["condition"] == "service_healthy" else ends, f"{needed}: {how}"
    assert waited > 8


def test_volumes_networks_and_hosts_are_declared() -> None:
    for name, service in SERVICES.items():
        assert {v.split(":")[0] for v in service.get("volumes", [])} <= set(PROJECT["volumes"]), name
        assert set(service["networks"]) <= set(PROJECT["networks"]), name
        given = compose.environment(service, {})
        hosts = {given[n] for n in ("PREFECT_SERVER_DATABASE_HOST", "PREFECT_REDIS_MESSAGING_HOST") if n in given}
        assert hosts <= set(SERVICES), name


def test_only_the_ui_is_reached_from_outside_and_only_from_this_machine() -> None:
    assert {name: s["ports"] for name, s in SERVICES.items() if "ports" in s} == {"server": ["127.0.0.1:4200:4200"]}
    assert {name for name, s in SERVICES.items() if s["networks"] == ["inside"]} == {"postgres", "redis"}
    assert PROJECT["networks"]["inside"]["internal"] is True


def test_every_secret_comes_from_the_env_file() -> None:
    raw = yaml.safe_load(compose.FILE.read_text(encoding="utf-8"))["services"]
    for name, service in raw.items():
        for variable, value in service.get("environment", {}).items():
            assert not SECRET.search(variable) or value is None or "${" in value, f"{name}: {variable}"


def test_nobody_gets_a_secret_that_he_does_not_need() -> None:
    for name, service in OURS.items():
        own = set(service["environment"])
        assert ("PREFECT_SERVER_DATABASE_PASSWORD" in own) is (name in ("migrate", "server", "services"))
        assert ("ODIN_API_SECRET" in own) is (name not in ("migrate", "server", "services"))


def test_the_example_names_what_must_be_set_and_nothing_that_is_never_read() -> None:
    lines = [line.lstrip("# ") for line in compose.EXAMPLE.read_text(encoding="utf-8").splitlines()]
    named = {line.split("=")[0] for line in lines if line.split("=")[0].isupper() and " " not in line.split("=")[0]}
    read = set(compose.variables()) | {
        n for s in SERVICES.values() for n, v in s.get("environment", {}).items() if v is None
    }
    assert {name for name, must in compose.variables().items() if must} <= named
    assert named <= read


def test_without_its_passwords_nothing_starts() -> None:
    for missing in VALUES:
        with pytest.raises(KeyError):
            compose.read({name: value for name, value in VALUES.items() if name != missing})


def test_each_pool_has_a_worker_and_each_card_one_worker_with_one_slot() -> None:
    workers = {name: s["command"] for name, s in OURS.items() if "deployments.worker" in s["command"]}
    pools = {name: command[command.index("--pool") + 1] for name, command in workers.items()}
    assert set(pools.values()) == {POOL, LIGHT_POOL}
    cards = {}
    for name in (n for n, pool in pools.items() if pool == POOL):
        assert workers[name][workers[name].index("--limit") + 1] == "1"
        cards[name] = OURS[name]["deploy"]["resources"]["reservations"]["devices"][0]["device_ids"][0]
    assert len(set(cards.values())) == len(cards) == 2
    chosen = compose.read({**VALUES, "CARD_0": "GPU-a"})["services"]["card-0"]
    assert chosen["deploy"]["resources"]["reservations"]["devices"][0]["device_ids"] == ["GPU-a"]


def test_registration_pins_no_run_to_a_card() -> None:
    assert not {n for n in OURS["register"]["environment"] if "VISIBLE_DEVICES" in n or n == "CHANNELSCRIBE_GPU"}

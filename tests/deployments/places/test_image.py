"""The image: what goes in, what it is told, and that every command of every place parses in it."""

from __future__ import annotations

import json
import re
import shlex

import pytest
import yaml

from deployments import bootstrap
from deployments.place import quiet_settings
from tests.deployments.places import compose, kubernetes
from tests.deployments.places.image import ROOT, Dockerfile, Image, context
from tests.deployments.places.settings import SECRET, known

UNITS = sorted((ROOT / "deployments" / "machine").glob("*.service"))
FIXED = {"PREFECT_LOGGING_LEVEL", "PREFECT_SERVER_LOGGING_LEVEL", "PREFECT_WORKER_QUERY_SECONDS"}
FIXED |= {"PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS"}


def commands() -> dict[str, set[str]]:
    """Every option that a place gives to a command, by the command without options: `prefect server start`."""
    services = yaml.safe_load(compose.FILE.read_text(encoding="utf-8"))["services"]
    lines = [Dockerfile().command, *(s["command"] for s in compose.ours(services).values())]
    lines += [c["command"] for c in kubernetes.containers() if c["image"] == "channelscribe"]
    lines += [shlex.split(re.findall(r"^ExecStart=(.*)$", u.read_text(), re.M)[0]) for u in UNITS]
    found: dict[str, set[str]] = {}
    for line in lines:
        words = [line[0].rsplit("/", 1)[-1], *line[1:]]
        options = next((i for i, word in enumerate(words) if word.startswith("--")), len(words))
        found.setdefault(" ".join(words[:options]), set()).update(w for w in words if w.startswith("--"))
    return {name: options for name, options in found.items() if options}


@pytest.mark.parametrize("command", sorted(commands()))
def test_every_command_of_every_place_has_the_options_it_is_given(image: Image, command: str) -> None:
    shown = image.run([*command.split(), "--help"], COLUMNS="240")
    assert shown.returncode == 0, shown.stderr
    assert not {option for option in commands()[command] if not re.search(rf"{option}\b", shown.stdout)}


def test_commands_of_all_kinds_were_found() -> None:
    wanted = {"channelscribe up", "prefect server start", "prefect server database upgrade"}
    assert wanted | {"python -m deployments.worker start"} == set(commands())


def test_nothing_but_the_copy_is_needed(image: Image) -> None:
    """Code and data come from the image; the flows of all deployments can be found."""
    code = (
        "import json, importlib.util as u, deployments; from deployments.register import read_specs;"
        "from deployments.automations import read_automations; specs = read_specs();"
        "print(json.dumps([deployments.__file__, len(read_automations()[1]),"
        " [s.name for s in specs if u.find_spec(s.entrypoint.rsplit('.', 1)[0]).origin is None]]))"
    )
    done = image.run(["python", "-c", code])
    assert done.returncode == 0, done.stderr
    where, automations, lost = json.loads(done.stdout)
    assert where.startswith(str(image.folder / "site"))
    assert automations
    assert not lost


def test_the_image_carries_the_health_check(image: Image) -> None:
    nobody = image.run(["python", "-m", "deployments.probe"], PREFECT_WORKER_WEBSERVER_PORT="1")
    assert nobody.returncode == 1
    assert nobody.stderr.startswith("http://127.0.0.1:1/health does not answer")


def test_the_settings_of_the_image_are_those_of_this_machine() -> None:
    given = Dockerfile().settings
    assert set(given) <= known()
    quiet = {name: value for name, value in quiet_settings().items() if name not in FIXED}
    assert {name: given.get(name) for name in quiet} == quiet


def test_no_secret_goes_into_a_layer() -> None:
    file = Dockerfile()
    named = {*file.settings, *(rest.split("=")[0] for rest in file.all("ARG"))}
    assert not [name for name in named if SECRET.search(name)]
    assert "prefect.yaml" in {name.rsplit("/", 1)[-1] for name in context()}
    assert not [name for name in context() if re.search(r"\.env|secret\.yaml|keys\.txt|/data/|__pycache__", name)]


def test_keys_beside_the_code_stay_out(tmp_path_factory: pytest.TempPathFactory) -> None:
    root = tmp_path_factory.mktemp("context")
    wanted = {"pyproject.toml", "flows/a.py", "deployments/prefect.yaml"}
    kept_out = {".env", "deployments/compose/.env", "flows/__pycache__/a.pyc", "deployments/kubernetes/secret.yaml"}
    for name in wanted | kept_out | {"YT_API_keys.txt", "data/videos/a.parquet"}:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("x")
    (root / ".dockerignore").write_text((ROOT / ".dockerignore").read_text())
    lines = (root / ".dockerignore").read_text().splitlines()
    for top in [line[1:] for line in lines if line.startswith("!") and "." not in line]:
        (root / top).mkdir(exist_ok=True)
    assert {name for name in context(root) if (root / name).is_file()} == wanted


def test_the_image_runs_as_nobody_special_and_is_watched() -> None:
    file = Dockerfile()
    assert file.all("USER") == ["10001"]
    assert "deployments.probe" in file.all("HEALTHCHECK")[0]
    assert f"TORCH={bootstrap.TORCH}" in file.all("ARG")
    assert set(file.copied) <= {
        line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] == "!"
    }


def test_the_extras_exist() -> None:
    extras = next(rest for rest in Dockerfile().all("ARG") if rest.startswith("EXTRAS=")).split("=")[1].split(",")
    there = re.findall(r"^(\w+) = \[", (ROOT / "pyproject.toml").read_text(), re.M)
    assert set(extras) <= set(there)

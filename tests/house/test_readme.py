"""What the README and .env.example tell people to type exists and parses; CI and other tests run the commands."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path

import pytest
import typer.main

from channelscribe.core.guard import GuardPolicy
from channelscribe.core.settings import GuardSettings, Settings
from deployments.cli import app

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
NOT_SETTINGS = {"CHANNELSCRIBE_SOURCE"}  # read by the daily deployment, not by the library


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.S)


def lines(program: str) -> list[str]:
    text = "\n".join(blocks("console") + blocks("powershell"))
    return [line for line in text.splitlines() if re.match(rf"(\S*[\\/])?{program}\b", line)]


@pytest.mark.parametrize("line", lines("channelscribe"))
def test_every_command_of_the_readme_parses(line: str) -> None:
    _, verb, *arguments = shlex.split(line.replace("\\", "/"))
    command = typer.main.get_command(app)
    found = command.get_command(None, verb)  # type: ignore[attr-defined,arg-type]
    assert found is not None, f"there is no command {verb}"
    found.make_context(verb, arguments)


def test_the_readme_has_commands_of_every_kind() -> None:
    assert {shlex.split(line.replace("\\", "/"))[1] for line in lines("channelscribe")} == {
        "demo", "doctor", "gpu", "status", "sync", "up",
    }  # fmt: skip
    assert {line.split()[1] for line in lines("make")} == {"demo", "demo-guard", "test"}


@pytest.mark.parametrize("line", lines("make"))
def test_every_verb_of_the_readme_is_in_the_makefile(line: str) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.search(rf"^{line.split()[1]}:", makefile, re.M)


def test_ci_calls_the_readmes_own_commands() -> None:
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert {"demo", "test"} <= {word for line in ci.splitlines() if line.startswith("make ") for word in line.split()}


@pytest.mark.parametrize("code", blocks("python"))
def test_python_of_the_readme_imports_what_exists(code: str) -> None:
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom):
            module = __import__(str(node.module), fromlist=[a.name for a in node.names])
            assert all(hasattr(module, a.name) for a in node.names)


@pytest.mark.parametrize("path", re.findall(r"\]\((?!http)([^)#]+)\)", README))
def test_every_file_that_the_readme_links_exists(path: str) -> None:
    assert (ROOT / path).exists()


def test_the_example_environment_names_real_settings() -> None:
    named = set(re.findall(r"^(?:# )?([A-Z][A-Z0-9_]+)=", (ROOT / ".env.example").read_text(encoding="utf-8"), re.M))
    aliases = {
        str(choice)
        for field in Settings.model_fields.values()
        if field.validation_alias is not None
        for choice in getattr(field.validation_alias, "choices", [])
    }
    prefix = str(GuardSettings.model_config["env_prefix"])
    aliases |= {prefix + field.upper() for field in GuardPolicy.model_fields}
    assert len(named) > 8
    assert named - NOT_SETTINGS <= aliases
    assert {"API_KEY", "API_SECRET"} <= aliases

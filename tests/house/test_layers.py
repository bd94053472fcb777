"""The house stays as DESIGN section 1 draws it: imports go one way, rooms know only what they may know."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ORDER = ("channelscribe", "blocks", "tasks", "flows", "deployments")
LONGEST_FUNCTION = 59
LONGEST_TASK_BODY = 25
HEAVY = {"torch", "transformers", "yt_dlp", "googleapiclient", "av", "duckdb", "prefect", "pandas", "pynvml"}


def sources(*rooms: str) -> list[Path]:
    return [path for room in rooms for path in sorted((ROOT / room).rglob("*.py"))]


def imported(path: Path) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}:{node.lineno} imports relatively; say where from"
            yield node.lineno, node.module or ""


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


@pytest.mark.parametrize("room", ORDER)
def test_imports_point_downwards_only(room: str) -> None:
    above = set(ORDER[ORDER.index(room) + 1 :]) | {"tests", "notebooks"}
    upward = [f"{p}:{line} {name}" for p in sources(room) for line, name in imported(p) if name.split(".")[0] in above]
    assert sources(room)
    assert not upward


def test_the_library_knows_no_orchestrator() -> None:
    assert not [f"{p}:{n}" for p in sources("channelscribe") for n, name in imported(p) if name.startswith("prefect")]


def test_only_one_module_speaks_to_the_driver() -> None:
    speakers = {p.relative_to(ROOT).as_posix() for p in sources(*ORDER) for _, name in imported(p) if name == "pynvml"}
    assert speakers == {"channelscribe/gpu/nvml.py"}


def test_a_noun_knows_only_the_core_and_itself() -> None:
    nouns = [d for d in sorted((ROOT / "channelscribe").iterdir()) if d.is_dir() and (d / "__init__.py").exists()]
    assert len(nouns) >= 6
    for noun in nouns:
        allowed = {"core", noun.name}
        for path in sorted(noun.rglob("*.py")):
            for line, name in imported(path):
                parts = name.split(".")
                if parts[0] == "channelscribe" and len(parts) > 1:
                    assert parts[1] in allowed, f"{path}:{line} imports {name}"


def test_flows_speak_to_tasks_and_not_past_them() -> None:
    shadowing = [p for p in sources("flows") if p.stem in {*ORDER, "tests"}]
    assert not shadowing, "a script entrypoint puts flows/ first on sys.path; this file would hide a package"


@pytest.mark.parametrize("room", ORDER)
def test_importing_a_package_is_cheap(room: str) -> None:
    for path in sources(room):
        if path.name == "__init__.py":
            assert not {name.split(".")[0] for _, name in imported(path)} & HEAVY, path


@pytest.mark.parametrize("room", ORDER)
def test_functions_are_short_and_annotated(room: str) -> None:
    for path in sources(room):
        for f in functions(path):
            where = f"{path}:{f.lineno} {f.name}"
            assert (f.end_lineno or f.lineno) - f.lineno < LONGEST_FUNCTION, f"{where} is too long to hold in a head"
            assert f.returns is not None or f.name == "__init__", f"{where} does not say what it returns"


def test_tasks_are_thin() -> None:
    tasks = [
        (p, f) for p in sources("tasks") for f in functions(p) if any("task" in ast.dump(d) for d in f.decorator_list)
    ]
    assert len(tasks) >= 5
    for path, f in tasks:
        body = [n for n in f.body if not (isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant))]
        lines = (f.end_lineno or 0) - body[0].lineno + 1
        assert lines <= LONGEST_TASK_BODY, f"{path}:{f.lineno} {f.name}: the work belongs into the library"


@pytest.mark.parametrize("path", sources(*ORDER), ids=lambda p: str(p.relative_to(ROOT)))
def test_every_module_says_what_it_is(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), f"{path} has no docstring"

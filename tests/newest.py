"""Runs the media tests on the newest Python of this machine, where pip takes other releases than on the oldest.

`make test-newest` and CI start it with `python -m tests.newest`; it makes `.venv-newest` from the project file's own
lines, without torch. Standard library only.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from deployments import bootstrap

ROOT = bootstrap.ROOT
VENV = ROOT / ".venv-newest"
LOWEST = (3, 12)
# What is run, and what of the same folders is not because it needs torch. A new test file has to be named in one.
TESTS = (
    "tests/channelscribe/audio/test_decode.py",
    "tests/channelscribe/audio/test_windows.py",
    "tests/channelscribe/youtube/test_convert.py",
)
NEED_TORCH = ("tests/channelscribe/audio/test_feed.py", "tests/channelscribe/audio/test_speech.py")
PARTS = ("av", "numpy", "psutil", "pytest", "pytest-timeout", "hypothesis")
_NAMES = ("python3.15", "python3.14", "python3.13", "python3.12", "python3", "python")
# Final releases of CPython with a GIL: only for them do all the parts publish wheels.
_ASK = (
    "import sys, sysconfig as s; v = sys.version_info;"
    "ok = sys.implementation.name == 'cpython' and v[3] == 'final' and not s.get_config_var('Py_GIL_DISABLED');"
    "print(*(v[:3] if ok else (0, 0, 0)))"
)
_VERSIONS = (
    "import sys, av, numpy;"
    "print(f'Python {sys.version.split()[0]}, av {av.__version__}, numpy {numpy.__version__}', flush=True)"
)


def candidates(environment: Mapping[str, str], home: Path) -> Iterator[str]:
    """Pythons on the PATH and those that pyenv keeps: in $PYENV_ROOT, where `pyenv root` says, or in ~/.pyenv."""
    path = environment.get("PATH")
    yield from (found for name in _NAMES if (found := shutil.which(name, path=path)))
    roots = [environment.get("PYENV_ROOT", ""), _pyenv_root(path), str(home / ".pyenv")]
    for root in dict.fromkeys(root for root in roots if root):
        yield from (str(python) for python in sorted(Path(root).glob("versions/*/bin/python3")))


def _pyenv_root(path: str | None) -> str:
    program = shutil.which("pyenv", path=path)
    if program is None:
        return ""
    return subprocess.run([program, "root"], capture_output=True, text=True, check=False).stdout.strip()


def version_of(python: str) -> tuple[int, ...]:
    """(major, minor, micro), or zeros for what does not run or is no finished CPython."""
    try:
        answer = subprocess.run([python, "-I", "-c", _ASK], capture_output=True, text=True, timeout=30, check=False)
        return tuple(int(part) for part in answer.stdout.split()) or (0, 0, 0)
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return (0, 0, 0)


def newest(pythons: Sequence[str]) -> str | None:
    """The newest of them that is `LOWEST` or newer; of equals the first."""
    versions = {python: version_of(python) for python in pythons}
    best = max(versions, key=lambda python: versions[python], default=None)
    return best if best is not None and versions[best] >= LOWEST else None


def requirements(project: Path) -> list[str]:
    """The lines of the project file for `PARTS`, so that a bound there is tested here. KeyError without one."""
    table = tomllib.loads(project.read_text(encoding="utf-8"))["project"]
    lines = [*table["dependencies"], *table["optional-dependencies"]["dev"]]
    named = {re.split(r"[^\w.-]", line, maxsplit=1)[0].lower(): line for line in lines}
    return [named[part] for part in PARTS]


def prepare(venv: Path) -> None:
    """Makes the environment with the Python that runs this; an old one stays while nothing has changed."""
    wanted = requirements(ROOT / "pyproject.toml")
    stamp = bootstrap.wanted_stamp(ROOT / "pyproject.toml", nvidia=False) + "\n".join(wanted)
    if bootstrap.is_current(venv, stamp):
        return
    shutil.rmtree(venv, ignore_errors=True)
    bootstrap.make_venv(venv)
    if not bootstrap.pip_install(venv, ["--only-binary", ":all:", *wanted], f"{', '.join(PARTS)} in {venv.name}"):
        raise bootstrap.BootstrapError(f"pip failed; see {venv / 'bootstrap.log'}")
    (venv / "bootstrap.stamp").write_text(stamp)


def run_here(arguments: Sequence[str]) -> int:
    """In the newest Python: makes its environment and runs the tests in it."""
    try:
        prepare(VENV)
    except bootstrap.BootstrapError as error:
        bootstrap.say(str(error))
        return 2
    python = str(bootstrap.venv_python(VENV))
    subprocess.run([python, "-c", _VERSIONS], check=True)
    print(f"not run here, because they need torch: {' '.join(NEED_TORCH)}", flush=True)
    # The listed files ask no conftest for anything, and the one beside the converter's tests loads half the product.
    command = [python, "-m", "pytest", "--noconftest", "-rs", *TESTS, *arguments]
    return subprocess.run(command, cwd=ROOT, check=False).returncode


def main(arguments: Sequence[str]) -> int:
    if arguments[:1] == ["here"]:
        return run_here(arguments[1:])
    python = newest(list(candidates(os.environ, Path.home())))
    if python is None:
        must = os.environ.get("CI") == "true"
        print(
            f"No Python {LOWEST[0]}.{LOWEST[1]} or newer is on the PATH or in pyenv, so the media tests "
            f"{'cannot be' if must else 'were not'} run on the newest Python.",
            file=sys.stderr,
        )
        return 2 if must else 0
    return subprocess.run([python, "-m", "tests.newest", "here", *arguments], cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

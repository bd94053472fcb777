"""What the Dockerfile builds, without Docker: its COPY lines into a folder, its `pip install` of us, its ENV and CMD.

Third-party packages come from the environment of the tests; everything of ours comes from the copy alone.
"""

from __future__ import annotations

import fnmatch
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
DOCKERFILE = ROOT / "deployments" / "compose" / "Dockerfile"
_LEFT_OUT = re.compile(r"\s#.*$")


@dataclass(frozen=True)
class Dockerfile:
    """`instructions`: (name, rest) in their order, continued lines joined."""

    file: Path = DOCKERFILE

    @cached_property
    def instructions(self) -> list[tuple[str, str]]:
        text = re.sub(r"^\s*#.*\n", "", self.file.read_text(encoding="utf-8"), flags=re.M)
        lines = text.replace("\\\n", " ").splitlines()
        return [(line.split(None, 1)[0], line.split(None, 1)[1].strip()) for line in lines if line.strip()]

    def all(self, name: str) -> list[str]:
        return [rest for instruction, rest in self.instructions if instruction == name]

    @cached_property
    def settings(self) -> dict[str, str]:
        """ENV of the last stage."""
        last = max(i for i, (name, _) in enumerate(self.instructions) if name == "FROM")
        pairs = [pair for name, rest in self.instructions[last:] if name == "ENV" for pair in shlex.split(rest)]
        return dict(pair.split("=", 1) for pair in pairs)

    @property
    def command(self) -> list[str]:
        found: list[str] = json.loads(self.all("CMD")[-1])
        return found

    @cached_property
    def copied(self) -> list[str]:
        """What comes from the build context, relative to it."""
        return [name for rest in self.all("COPY") if not rest.startswith("--from") for name in rest.split()[:-1]]


def context(root: Path = ROOT) -> list[str]:
    """The files that .dockerignore lets through: the last pattern that matches a file or a folder above it decides."""
    patterns = [p for p in (root / ".dockerignore").read_text().splitlines() if p and not p.startswith("#")]
    tops = [p[1:] for p in patterns if p.startswith("!")]
    files = [f for top in tops for f in ([root / top] if (root / top).is_file() else sorted((root / top).rglob("*")))]
    names = [f.relative_to(root).as_posix() for f in files if f.is_file()]
    return [name for name in names if _let_through(name, patterns)]


def _let_through(name: str, patterns: list[str]) -> bool:
    parts = name.split("/")
    above = ["/".join(parts[: i + 1]) for i in range(len(parts))]
    ignored = False
    for pattern in patterns:
        plain = pattern.lstrip("!")
        if any(_matches(path, plain) for path in above):
            ignored = not pattern.startswith("!")
    return not ignored


def _matches(path: str, pattern: str) -> bool:
    if pattern.startswith("**/"):
        return fnmatch.fnmatchcase(path.rsplit("/", 1)[-1], pattern[3:])
    return path.count("/") == pattern.count("/") and fnmatch.fnmatchcase(path, pattern)


@dataclass(frozen=True)
class Image:
    """`folder` holds the installed packages and the folders that containers mount."""

    folder: Path
    dockerfile: Dockerfile = Dockerfile()

    @classmethod
    def build(cls, folder: Path) -> Image:
        image = cls(folder)
        wanted = [name for name in context() if name.split("/")[0] in image.dockerfile.copied]
        for name in wanted:
            target = folder / "src" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, target)
        options = ["--no-deps", "--no-build-isolation", "--no-index", "--no-compile", "--target", str(folder / "site")]
        made = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *options]
        done = subprocess.run([*made, str(folder / "src")], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        for name in ("data", "models", "cache", "srv/channelscribe"):
            (folder / name).mkdir(parents=True)
        return image

    def environment(self, **more: str) -> dict[str, str]:
        """ENV of the image and nothing of ours, with the container's folders below `folder`."""
        own = {name: self.placed(value) for name, value in self.dockerfile.settings.items()}
        here = {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.defpath}",
            "PYTHONPATH": str(self.folder / "site"),
        }
        return own | here | {"HOME": str(self.folder / "srv"), "LANG": "C.UTF-8"} | more

    def placed(self, value: str) -> str:
        return str(self.folder) + value if re.match(r"/(data|models|cache)\b", value) else value

    @property
    def working_dir(self) -> Path:
        return self.folder / "srv" / "channelscribe"

    def run(self, command: list[str], **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            env=self.environment(**more),
            cwd=self.working_dir,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

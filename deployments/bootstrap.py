"""Makes the environment `.venv` with everything channelscribe needs, from nothing but Python 3.11 or newer.

Stands before everything else: `make` and the Windows instructions run it as a script, so it uses the standard library
only and imports nothing of ours. A second run that has nothing to do ends at once.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
LOWEST = (3, 11)
TORCH = "2.13.0"
PYTORCH_INDEX = "https://download.pytorch.org/whl/"
_LOG = "bootstrap.log"
_STAMP = "bootstrap.stamp"
_SIGN_OF_LIFE_S = 20.0


class BootstrapError(Exception):
    """One sentence that says what to install or mend."""


def torch_attempts(system: str, nvidia: bool) -> list[list[str]]:
    """Arguments for `pip install`, best first, that bring the right build of torch; [] leaves it to the project file.

    Linux wheels of the default index are CUDA builds and Windows ones are CPU builds; the other build of each lies at
    PyTorch's own index. A mirror may hold it too, so Linux asks the configured places first.
    """
    own = ["--retries", "1", "--timeout", "30", "--extra-index-url"]
    if system == "Linux" and not nvidia:
        wanted = f"torch=={TORCH}+cpu"
        return [[wanted], [wanted, *own, PYTORCH_INDEX + "cpu"], ["torch"]]
    if system == "Windows" and nvidia:
        tags = ("cu130", "cu126")
        return [[f"torch=={TORCH}+{tag}", *own, PYTORCH_INDEX + tag] for tag in tags] + [["torch"]]
    return [["torch"]] if nvidia else []


def has_nvidia_card() -> bool:
    """True when the NVIDIA driver answers and names at least one card."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return False
    try:
        answer = subprocess.run([program, "-L"], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return answer.returncode == 0 and "GPU" in answer.stdout


def wanted_stamp(project: Path, nvidia: bool) -> str:
    """Identity of a finished environment: another project file, Python, place or card makes another one."""
    facts = (project.read_bytes(), Path(__file__).read_bytes(), sys.version.encode(), str(project.parent).encode())
    digest = hashlib.sha256(b"\0".join(facts)).hexdigest()
    return f"{digest} {'nvidia' if nvidia else 'cpu'}\n"


def venv_python(venv: Path) -> Path:
    return venv / "Scripts" / "python.exe" if os.name == "nt" else venv / "bin" / "python"


def is_current(venv: Path, stamp: str) -> bool:
    written = venv / _STAMP
    return venv_python(venv).exists() and written.exists() and written.read_text() == stamp


def say(text: str) -> None:
    sys.stderr.write(f"bootstrap: {text}\n")
    sys.stderr.flush()


def check_python() -> None:
    if sys.version_info < LOWEST:
        raise BootstrapError(f"channelscribe needs Python 3.11 or newer and this is {platform.python_version()}.")


def ensure_venv_module() -> None:
    """Debian ships Python without `ensurepip`; as root it is installed, otherwise the sentence says how."""
    if importlib.util.find_spec("venv") and importlib.util.find_spec("ensurepip"):
        return
    package = f"python{sys.version_info[0]}.{sys.version_info[1]}-venv"
    if shutil.which("apt-get") is None:
        raise BootstrapError("this Python cannot make environments (venv or ensurepip is missing); install a full one.")
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        raise BootstrapError(f"this Python cannot make environments; run: sudo apt-get install {package}")
    say(f"installing the Debian package {package}")
    for arguments in (["update", "-qq"], ["install", "-y", "-qq", package]):
        done = subprocess.run(["apt-get", *arguments], stdout=subprocess.DEVNULL, check=False)
        if done.returncode != 0:
            raise BootstrapError(f"apt-get {' '.join(arguments)} failed; install {package} by hand and start again.")


def make_venv(venv: Path) -> None:
    """A new environment, or the old one when its Python still runs and is new enough."""
    python = venv_python(venv)
    check = f"import sys, pip; sys.exit(sys.version_info < {LOWEST})"
    if python.exists() and subprocess.run([python, "-c", check], capture_output=True, check=False).returncode == 0:
        return
    ensure_venv_module()
    say(f"making {venv.name} with Python {platform.python_version()}")
    # A child process, because Debian's package may have been installed a moment ago.
    done = subprocess.run(
        [sys.executable, "-m", "venv", "--clear", str(venv)], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        last = (done.stdout + done.stderr).strip().splitlines()[-1:]
        raise BootstrapError(f"the environment {venv} could not be made: {' '.join(last)}")


def pip_install(venv: Path, arguments: Sequence[str], what: str) -> bool:
    """Runs pip, its output in a log, a sign of life now and then. True when it succeeded."""
    say(f"installing {what}")
    command = [str(venv_python(venv)), "-m", "pip", "install", "--no-input", "--progress-bar", "off", *arguments]
    started = reported = time.monotonic()
    # Two `with` lines, because an older Python must be able to read this file to say that it is too old.
    with (venv / _LOG).open("a", encoding="utf-8") as log:  # noqa: SIM117
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
        ) as pip:
            assert pip.stdout is not None
            for line in pip.stdout:
                log.write(line)
                log.flush()
                if time.monotonic() - reported > _SIGN_OF_LIFE_S:
                    reported = time.monotonic()
                    say(f"  {reported - started:4.0f} s  {line.strip()[:80]}")
    return pip.returncode == 0


def torch_fits(version: str, system: str, nvidia: bool) -> bool:
    """True when an installed torch of that version is the build that `torch_attempts` is after."""
    if system == "Linux" and not nvidia:
        return version.endswith("+cpu")
    if system == "Windows" and nvidia:
        return "+cu" in version
    return bool(version) and not version.endswith("+cpu")


def installed_torch(venv: Path) -> str:
    """Version of torch in the environment, "" for none."""
    code = "import importlib.metadata as m; print(m.version('torch'))"
    answer = subprocess.run([venv_python(venv), "-c", code], capture_output=True, text=True, check=False)
    return answer.stdout.strip() if answer.returncode == 0 else ""


def install_torch(venv: Path, system: str, nvidia: bool) -> None:
    """Brings the build that fits the machine before anything else asks for torch."""
    present = installed_torch(venv)
    if torch_fits(present, system, nvidia):
        return
    again = ["--force-reinstall", "--no-deps"] if present else []
    attempts = torch_attempts(system, nvidia)
    for arguments in attempts:
        if pip_install(venv, [*arguments, *again], f"torch for {'the NVIDIA card' if nvidia else 'the CPU'}"):
            return
    if attempts:
        raise BootstrapError(f"torch could not be installed; check the network or pip's index (log: {venv / _LOG}).")


def install_project(venv: Path, root: Path) -> None:
    if pip_install(venv, ["-e", f"{root}[dev]"], "channelscribe and its parts (a few minutes the first time)"):
        return
    tail = (venv / _LOG).read_text(encoding="utf-8", errors="replace").splitlines()
    causes = [line for line in tail if line.startswith("ERROR")][-2:] or tail[-2:]
    raise BootstrapError(f"pip failed: {' '.join(causes)} (all of it: {venv / _LOG})")


def bootstrap(root: Path = ROOT, venv: Path = VENV) -> bool:
    """Brings the environment up to date. True when there was something to do."""
    check_python()
    nvidia = has_nvidia_card()
    stamp = wanted_stamp(root / "pyproject.toml", nvidia)
    if is_current(venv, stamp):
        return False
    started = time.monotonic()
    make_venv(venv)
    (venv / _STAMP).unlink(missing_ok=True)
    install_torch(venv, platform.system(), nvidia)
    install_project(venv, root)
    (venv / _STAMP).write_text(stamp)
    say(f"ready after {time.monotonic() - started:.0f} s")
    return True


def main() -> int:
    try:
        bootstrap()
    except BootstrapError as error:
        say(str(error))
        return 2
    except KeyboardInterrupt:
        say("stopped; start again to go on.")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())

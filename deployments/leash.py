"""Runs one command and ends its whole process tree as soon as standard input closes.

Stands between `channelscribe` and each server or worker it starts: the pipe closes however the parent ends, kill -9
included, so nothing is left running. Run as a script; standard library only, so it costs milliseconds.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence

GRACE_S = 15.0


def start(command: Sequence[str]) -> subprocess.Popen[bytes]:
    """The command in a process group of its own, deaf to the terminal's Ctrl-C."""
    if sys.platform == "win32":
        group = subprocess.CREATE_NEW_PROCESS_GROUP
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, creationflags=group)
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)


def ask_to_end(child: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(OSError):
        if sys.platform == "win32":
            child.send_signal(signal.CTRL_BREAK_EVENT)
        else:
            child.terminate()


def end_tree(child: subprocess.Popen[bytes]) -> None:
    """Ends what is left of the child's group."""
    if sys.platform == "win32":
        subprocess.run(["taskkill", "/PID", str(child.pid), "/T", "/F"], capture_output=True, check=False)
        return
    with contextlib.suppress(OSError):
        os.killpg(child.pid, signal.SIGKILL)


def _end_when_input_closes(child: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(OSError):
        while os.read(0, 4096):
            pass
    ask_to_end(child)
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(GRACE_S)
    end_tree(child)


def main(command: Sequence[str]) -> int:
    """The exit code of the command; of a command ended by a signal, 128 and the signal's number."""
    child = start(command)
    threading.Thread(target=_end_when_input_closes, args=(child,), daemon=True).start()
    code = child.wait()
    end_tree(child)
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Says by its exit code whether a server or worker of ours answers: `python -m deployments.probe [URL]`.

Health check of the containers, whose image has no curl. Standard library only, so that a check costs little; without a
URL it asks the worker of its own container.
"""

from __future__ import annotations

import os
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence

ANSWER_S = 8.0
_WORKER_PORT = "8080"  # of `worker start --with-healthcheck`
_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def worker_url() -> str:
    return f"http://127.0.0.1:{os.environ.get('PREFECT_WORKER_WEBSERVER_PORT') or _WORKER_PORT}/health"


def trouble(url: str, timeout_s: float = ANSWER_S) -> str:
    """Why it is not well, in one sentence; "" when it is. Proxies are never asked."""
    try:
        with _direct.open(url, timeout=timeout_s):
            return ""
    except urllib.error.HTTPError as error:
        return f"{url} answers {error.code}."
    except (OSError, ValueError) as error:
        return f"{url} does not answer: {error}."


def main(arguments: Sequence[str]) -> int:
    """0 when all of the addresses are well, else 1."""
    found = [reason for url in arguments or [worker_url()] if (reason := trouble(url))]
    sys.stderr.write("".join(f"{reason}\n" for reason in found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""`channelscribe up`: everything a scheduled or UI-started run needs on this machine, until Ctrl-C.

Stands on `stack`; what it starts ends with it.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from channelscribe.core.clock import Clock, SystemClock
from channelscribe.core.errors import EnvironmentFailure
from deployments.place import free_port, prefect_home, running_server
from deployments.session import Session
from deployments.stack import Stack, open_stack

_LOOK_EVERY_S = 1.0


def up(session: Session, port: int | None) -> None:
    """Ends by Ctrl-C, which is how it is meant to end, or by an error."""
    home = prefect_home(session.data)
    if (other := running_server(home)) is not None:
        raise EnvironmentFailure(
            f"a server for this data root already runs at {other.ui_url}; use it or end it first", code="already_up"
        )
    if port is not None and free_port(port) != port:
        raise EnvironmentFailure(f"port {port} is taken; choose another one or leave --port out", code="port_taken")
    with open_stack(home, Path.cwd(), port, session.say) as stack:
        session.say(f"Prefect UI: {stack.server.ui_url}")
        session.say(f"deployments: {', '.join(stack.deployments)}")
        session.say(_automations())
        session.say(f"data: {session.shown_data}   logs: {home / 'logs'}")
        session.say("Ctrl-C ends everything")
        with suppress(KeyboardInterrupt):
            watch(stack)
        session.say("ending worker and server")


def _automations() -> str:
    """Brings our automations to the server that the stack runs; says which blocks they lack."""
    from prefect.client.orchestration import get_client

    from deployments.automations import apply

    with get_client(sync_client=True) as client:
        return apply(client).sentence


def watch(stack: Stack, clock: Clock | None = None) -> None:
    """Waits until a part dies, which is an error."""
    clock = clock or SystemClock()
    while True:
        stack.check()
        clock.sleep(_LOOK_EVERY_S)

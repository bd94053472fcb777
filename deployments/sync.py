"""`channelscribe sync`: the flow, run in this process, on the server that is there or on a temporary one.

Checks what can be checked in a second before it starts anything; the flow does the work, the archive has the figures.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any, Protocol

from pydantic import ValidationError

from channelscribe.asr.model import resolve_model
from channelscribe.core.errors import ChannelscribeError, EnvironmentFailure, UsageError
from channelscribe.core.profile import Preset, TranscriptionProfile
from channelscribe.core.settings import Settings
from channelscribe.odin.config import OdinConfig
from channelscribe.store.archive import Archive
from channelscribe.store.root import DataRoot
from channelscribe.youtube.download import AudioFormat
from channelscribe.youtube.source import parse_source
from deployments.figures import figure_rows, figures, show
from deployments.follow import follow
from deployments.network import require_network
from deployments.place import (
    Server,
    answers,
    client_settings,
    free_port,
    prefect_home,
    quiet_settings,
    running_server,
)
from deployments.session import Session
from deployments.stack import open_server

if TYPE_CHECKING:
    from uuid import UUID

    from prefect import Flow
    from prefect.client.schemas.objects import State

SEND_S = 5.0
_TRANSCRIPTION = ("preset", "model", "language", "words")


class How(Protocol):
    """The options that every command with a run of ours has."""

    @property
    def media(self) -> str: ...
    @property
    def preset(self) -> str: ...
    @property
    def upload(self) -> bool: ...
    @property
    def tolerate_failures(self) -> bool: ...
    def transcription(self) -> dict[str, Any]: ...


@dataclass(frozen=True)
class SyncRequest:
    """What the user asked for, unchecked."""

    source: str
    since: str = ""
    until: str = ""
    latest: int = 0
    model: str = ""
    preset: str = ""
    language: str = ""
    upload: bool = True
    tolerate_failures: bool = False
    retry_parked: bool = False
    media: str = "m4a"
    words: bool = False

    def transcription(self) -> dict[str, Any]:
        """Only what was asked for, as fields of the form."""
        return {name: value for name in _TRANSCRIPTION if (value := getattr(self, name))}


def sync(session: Session, request: SyncRequest) -> int:
    """The exit code: 0 all done (or failures tolerated), 1 some failed. Raises what stopped the run."""
    root = preflight(session, request)
    return work(
        session, root, f"sync {request.source}", lambda server: run_flow(session, request, server), request.upload
    )


def work(session: Session, root: DataRoot, title: str, run: Callable[[Server], State[Any]], upload: bool) -> int:
    """Runs a flow of ours with its progress shown, then its figures; the exit code as for `sync`."""
    with Archive(root) as archive, _standard_output_kept_clean(session), open_api(session) as server:
        with follow(session, archive, upload=upload):
            state = run(server)
        run_id = _run_id(state)
        _raise_what_stopped_it(state)
        result, run_url = figures(archive, str(run_id)), server.run_url(run_id)
    code = 0 if state.is_completed() else 1
    if session.as_json:
        session.emit({"exit_code": code, **result.as_json(), "data": session.shown_data, "run_url": run_url})
    else:
        show(session.results, title, figure_rows(result), result.not_done)
        session.say(f"data: {session.shown_data}")
    return code


def preflight(session: Session, request: SyncRequest) -> DataRoot:
    """Everything that can be known to be wrong before a server is started."""
    parse_source(request.source)
    check_selection(request.since, request.until, request.latest)
    require_network()
    return check_settings(session, request)


def check_selection(since: str, until: str, latest: int) -> None:
    from flows.forms import SelectionForm

    _day(since, "--since")
    _day(until, "--until")
    SelectionForm(since=since, until=until, latest=latest).selection()


def check_settings(session: Session, how: How) -> DataRoot:
    """Model, media and credentials; returns the data root, which is writable."""
    if how.media not in set(AudioFormat):
        raise UsageError(f"--media {how.media!r} is none of {', '.join(AudioFormat)}", code="bad_media")
    resolve_model(profile(how))
    root = DataRoot.open(session.data)
    if how.upload and not _server_may_know_credentials(session):
        OdinConfig.from_settings(Settings())
    return root


def _day(text: str, option: str) -> None:
    try:
        if text and date.fromisoformat(text).isoformat() != text:
            raise ValueError
    except ValueError as error:
        raise UsageError(
            f"{option} {text!r} is not a day of the calendar; write it as YYYY-MM-DD", code="bad_date"
        ) from error


def profile(request: How) -> TranscriptionProfile:
    """The profile of environment and options. Raises UsageError for values that cannot be."""
    if request.preset and request.preset not in set(Preset):
        raise UsageError(f"--preset {request.preset!r} is none of {', '.join(Preset)}", code="bad_preset")
    changes = {name: value for name, value in request.transcription().items() if name != "preset"}
    try:
        settings = Settings()
        if request.preset:
            settings = settings.model_copy(update={"preset": Preset(request.preset)})
        return settings.profile(**changes)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise UsageError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}", code="bad_setting") from error


def _server_may_know_credentials(session: Session) -> bool:
    return "PREFECT_API_URL" in os.environ or (prefect_home(session.data) / "prefect.db").exists()


@contextmanager
def open_api(session: Session) -> Iterator[Server]:
    """The server of PREFECT_API_URL, or the one that `up` runs on the same data, or a temporary one."""
    os.environ.update(quiet_settings())
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "WARNING")
    home = prefect_home(session.data)
    if (address := os.environ.get("PREFECT_API_URL", "").rstrip("/")) != "":
        if address.startswith("http://") and not answers(address, timeout_s=10):
            raise EnvironmentFailure(f"no Prefect server answers at PREFECT_API_URL ({address})", code="no_server")
        yield Server(address)
    elif (known := running_server(home)) is not None:
        os.environ.update(client_settings(home, known.api_url))
        yield known
    else:
        with open_server(home, free_port(), session.say) as (server, _):
            os.environ.update(client_settings(home, server.api_url))
            try:
                yield server
            finally:
                send_what_waits()


def send_what_waits() -> None:
    """Logs and events that Prefect still holds back, while their server is there to take them."""
    if "prefect" in sys.modules:
        from prefect.events.worker import EventsWorker
        from prefect.logging.handlers import APILogHandler

        APILogHandler().flush()
        EventsWorker.drain_all(timeout=SEND_S)


def run_flow(session: Session, request: SyncRequest, server: Server) -> State[Any]:
    """Runs the flow in this process and returns its final state, whatever it is."""
    from flows.forms import SelectionForm
    from flows.sync_channel import sync_channel

    chosen = SelectionForm(since=request.since, until=request.until, latest=request.latest)
    return call(
        session,
        server,
        sync_channel,
        request,
        source=request.source,
        selection=chosen,
        retry_parked=request.retry_parked,
    )


def call(session: Session, server: Server, flow: Flow[..., Any], how: How, **parameters: Any) -> State[Any]:
    """Calls a flow of ours in this process; `how` fills the parameters that all of them have."""
    from prefect.exceptions import Pause

    from flows.forms import TranscriptionForm

    def announce_run(flow: Any, flow_run: Any, state: Any) -> None:
        session.say(f"run: {server.run_url(flow_run.id)}")

    try:
        called: Any = flow.with_options(on_running=[announce_run])
        state: State[Any] = called(
            **parameters,
            transcription=TranscriptionForm.model_validate(how.transcription()),
            media=AudioFormat(how.media).value,
            upload=how.upload,
            tolerate_failures=how.tolerate_failures,
            # Parameters stand on the run's page; an address with a password stays in the environment.
            data=session.data if session.shown_data == session.data else "",
            return_state=True,
        )
    except Pause as error:
        raise EnvironmentFailure(
            "the run was suspended in the Prefect UI; the same command goes on where it stopped", code="suspended"
        ) from error
    return state


def _run_id(state: State[Any]) -> UUID | None:
    return state.state_details.flow_run_id


def _raise_what_stopped_it(state: State[Any]) -> None:
    """An exception that ended the flow is told as what it is; a flow that merely reports failures is not stopped."""
    if state.is_completed():
        return
    cause = state.result(raise_on_failure=False)
    if isinstance(cause, ChannelscribeError):
        raise cause
    if state.is_cancelled() or state.is_crashed():
        raise KeyboardInterrupt if state.is_cancelled() else EnvironmentFailure(f"the run crashed: {state.message}")
    if isinstance(cause, BaseException) and not type(cause).__module__.startswith("prefect"):
        raise cause


@contextmanager
def _standard_output_kept_clean(session: Session) -> Iterator[None]:
    if not session.as_json:
        yield
        return
    with contextlib.redirect_stdout(sys.stderr):
        yield

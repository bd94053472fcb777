"""`channelscribe retry`: failed videos of the archive tried again by the same flow as the deployment `retry-failed`.

A dry run reads the tables only, with no server and no credentials.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError
from rich.markup import escape
from rich.table import Table

from channelscribe.core.clock import SystemClock
from channelscribe.core.errors import EnvironmentFailure, UsageError
from channelscribe.core.settings import first_problem
from channelscribe.failed import Choice, Which, choose, rows
from channelscribe.store.archive import Archive
from channelscribe.store.root import DataRoot
from deployments.network import require_network
from deployments.session import Session
from deployments.sync import call, check_settings, work

if TYPE_CHECKING:
    from flows.forms import FailedForm

_WHICH = {"sync": Which.SYNC, "access": Which.ACCESS, "all": Which.ALL}
_OPTIONS = {"failure_classes": "--class", "channels": "--channel", "videos": "--video"}
_COLUMNS = ("video", "channel", "step", "class", "attempts", "failed at", "then", "reason")


@dataclass(frozen=True)
class RetryRequest:
    """What the user asked for, unchecked; `failed` has fields of the form."""

    which: str
    failed: Mapping[str, Any]
    dry_run: bool = False
    model: str = ""
    preset: str = ""
    language: str = ""
    words: bool = False
    media: str = "m4a"
    upload: bool = True
    tolerate_failures: bool = False

    def transcription(self) -> dict[str, Any]:
        """Only what was asked for, as fields of the form."""
        given = {"model": self.model, "preset": self.preset, "language": self.language, "words": self.words}
        return {name: value for name, value in given.items() if value}


def retry(session: Session, request: RetryRequest) -> int:
    """The exit code: 0 all done, nothing to do or a dry run, 1 some failed again. Raises what stopped the run."""
    failed = form(request)
    if "://" not in session.data and not Path(session.data).is_dir():
        raise EnvironmentFailure(
            f"there is no archive at {session.shown_data}; run `channelscribe sync` first or give --data",
            code="no_archive",
        )
    if request.dry_run:
        return _dry_run(session, failed)
    require_network()
    root = check_settings(session, request)
    with Archive(root) as archive:
        choose(
            archive, failed.wish(), SystemClock().now()
        )  # a channel that is not there is told before anything starts

    from flows.retry_failed import retry_failed

    return work(
        session,
        root,
        "retry failed videos",
        lambda server: call(session, server, retry_failed, request, failed=failed),
        request.upload,
    )


def form(request: RetryRequest) -> FailedForm:
    """Raises UsageError that names the option and says what to write."""
    from flows.forms import FailedForm

    if request.which not in _WHICH:
        raise UsageError(f"--which {request.which!r} is none of {', '.join(_WHICH)}", code="bad_option")
    try:
        return FailedForm.model_validate({"which": _WHICH[request.which], **request.failed})
    except ValidationError as error:
        said = first_problem(error).replace("Value error, ", "").replace("..", ".")
        name = said.split(":")[0].split(".")[0]
        option = _OPTIONS.get(name, f"--{name.replace('_', '-')}")
        raise UsageError(f"{option}: {said.partition(': ')[2]}", code="bad_option") from error


def _dry_run(session: Session, failed: FailedForm) -> int:
    with Archive(DataRoot.open(session.data)) as archive:
        choice = choose(archive, failed.wish(), SystemClock().now())
    if session.as_json:
        chosen = [f.video.video_id for f in choice.chosen]
        shown = {"sentence": choice.sentence, "chosen": chosen, "videos": rows(choice)}
        session.emit({"exit_code": 0, "dry_run": True, **shown, "data": session.shown_data})
        return 0
    if choice.chosen or choice.held:
        session.results.print(_table(choice))
    session.say(f"{choice.sentence} Nothing was changed.")
    return 0


def _table(choice: Choice) -> Table:
    table = Table(*_COLUMNS)
    for row in rows(choice):
        table.add_row(*(escape(row[name]) for name in _COLUMNS))
    return table

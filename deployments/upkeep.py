"""`channelscribe verify|compact|retain|backup|restore`: the archive kept up from the command line, without a server.

Thin: each calls one verb of the library, which the flows of `flows/upkeep.py` call too. Wired into `cli` in one line.
"""

from __future__ import annotations

from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deployments.session import Session, open_session

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from channelscribe.store.archive import Archive

upkeep_app = typer.Typer()
BROKEN = 1
MOST_ROWS = 200
Data = Annotated[str | None, typer.Option("--data", help="Folder or URL of the archive [CHANNELSCRIBE_DATA or data].")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on standard output and nothing else there.")]
Target = Annotated[str, typer.Argument(help="Folder or URL of the backups.")]


@upkeep_app.command()
def verify(
    odin: Annotated[bool, typer.Option("--odin", help="Also ask ODIN for every document.")] = False,
    mend: Annotated[bool, typer.Option("--mend/--look", help="Write lost texts anew, let the next sync mend.")] = True,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Hash media, read transcripts, compare files with tables; exit code 1 when something is broken."""
    from channelscribe.verification import verify

    session = open_session(data, as_json)
    client = None
    if odin:
        from channelscribe.core.settings import Settings
        from channelscribe.odin.client import OdinClient
        from channelscribe.odin.config import OdinConfig

        client = OdinClient(OdinConfig.from_settings(Settings()))
    with _archive(session) as archive:
        done = verify(archive, _run_id("verify"), odin=client, mend=mend)
    rows = [finding.row for finding in done.findings]
    counted = {n: getattr(done, n) for n in ("media", "media_bytes", "retired", "transcripts", "files", "documents")}
    _show(session, done.sentence, rows, {**counted, "busy": done.busy, "sound": done.sound})
    raise typer.Exit(0 if done.sound else BROKEN)


@upkeep_app.command()
def compact(data: Data = None, as_json: Json = False) -> None:
    """Make few large files of the many small ones of every table."""
    session = open_session(data, as_json)
    with _archive(session) as archive:
        gone = archive.tidy()
    said = f"{sum(gone.values())} files went into others." if gone else "Another process is at it; nothing was done."
    _show(session, said, [], {"files_gone": gone})


@upkeep_app.command()
def retain(
    media_days: Annotated[int, typer.Option(min=0, help="Delete verified sound after so many days; 0: never.")] = 0,
    metrics_days: Annotated[int, typer.Option(min=0, help="Then one reading of the card a minute; 0: never.")] = 90,
    leftovers: Annotated[bool, typer.Option(help="Delete what finished videos left in .work.")] = True,
    really: Annotated[bool, typer.Option("--yes", help="Do it; without this nothing is deleted.")] = False,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Show what may go by rule, and with --yes delete it; never what is not verified."""
    from pydantic import ValidationError

    from channelscribe.core.errors import UsageError
    from channelscribe.core.settings import first_problem
    from channelscribe.retention import RetentionRule, retain

    session = open_session(data, as_json)
    try:
        rule = RetentionRule(media_days=media_days, metrics_days=metrics_days, leftovers=leftovers)
    except ValidationError as error:
        raise UsageError(f"The rule: {first_problem(error)}", code="bad_rule") from error
    with _archive(session) as archive:
        done = retain(archive, rule, _run_id("retain"), dry_run=not really)
    _show(session, done.sentence, done.rows, {"dry_run": done.dry_run, "freed_bytes": done.freed_bytes})
    if done.dry_run:
        session.say("Nothing was deleted; --yes does it.")


@upkeep_app.command()
def backup(
    target: Target,
    media: Annotated[bool, typer.Option("--media", help="Also the sound.")] = False,
    keep: Annotated[int, typer.Option(min=0, help="So many backups stay; 0 keeps all.")] = 0,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Save tables and texts, checksummed and read back; with `up` running also its state without secrets."""
    from channelscribe.backup import backup
    from channelscribe.store.root import DataRoot

    session = open_session(data, as_json)
    with _archive(session) as archive:
        manifest = backup(archive, DataRoot.open(target), extra=_state(session), media=media, keep=keep)
    found = {"name": manifest.name, "files": len(manifest.entries), "bytes": manifest.bytes, "rows": manifest.rows}
    _show(session, manifest.sentence, [{"missing": rel} for rel in manifest.missing], found)


@upkeep_app.command()
def restore(
    target: Target,
    name: Annotated[str, typer.Argument(help="Which backup [the newest].")] = "",
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Bring a backup into an empty data root and read all of it back."""
    from channelscribe.restore import restore
    from channelscribe.store.root import DataRoot

    session = open_session(data, as_json)
    manifest = restore(DataRoot.open(target), DataRoot.open(session.data), name)
    _show(session, manifest.sentence, [], {"name": manifest.name, "files": len(manifest.entries)})
    session.say(f"restored into {session.shown_data}")


@contextmanager
def _archive(session: Session) -> Iterator[Archive]:
    """The archive, which must be there: upkeep makes none."""
    from channelscribe.core.errors import EnvironmentFailure
    from channelscribe.store.archive import Archive
    from channelscribe.store.root import DataRoot

    if "://" not in session.data and not Path(session.data).is_dir():
        raise EnvironmentFailure(f"there is no archive at {session.shown_data}; give --data", code="no_archive")
    with Archive(DataRoot.open(session.data)) as archive:
        yield archive


def _state(session: Session) -> dict[str, bytes]:
    """The state of the server that `up` runs on these data; without one there is none to save."""
    import os

    from deployments.place import client_settings, prefect_home, running_server

    home = prefect_home(session.data)
    if (server := running_server(home)) is None:
        session.say("No Prefect server runs for this archive; its state is not saved.")
        return {}
    os.environ.update(client_settings(home, server.api_url))
    from prefect.client.orchestration import get_client

    from blocks.state import export_state
    from flows.upkeep import STATE

    with get_client(sync_client=True) as client:
        return {STATE: export_state(client)}


def _run_id(verb: str) -> str:
    return f"{verb}-{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}"


def _show(session: Session, sentence: str, rows: Sequence[dict[str, str]], figures: dict[str, Any]) -> None:
    if session.as_json:
        session.emit({"sentence": sentence, **figures, "rows": list(rows)})
        return
    if rows:
        from rich.markup import escape
        from rich.table import Table

        table = Table(*rows[0])
        for row in rows[:MOST_ROWS]:
            table.add_row(*(escape(value) for value in row.values()))
        session.results.print(table)
        if len(rows) > MOST_ROWS:
            session.say(f"and {len(rows) - MOST_ROWS} more; --json has all of them")
    session.results.print(sentence, markup=False)

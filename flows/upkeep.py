"""Keeping an archive up: verify, compact, retain, back up, restore. Each is a deployment and a command.

Every one may run beside a sync. The work is in the library; here it gets its form, its page and its state.
"""

from __future__ import annotations

from typing import Annotated, Any

from prefect import flow, get_run_logger
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed, Failed
from pydantic import Field

from blocks.odin import OdinCredentials
from blocks.state import export_state
from blocks.storage import ArchiveRoot
from channelscribe import backup as backing
from channelscribe import restore as restoring
from channelscribe.core.settings import complete_network_environment
from channelscribe.retention import RetentionRule, retain
from channelscribe.store.archive import Archive
from channelscribe.store.root import DataRoot
from channelscribe.verification import verify
from flows.fields import ArchivePlace, OnlyShown, Tolerant, titled
from tasks.upkeep import show

STATE = "prefect/state.json"
USUAL_RULE = RetentionRule()
AlsoOdin = Annotated[bool, titled("Ask ODIN too")]
Mend = Annotated[bool, titled("Mend")]
Rule = Annotated[RetentionRule, titled("Rule")]
Backups = Annotated[str, titled("Place of the backups")]
AlsoSound = Annotated[bool, titled("Also the sound")]
Kept = Annotated[int, Field(ge=0, le=10_000), titled("Backups kept")]
EmptyPlace = Annotated[str, titled("New archive")]
BackupName = Annotated[str, titled("Backup")]
_OPTIONS: dict[str, Any] = {"retries": 0, "persist_result": False, "validate_parameters": True}


@flow(name="verify-archive", flow_run_name="verify", **_OPTIONS)
def verify_archive(
    odin: AlsoOdin = False, mend: Mend = True, tolerate_failures: Tolerant = False, data: ArchivePlace = ""
) -> State[Any]:
    """Hashes every media file, reads every transcript, compares the files beside them with the tables.

    Args:
        odin: Also ask ODIN for every document.
        mend: Write lost text files anew and let the next sync do the rest. Off: only look.
        tolerate_failures: End as Completed even when something is broken.
        data: Folder or URL of the archive. Empty: as configured.
    """
    complete_network_environment()
    client = OdinCredentials.resolve().client() if odin else None
    with Archive(_root(data)) as archive:
        done = verify(archive, str(flow_run.id), odin=client, mend=mend)
    show("verification", done.sentence, [finding.row for finding in done.findings])
    return (Completed if done.sound or tolerate_failures else Failed)(message=done.sentence)


@flow(name="compact-archive", flow_run_name="compact", **_OPTIONS)
def compact_archive(data: ArchivePlace = "") -> State[Any]:
    """Makes few large files of the many small ones of every table.

    Args:
        data: Folder or URL of the archive. Empty: as configured.
    """
    with Archive(_root(data)) as archive:
        gone = archive.tidy()
    sentence = compacted(gone)
    show("compaction", sentence, [{"table": name, "files gone": str(count)} for name, count in gone.items()])
    return Completed(message=sentence)


@flow(name="retain-archive", flow_run_name="retain", **_OPTIONS)
def retain_archive(rule: Rule = USUAL_RULE, dry_run: OnlyShown = True, data: ArchivePlace = "") -> State[Any]:
    """Deletes what is old by rule, and only what is verified. A dry run shows what it would delete.

    Args:
        rule: What is old enough.
        dry_run: Only show it.
        data: Folder or URL of the archive. Empty: as configured.
    """
    with Archive(_root(data)) as archive:
        done = retain(archive, rule, str(flow_run.id), dry_run=dry_run)
    show("retention", done.sentence, done.rows)
    return Completed(message=done.sentence)


@flow(name="back-up-archive", flow_run_name="back up to {target}", **_OPTIONS)
def back_up_archive(target: Backups, media: AlsoSound = False, keep: Kept = 6, data: ArchivePlace = "") -> State[Any]:
    """Saves tables, texts and the state of this server without its secrets, checksummed and read back.

    Args:
        target: Folder or URL (s3://, gs://) for backups; not the archive itself.
        media: Also the sound.
        keep: How many backups stay there; 0 keeps all.
        data: Folder or URL of the archive. Empty: as configured.
    """
    place = DataRoot.open(target)
    with Archive(_root(data)) as archive:
        manifest = backing.backup(archive, place, extra=server_state(), media=media, keep=keep)
    show("backup", manifest.sentence, [{"missing": rel} for rel in manifest.missing])
    return Completed(message=manifest.sentence)


@flow(name="restore-archive", flow_run_name="restore into {data}", **_OPTIONS)
def restore_archive(target: Backups, data: EmptyPlace, name: BackupName = "") -> State[Any]:
    """Brings a backup into an empty folder and reads all of it back.

    Args:
        target: Folder or URL of the backups.
        data: Empty folder or URL that becomes the archive.
        name: Which backup; empty: the newest.
    """
    manifest = restoring.restore(DataRoot.open(target), DataRoot.open(data), name)
    show("restore", manifest.sentence)
    return Completed(message=manifest.sentence)


def compacted(gone: dict[str, int]) -> str:
    """What a compaction did, in one sentence."""
    if not gone:
        return "Another process is compacting these tables; nothing was done."
    return f"{sum(gone.values())} files of {len(gone)} tables went into others."


def server_state() -> dict[str, bytes]:
    """The state of the server of this run, as an extra text of a backup; a server that is busy costs no backup."""
    try:
        with get_client(sync_client=True) as client:
            return {STATE: export_state(client)}
    except Exception as error:  # noqa: BLE001 - whatever the client says
        get_run_logger().warning("The backup lacks the state of the Prefect server: %s", type(error).__name__)
        return {}


def _root(data: str) -> DataRoot:
    return DataRoot.open(data) if data else ArchiveRoot.resolve().open()

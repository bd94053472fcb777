"""Automations as code: `automations.yaml` brought to a Prefect server, and `channelscribe automations apply|list`.

Beside `register`, which calls `apply`. Applying again brings what changed in the file and leaves on and off as the
operator set it. An automation without any block to speak through is not made, and told.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import yaml

from channelscribe.core.errors import EnvironmentFailure, UsageError
from deployments.session import Session, open_session

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.events.actions import ActionTypes
    from prefect.events.schemas.automations import Automation, AutomationCore, EventTrigger

automations_app = typer.Typer(help="What tells a person when something is wrong.", no_args_is_help=True)
AUTOMATIONS_FILE = Path(__file__).with_name("automations.yaml")
PREFIX = "channelscribe: "
LEAST_WAIT_MINUTES = 1.0  # the second report of a crash comes seconds after the first (research/prefect.md, trap 5)
_SUBJECT = "{{ automation.name }}"
_MESSAGE = (
    "{% if event and event.payload and event.payload.message %}{{ event.payload.message }}"
    "{% elif event and flow_run and flow_run.state %}{{ flow_run.state.message }}"
    "{% else %}{{ automation.description }}{% endif %}"
)
_RUN = "{% if flow_run %}{{ flow_run.name }}{% endif %}"
_BODY = f"{_MESSAGE}\n{_RUN}\n{{% if flow_run %}}{{{{ flow_run|ui_url }}}}{{% endif %}}"
_JSON = (
    '{"automation": {{ automation.name|tojson }}, '
    f'"message": {{% filter tojson %}}{_MESSAGE}{{% endfilter %}}, '
    f'"run": {{% filter tojson %}}{_RUN}{{% endfilter %}}, '
    '"run_id": {% if flow_run %}{{ flow_run.id|string|tojson }}{% else %}null{% endif %}, '
    '"event": {% if event %}{{ event.event|tojson }}{% else %}null{% endif %}}'
)


@dataclass(frozen=True)
class AutomationSpec:
    """One entry of the file. `absent_minutes`: fires when none of `expect` comes so long after one of `after`."""

    name: str
    expect: tuple[str, ...]
    description: str = ""
    after: tuple[str, ...] = ()
    absent_minutes: float = 0.0
    tag: str = ""
    of: tuple[str, ...] = ()
    run: str = ""
    wait_minutes: float = 0.0
    parameters: Mapping[str, Any] = field(default_factory=dict)
    enabled: bool = True

    def __post_init__(self) -> None:
        """Raises UsageError for what could run in a loop or never fire."""
        if self.run and (self.wait_minutes < LEAST_WAIT_MINUTES or not self.of or self.run in self.of):
            reason = f"The automation {self.name!r} starts {self.run}: it needs wait_minutes of at least "
            reason += f"{LEAST_WAIT_MINUTES:g}, and `of` with the deployments that set it off, itself not among them."
            raise UsageError(reason, code="bad_automation")
        if not self.expect or bool(self.after) != bool(self.absent_minutes):
            reason = f"The automation {self.name!r} needs `expect`, and `after` together with `absent_minutes`."
            raise UsageError(reason, code="bad_automation")

    @property
    def full_name(self) -> str:
        return PREFIX + self.name


@dataclass(frozen=True)
class Applied:
    """What became of the file. `missing` are blocks and deployments that do not exist."""

    made: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    same: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        there = len(self.made) + len(self.changed) + len(self.same)
        said = f"automations: {there} on the server"
        if self.left_out:
            said += f"; not made: {', '.join(self.left_out)}"
        return said + (f"; missing: {', '.join(self.missing)} (make the block in the UI)" if self.missing else "")


def read_automations(file: Path = AUTOMATIONS_FILE) -> tuple[list[str], list[AutomationSpec]]:
    """The ways as `type/name`, and the automations. Raises UsageError for a file that says neither."""
    try:
        raw = yaml.safe_load(file.read_text(encoding="utf-8"))
        specs = [AutomationSpec(**{k: _frozen(v) for k, v in entry.items()}) for entry in raw["automations"]]
        return [str(way) for way in raw["ways"]], specs
    except (OSError, yaml.YAMLError, TypeError, KeyError, AttributeError) as error:
        raise UsageError(f"{file.name} cannot be read: {error}", code="bad_automation") from error


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def apply(client: SyncPrefectClient, file: Path = AUTOMATIONS_FILE) -> Applied:
    """Makes or changes the automations of the file; those whose blocks or deployments are gone are deleted."""
    ways, specs = read_automations(file)
    blocks = {way: found for way in ways if (found := _block(client, way)) is not None}
    result: dict[str, list[str]] = {"made": [], "changed": [], "same": [], "left_out": []}
    missing = [way for way in ways if way not in blocks]
    for spec in specs:
        wanted = _core(client, spec, blocks, missing)
        result[_bring(client, spec, wanted)].append(spec.name)
    return Applied(**{k: tuple(v) for k, v in result.items()}, missing=tuple(dict.fromkeys(missing)))


def _bring(client: SyncPrefectClient, spec: AutomationSpec, wanted: AutomationCore | None) -> str:
    known = client.read_automations_by_name(spec.full_name)
    for surplus in known[1:] if wanted else known:
        client.delete_automation(surplus.id)
    if wanted is None:
        return "left_out"
    if not known:
        client.create_automation(wanted)
        return "made"
    wanted.enabled = known[0].enabled
    if _essence(known[0]) == _essence(wanted):
        return "same"
    client.update_automation(known[0].id, wanted)
    return "changed"


def _essence(automation: Automation | AutomationCore) -> Any:
    """What the file says of an automation, in one spelling; the server adds ids of its own."""
    value = automation.model_dump(mode="json", include={"description", "trigger", "actions"})
    value["trigger"].pop("id", None)
    for name in ("after", "expect", "for_each"):
        value["trigger"][name] = sorted(value["trigger"][name])
    return value


def _core(
    client: SyncPrefectClient, spec: AutomationSpec, blocks: Mapping[str, Any], missing: list[str]
) -> AutomationCore | None:
    from prefect.events.actions import RunDeployment
    from prefect.events.schemas.automations import AutomationCore

    sources = [_deployment(client, name, missing) for name in spec.of]
    actions: list[ActionTypes]
    if spec.run:
        target = _deployment(client, spec.run, missing)
        if target is None or None in sources:
            return None
        wait = timedelta(minutes=spec.wait_minutes)
        actions = [
            RunDeployment(
                source="selected", deployment_id=target, parameters=dict(spec.parameters), schedule_after=wait
            )
        ]
    else:
        actions = [_notify(way, block) for way, block in blocks.items()]
    if not actions:
        return None
    return AutomationCore(
        name=spec.full_name,
        description=spec.description,
        enabled=spec.enabled,
        tags=["channelscribe"],
        trigger=_trigger(spec, [f"prefect.deployment.{source}" for source in sources]),
        actions=actions,
    )


def _trigger(spec: AutomationSpec, deployments: Sequence[str]) -> EventTrigger:
    from prefect.events.schemas.automations import EventTrigger, Posture

    related: dict[str, Any] = {}
    if deployments:
        related = {"prefect.resource.role": "deployment", "prefect.resource.id": list(deployments)}
    elif spec.tag:
        related = {"prefect.resource.role": "tag", "prefect.resource.id": f"prefect.tag.{spec.tag}"}
    return EventTrigger(
        after=set(spec.after),
        expect=set(spec.expect),
        match_related=related,
        for_each={"prefect.resource.id"},
        posture=Posture.Proactive if spec.absent_minutes else Posture.Reactive,
        threshold=1,
        within=timedelta(minutes=spec.absent_minutes),
    )


def _notify(way: str, block: Any) -> ActionTypes:
    from prefect.events.actions import CallWebhook, SendNotification

    if way.startswith("webhook/"):
        return CallWebhook(block_document_id=block, payload=_JSON)
    return SendNotification(block_document_id=block, subject=_SUBJECT, body=_BODY)


def _block(client: SyncPrefectClient, way: str) -> Any:
    from prefect.exceptions import ObjectNotFound

    kind, _, name = way.partition("/")
    try:
        return client.read_block_document_by_name(name, kind, include_secrets=False).id
    except ObjectNotFound:
        return None


def _deployment(client: SyncPrefectClient, name: str, missing: list[str]) -> Any:
    from prefect.exceptions import ObjectNotFound

    try:
        return client.read_deployment_by_name(name).id
    except ObjectNotFound:
        missing.append(name)
        return None


Data = Annotated[str | None, typer.Option("--data", help="Folder or URL of the archive [CHANNELSCRIBE_DATA or data].")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")]


@automations_app.command("apply")
def apply_command(data: Data = None, as_json: Json = False) -> None:
    """Bring automations.yaml to the running server; says which blocks are missing."""
    session = open_session(data, as_json)
    with _server(session) as client:
        done = apply(client)
    if as_json:
        session.emit({name: list(getattr(done, name)) for name in ("made", "changed", "same", "left_out", "missing")})
    session.say(done.sentence)


@automations_app.command("list")
def list_command(data: Data = None, as_json: Json = False) -> None:
    """Show our automations on the running server, on or off."""
    from rich.table import Table

    session = open_session(data, as_json)
    with _server(session) as client:
        there = {a.name: a for a in client.read_automations() if a.name.startswith(PREFIX)}
    rows = [(s.name, _standing(there.get(s.full_name)), s.description) for s in read_automations()[1]]
    if as_json:
        session.emit({"automations": [dict(zip(("name", "state", "description"), row, strict=True)) for row in rows]})
        return
    table = Table("automation", "state", "tells when")
    for row in rows:
        table.add_row(*row)
    session.results.print(table)


def _standing(automation: Automation | None) -> str:
    return "not made" if automation is None else "on" if automation.enabled else "off"


def _server(session: Session) -> SyncPrefectClient:
    """A client of the server that PREFECT_API_URL names or `up` runs on these data."""
    import os

    from deployments.place import client_settings, prefect_home, running_server

    home = prefect_home(session.data)
    if "PREFECT_API_URL" not in os.environ:
        server = running_server(home)
        if server is None:
            reason = "No Prefect server runs for this archive; start `channelscribe up` or set PREFECT_API_URL."
            raise EnvironmentFailure(reason, code="no_server")
        os.environ.update(client_settings(home, server.api_url))
    from prefect.client.orchestration import get_client

    return get_client(sync_client=True)

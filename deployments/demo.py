"""`channelscribe demo`: the main job on a shipped channel, through the same server, worker and flow as always.

YouTube and ODIN are stand-ins that speak the real protocols, in a process of their own; everything else is the product.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from channelscribe.core.clock import SystemClock
from channelscribe.core.errors import EnvironmentFailure, UsageError
from channelscribe.store.archive import Archive
from channelscribe.store.root import DataRoot
from deployments.figures import RunFigures, figures, show
from deployments.follow import follow
from deployments.place import prefect_home
from deployments.score import Score, read_truth, score
from deployments.session import Session, open_session
from deployments.stack import Stack, open_stack
from deployments.standins import StandIns, open_stand_ins
from deployments.up import watch

if TYPE_CHECKING:
    from uuid import UUID

CHECKOUT = Path(__file__).resolve().parent.parent
CHECKPOINT = CHECKOUT / "tests" / "speech_model" / "checkpoint"
DEPLOYMENT = "sync-channel/on-demand"
LONGEST_RUN_S = 3600.0
_MARK = ".channelscribe-demo"
_OTHERS_SETTINGS = ("CHANNELSCRIBE_", "ODIN_", "YOUTUBE_", "PREFECT_API_", "PREFECT_HOME", "API_KEY", "API_SECRET")
_CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "HTTPLIB2_CA_CERTS")


@dataclass(frozen=True)
class DemoResult:
    run: RunFigures
    score: Score
    run_url: str


def demo(data: str | None, *, keep: bool, as_json: bool) -> int:
    """0 when every video that can be done was done and verified in ODIN."""
    if not CHECKPOINT.is_dir():
        raise EnvironmentFailure("the demo needs a checkout of the project (its tests/ folder)", code="no_checkout")
    folder = prepare_folder(data)
    with ExitStack() as opened:
        stand_ins = opened.enter_context(open_stand_ins(folder / ".stand-ins"))
        set_environment(stand_ins.environment)
        session = open_session(str(folder), as_json)
        stack = opened.enter_context(open_stack(prefect_home(session.data), folder, say=session.say))
        result = run_demo(session, stack, stand_ins)
        report(session, result)
        if keep:
            session.say(f"everything stays up: {stack.server.ui_url} (Ctrl-C ends it)")
            with suppress(KeyboardInterrupt):
                watch(stack)
    return 1 if result.score.missing else 0


def prepare_folder(data: str | None, own: str = "demo-data") -> Path:
    """A folder named by the user is used as it is; the demo's `own` is made afresh, if it was made by a demo."""
    if data is not None:
        if "://" in data:
            raise UsageError("the demo writes to a folder, not to a URL", code="demo_folder")
        folder = Path(data).expanduser().resolve()
        folder.mkdir(parents=True, exist_ok=True)
        return folder
    folder = Path(own).resolve()
    if folder.exists() and any(folder.iterdir()) and not (folder / _MARK).exists():
        raise EnvironmentFailure(f"{folder} was not made by the demo; move it or give --data", code="demo_folder")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / _MARK).touch()
    return folder


def set_environment(stand_ins: Mapping[str, str]) -> None:
    """This process and its children talk to the stand-ins only, whatever the user's own settings say."""
    for name in list(os.environ):
        if name.startswith(_OTHERS_SETTINGS) or name in _CERTIFICATES or name.lower().endswith("_proxy"):
            del os.environ[name]
    os.environ.update(stand_ins)
    os.environ.update(
        CHANNELSCRIBE_MODEL=str(CHECKPOINT),
        YOUTUBE_SPACING_S="0",  # the stand-in needs no politeness
        YOUTUBE_REQUEST_PAUSE_S="0",
        HF_HUB_OFFLINE="1",
        DO_NOT_TRACK="1",
    )


def run_demo(session: Session, stack: Stack, stand_ins: StandIns) -> DemoResult:
    """Starts the deployment as the UI's button does, waits for its end, and marks it."""
    run_id = start_run(stand_ins.channel)
    url = stack.server.run_url(run_id)
    session.say(f"run of {stand_ins.channel}: {url}")
    with Archive(DataRoot.open(session.data)) as archive, follow(session, archive, upload=True):
        wait_for_end(run_id, stack)
        run = figures(archive, str(run_id))
        return DemoResult(run, score(archive, read_truth(stand_ins.truth)), url)


def start_run(channel: str) -> UUID:
    from prefect.deployments import run_deployment

    parameters = {"source": channel, "tolerate_failures": True}
    run: Any = run_deployment(DEPLOYMENT, parameters=parameters, timeout=0, as_subflow=False)
    run_id: UUID = run.id
    return run_id


def wait_for_end(run_id: UUID, stack: Stack) -> None:
    """Raises EnvironmentFailure when a part of the stack dies or the run takes impossibly long."""
    from prefect.client.orchestration import get_client

    clock = SystemClock()
    end = clock.monotonic() + LONGEST_RUN_S
    with get_client(sync_client=True) as client:
        while not (state := client.read_flow_run(run_id).state) or not state.is_final():
            stack.check()
            if clock.monotonic() > end:
                raise EnvironmentFailure(f"the run did not end within {LONGEST_RUN_S / 60:.0f} min", code="demo_slow")
            clock.sleep(1.0)


def report(session: Session, result: DemoResult) -> None:
    """The table at the end, or one JSON object."""
    if session.as_json:
        session.emit(
            {"exit_code": 1 if result.score.missing else 0, **result.run.as_json()}
            | {"wer": result.score.wer, "verified": result.score.verified, "missing": list(result.score.missing)}
            | {"run_url": result.run_url, "data": session.data}
        )
        return
    show(session.results, "The demo channel", _rows(result), result.run.not_done)
    for title in result.score.missing:
        session.say(f"should have been done and verified, but was not: {title}")
    session.say(f"run in the Prefect UI: {result.run_url}")
    session.say(f"transcripts beside the media: {Path(session.data) / 'archive'}")
    session.say(f"Parquet tables: {Path(session.data)}   look: channelscribe status --data {session.data}")


def _rows(result: DemoResult) -> list[tuple[str, str]]:
    run, score = result.run, result.score
    expected = len(score.expected_failures)
    return [
        ("videos", f"{run.videos}"),
        ("done", f"{run.done}"),
        ("not done (private, live: expected)", f"{run.failed} of {expected} expected"),
        ("minutes transcribed", f"{run.audio_s / 60:.1f}"),
        ("words", f"{run.words:,}"),
        ("WER of the small test model", "-" if score.wer is None else f"{score.wer:.1%}"),
        ("RTFx (sound per wall second)", f"{run.rtfx:.1f}"),
        ("documents verified in ODIN", f"{score.verified}"),
    ]

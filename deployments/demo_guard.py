"""`channelscribe demo --guard`: the demo's channel on a simulated card that gets too hot, pauses, cools and goes on.

The server, worker, flow, engine and guard are the product; only the card, YouTube and ODIN are stand-ins.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from rich.live import Live

from channelscribe.core.clock import SystemClock
from channelscribe.core.curve import moment
from channelscribe.core.errors import EnvironmentFailure
from channelscribe.core.gpu import Card, Reading, Zone
from channelscribe.core.guard import GuardPolicy
from channelscribe.gpu.ceilings import Limits, resolve
from channelscribe.gpu_figures import ceilings, figure_rows
from channelscribe.metrics import GpuTotals, totals
from channelscribe.store.archive import Archive
from channelscribe.store.root import DataRoot
from deployments.demo import CHECKPOINT, LONGEST_RUN_S, prepare_folder, set_environment, start_run
from deployments.figures import RunFigures, figures, show
from deployments.gpu_last import write_picture
from deployments.gpu_view import View, draw
from deployments.place import prefect_home
from deployments.score import Score, read_truth, score
from deployments.session import Session, open_session
from deployments.stack import Stack, open_stack
from deployments.standins import StandIns, open_stand_ins
from deployments.up import watch

FOLDER = "demo-guard-data"
COOLING = "Cooling down"
LOOK_S = 1.0
# Too hot after two seconds of work, so that a fast machine shows a pause too.
PLANT = {"scenario": "cabinet"}
# Short steps, so that a pause begins soon; a longer way down, so that it can be seen.
SETTINGS = {
    "CHANNELSCRIBE_BATCH_SIZE": "2",
    "CHANNELSCRIBE_GUARD_SAMPLE_S": "0.5",
    "CHANNELSCRIBE_GUARD_RESUME_BELOW_C": "8",
}


@dataclass
class Story:
    """What a person sees of the run, as it happens: each new state of the run, each new zone of the card."""

    session: Session
    archive: Archive
    run_id: str
    ceiling: GuardPolicy
    began: datetime = field(default_factory=lambda: datetime.now(UTC))
    states: list[str] = field(default_factory=list)
    readings: list[Reading] = field(default_factory=list)

    def state(self, name: str, message: str) -> None:
        if not self.states or self.states[-1] != name:
            self.states.append(name)
            self._say(f"run:  {name}" + (f". {message}" if message else ""), datetime.now(UTC))

    def look(self) -> None:
        """Takes up the readings that have arrived since."""
        since = self.readings[-1].sample.at + timedelta(microseconds=1) if self.readings else self.began
        for reading in self.archive.readings(self.run_id, since):
            before = self.readings[-1].decision.zone if self.readings else None
            self.readings.append(reading)
            if reading.decision.zone is not before:
                temp = f"{reading.sample.temp_c:.0f} °C" if reading.sample.temp_c is not None else "unknown"
                self._say(
                    f"card: {reading.decision.zone} at {temp}. {reading.decision.reason}".rstrip(". ") + ".",
                    reading.sample.at,
                )

    def view(self) -> View | None:
        if not self.readings:
            return None
        last = self.readings[-1]
        card = Card(last.sample.uuid, last.sample.name, None, "simulated")
        doing = f"run: {self.states[-1] if self.states else 'scheduled'}"
        points = [moment(r) for r in self.readings]
        known = resolve(self.ceiling, Limits().told(last.sample))
        return View(card, last, points, ceilings(known.model_dump(mode="json")), doing)

    def _say(self, text: str, at: datetime) -> None:
        seconds = (at - self.began).total_seconds()
        self.session.say(f"{seconds:5.0f} s  {text}")


def demo_guard(data: str | None, *, keep: bool, as_json: bool) -> int:
    """0 when the card was paused, cooled, and every video that can be done was done and verified in ODIN."""
    if not CHECKPOINT.is_dir():
        raise EnvironmentFailure("the demo needs a checkout of the project (its tests/ folder)", code="no_checkout")
    folder = prepare_folder(data, FOLDER)
    with ExitStack() as opened:
        stand_ins = opened.enter_context(open_stand_ins(folder / ".stand-ins", "warm"))
        set_environment(stand_ins.environment)
        os.environ.update(SETTINGS, CHANNELSCRIBE_GPU=f"sim:{_plant(folder)}")
        session = open_session(str(folder), as_json)
        stack = opened.enter_context(open_stack(prefect_home(session.data), folder, say=session.say))
        code = _run(session, stack, stand_ins, folder)
        if keep:
            session.say(f"everything stays up: {stack.server.ui_url} (Ctrl-C ends it)")
            with suppress(KeyboardInterrupt):
                watch(stack)
    return code


def _plant(folder: Path) -> Path:
    """The knobs of the simulated card; may be edited while the demo runs."""
    file = folder / "plant.json"
    own = {**PLANT, "uuid": f"GPU-demo-{os.getpid()}"}  # runs on other simulated cards have no say in it
    file.write_text(json.dumps(own, indent=1), encoding="utf-8")
    return file


def _run(session: Session, stack: Stack, stand_ins: StandIns, folder: Path) -> int:
    run_id = start_run(stand_ins.channel)
    url = stack.server.run_url(run_id)
    session.say(f"run of {stand_ins.channel} on a simulated card: {url}")
    with Archive(DataRoot.open(session.data)) as archive:
        story = Story(session, archive, str(run_id), GuardPolicy())
        _follow(story, stack, run_id)
        run, marked = figures(archive, str(run_id)), score(archive, read_truth(stand_ins.truth))
        moments = archive.moments(str(run_id))
        kept = next((r for r in archive.runs() if r.run_id == str(run_id)), None)
    picture = folder / "gpu.svg"
    if moments:
        write_picture(picture, str(run_id), kept, moments)
    return _report(session, story, run, marked, totals(moments), picture, url)


def _follow(story: Story, stack: Stack, run_id: UUID) -> None:
    """Until the run ends. Raises EnvironmentFailure when a part of the stack dies or the run takes impossibly long."""
    from prefect.client.orchestration import get_client

    clock = SystemClock()
    end_s = clock.monotonic() + LONGEST_RUN_S
    with get_client(sync_client=True) as client, _screen(story) as screen:
        while True:
            state = client.read_flow_run(run_id).state
            if state is not None:
                story.state(state.name or str(state.type.value), state.message or "")
            story.look()
            if screen is not None and (view := story.view()) is not None:
                screen.update(draw(view, min(100, story.session.messages.width)), refresh=True)
            if state is not None and state.is_final():
                return
            stack.check()
            if clock.monotonic() > end_s:
                raise EnvironmentFailure(f"the run did not end within {LONGEST_RUN_S / 60:.0f} min", code="demo_slow")
            clock.sleep(LOOK_S)


@contextmanager
def _screen(story: Story) -> Iterator[Live | None]:
    if not story.session.messages.is_terminal:
        yield None
        return
    with Live(console=story.session.messages, auto_refresh=False, vertical_overflow="crop") as live:
        yield live


def _report(
    session: Session, story: Story, run: RunFigures, marked: Score, card: GpuTotals, picture: Path, url: str
) -> int:
    paused = any(r.decision.zone is Zone.PAUSE for r in story.readings)
    shown = COOLING in story.states
    code = 0 if paused and shown and not marked.missing else 1
    if session.as_json:
        session.emit(_as_json(code, run, marked, card, shown) | {"picture": str(picture), "run_url": url})
        return code
    rows = [("videos done, of those that can be", f"{run.done} of {run.done + len(marked.missing)}")]
    rows += [("documents verified in ODIN", f"{marked.verified}")]
    rows += figure_rows(card, run.audio_s)
    show(session.results, "A run on a card that got too hot", rows, run.not_done)
    if not shown and not marked.missing:
        session.say("the card was never paused visibly; this machine may be too slow to heat the simulated card")
    session.say(f"picture of the card: {picture}")
    session.say(f"run in the Prefect UI: {url} (tab Artifacts: gpu, run-summary)")
    session.say(
        f"readings: {Path(session.data) / 'gpu_metrics'}   look: channelscribe gpu --last --data {session.data}"
    )
    return code


def _as_json(code: int, run: RunFigures, marked: Score, card: GpuTotals, shown: bool) -> dict[str, Any]:
    figures_of_card = {"pauses": card.pauses, "paused_s": card.paused_s, "peak_temp_c": card.peak_temp_c}
    return {"exit_code": code, **run.as_json(), "verified": marked.verified, "missing": list(marked.missing)} | {
        "cooling_down_shown": shown,
        "gpu": {**figures_of_card, "energy_j": card.energy_j, "busy_share": card.busy_share},
    }

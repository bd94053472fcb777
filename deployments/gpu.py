"""`channelscribe gpu`: the card of this machine, live in the terminal, or as one JSON line per sample.

Reads the card itself and, from the archive, what a run on it is doing. rich.live and not textual: there is nothing to
click, and it costs no application.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from rich.live import Live

from channelscribe.core.clock import Clock, SystemClock
from channelscribe.core.curve import Moment, moment
from channelscribe.core.errors import ChannelscribeError, GpuFailure, UsageError
from channelscribe.core.gpu import Decision, GpuSample, Load, Reader, Reading, Zone
from channelscribe.core.guard import GuardPolicy
from channelscribe.core.settings import GuardSettings, Settings, first_problem
from channelscribe.gpu.ceilings import Figures, Limits, figures, resolve
from channelscribe.gpu.open import open_reader
from channelscribe.gpu.policy import GuardState, decide, start
from channelscribe.gpu.sim import LoadedReader
from channelscribe.gpu_figures import ceilings
from channelscribe.store.archive import Archive
from channelscribe.store.root import DataRoot
from deployments.gpu_view import View, draw
from deployments.session import Session

KEPT = 900  # samples in the live curves
LOOK_EVERY_S = 4.0
FRESH_S = 20.0
WIDEST = 110
_NO_CARD = "There is no NVIDIA card to watch here; CHANNELSCRIBE_GPU=sim shows a simulated one."


class Watch:
    """Takes one reading after the other; a run that is at work on the card lends its load and decision."""

    def __init__(self, reader: Reader, policy: GuardPolicy, data: str, clock: Clock) -> None:
        self._reader, self._clock, self._asked = reader, clock, policy
        self._limits = Limits()
        self._policy = policy.model_copy(update={"foreign": "ignore"})  # seen from here, every run is another program
        self._simulated = isinstance(reader, LoadedReader)
        self._state: GuardState = start()
        self._decision = Decision(Zone.RUN)
        self._runs = _Runs(data, clock)

    @property
    def reader(self) -> Reader:
        return self._reader

    @property
    def policy(self) -> GuardPolicy:
        """The ceilings for this GPU, by what it has said of itself so far."""
        return resolve(self._asked, self._limits)

    def figures(self, sample: GpuSample) -> Figures:
        """What holds at this sample."""
        return figures(self._asked, self._limits, sample)

    def next(self) -> tuple[Reading, str]:
        """A reading, and whose decision it is."""
        reading, whose = self._next()
        self._limits = self._limits.told(reading.sample)
        return reading, whose

    def _next(self) -> tuple[Reading, str]:
        theirs = self._runs.latest()
        if theirs is not None and self._simulated:
            return theirs, f"run {theirs.run_id} on its simulated card"
        load = self._load()
        sample = self._reader.sample()
        if theirs is not None and theirs.sample.uuid == sample.uuid:
            return dataclasses.replace(theirs, sample=sample), f"run {theirs.run_id} is at work"
        self._state, self._decision = decide(self._policy, self._state, sample, load)
        idle = "a simulated card under a simulated load" if self._simulated else "no run of this archive is at work"
        return Reading("", sample, load, self._decision), f"{idle}; the guard would decide so"

    def _load(self) -> Load:
        if not isinstance(self._reader, LoadedReader):
            return Load()
        busy = {Zone.RUN: 0.95, Zone.SLOW: 0.95 * self._decision.duty}.get(self._decision.zone, 0.0)
        self._reader.load(busy)
        return Load(stage="decode" if busy else "idle", batch=8, busy_share=busy)


class _Runs:
    """The last reading of a run that is at work, from the archive; looked up every few seconds."""

    def __init__(self, data: str, clock: Clock) -> None:
        there = "://" in data or Path(data).is_dir()
        self._archive = Archive(DataRoot.open(data)) if there else None
        self._clock = clock
        self._look_s = float("-inf")
        self._last: Reading | None = None

    def latest(self) -> Reading | None:
        if self._archive is not None and self._clock.monotonic() - self._look_s >= LOOK_EVERY_S:
            self._look_s = self._clock.monotonic()
            self._last = self._found(self._archive)
        return self._last

    def _found(self, archive: Archive) -> Reading | None:
        since = self._clock.now() - timedelta(seconds=FRESH_S)
        try:
            running = [run for run in archive.runs() if run.state == "Running"]
            return next(
                (found[-1] for run in reversed(running) if (found := archive.readings(run.run_id, since))), None
            )
        except (ChannelscribeError, OSError):  # the card is shown all the same
            return None


def configured() -> tuple[str, GuardPolicy]:
    """Which card, and under which ceilings, as the environment says."""
    try:
        return Settings().gpu, GuardSettings().policy()
    except ValidationError as error:
        raise UsageError(f"CHANNELSCRIBE_GUARD: {first_problem(error)}", code="bad_setting") from error


def gpu(session: Session, spec: str, policy: GuardPolicy, *, samples: int = 0) -> int:
    """Watches until Ctrl-C, or for `samples` samples. GpuFailure where there is no card."""
    clock = SystemClock()
    reader = open_reader(spec, clock=clock)
    if reader is None:
        raise GpuFailure(_NO_CARD, code="no_card")
    with closing(reader):
        watch = Watch(reader, policy, session.data, clock)
        try:
            if session.as_json:
                _lines(watch, policy, clock, samples)
            else:
                _screen(session, watch, policy, clock, samples)
        except KeyboardInterrupt:  # how one leaves a view
            return 0
    return 0


def _readings(watch: Watch, policy: GuardPolicy, clock: Clock, samples: int) -> Iterator[tuple[Reading, str]]:
    taken = 0
    while True:
        yield watch.next()
        taken += 1
        if taken == samples:
            return
        clock.sleep(policy.sample_s)


def _lines(watch: Watch, policy: GuardPolicy, clock: Clock, samples: int) -> None:
    for reading, _ in _readings(watch, policy, clock, samples):
        held_to = dataclasses.asdict(watch.figures(reading.sample)) if policy.enabled else None
        line = as_json(reading) | {"ceilings": held_to}
        sys.stdout.write(json.dumps(line, ensure_ascii=False, default=str) + "\n")
        sys.stdout.flush()


def as_json(reading: Reading) -> dict[str, Any]:
    """One flat object: the sample, the load, and under `decision` what the guard makes of it."""
    flat = dataclasses.asdict(reading.sample) | dataclasses.asdict(reading.load)
    return {"run_id": reading.run_id, **flat, "decision": dataclasses.asdict(reading.decision)}


def _screen(session: Session, watch: Watch, policy: GuardPolicy, clock: Clock, samples: int) -> None:
    console = session.results
    moments: deque[Moment] = deque(maxlen=KEPT)
    if not console.is_terminal:
        samples = samples or 2
    with Live(console=console, screen=console.is_terminal and not samples, auto_refresh=False) as live:
        for reading, doing in _readings(watch, policy, clock, samples):
            moments.append(moment(reading))
            limits = ceilings(watch.policy.model_dump(mode="json"))
            held_to = str(watch.figures(reading.sample)) if policy.enabled else "no ceilings: the guard is off"
            view = View(watch.reader.card, reading, list(moments), limits, doing, held_to)
            live.update(draw(view, min(WIDEST, console.width)), refresh=console.is_terminal)

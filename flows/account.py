"""The account of a flow run: opened before the first request, closed however the run ends, kept in `runs/`."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from prefect import get_run_logger
from pydantic import BaseModel

from channelscribe.core.errors import ChannelscribeError
from channelscribe.core.model import Outcome, OutcomeState, Run
from channelscribe.core.redact import redact
from channelscribe.core.settings import Settings
from channelscribe.gpu_figures import gpu_line
from channelscribe.ledger import Plan, plan
from channelscribe.metrics import GpuTotals, totals
from channelscribe.report import Fate, RunReport, draw_up
from tasks.alarms import tell_budgets
from tasks.live import Live
from tasks.patience import patiently
from tasks.report import publish_report
from tasks.scope import RunScope

_PACKAGES = ("channelscribe", "prefect", "torch", "transformers", "yt-dlp", "av", "silero-vad", "pyarrow")
_WORDS = "SELECT coalesce(sum(word_count), 0) AS words FROM transcripts WHERE run_id IN (SELECT unnest(?))"


@dataclass
class Account:
    """What a run was asked, what it found, and at the end what became of every video.

    `members` are the runs of its shards, where it has any: what they did counts as its own.
    """

    scope: RunScope
    run: Run
    began_s: float
    earlier_s: float = 0.0
    listing: Mapping[str, Any] = field(default_factory=dict)
    work: Plan = field(default_factory=lambda: Plan((), (), (), {}))
    members: set[str] = field(default_factory=set)
    live: Live | None = None

    @classmethod
    def begin(cls, scope: RunScope, source: str, name: str | None, parameters: Mapping[str, Any]) -> Account:
        """Writes the run as Running, so that a killed one is seen too. A Retry goes on with the run's first account."""
        earlier = next((run for run in scope.archive.runs() if run.run_id == scope.run_id), None)
        earlier_s = _spent_s(scope, earlier) if earlier else 0.0
        run = Run(
            run_id=scope.run_id,
            name=name or "",
            source=redact(source),
            state="Running",
            parameters={parameter: _recorded(value) for parameter, value in parameters.items()},
            versions={p: importlib.metadata.version(p) for p in _PACKAGES},
            started_at=earlier.started_at if earlier else scope.clock.now(),
            wall_s=earlier_s,
            guard=scope.guarding.guard.policy.model_dump(mode="json") if scope.guarding else None,
        )
        scope.archive.put_run(run)
        return cls(scope, run, scope.clock.monotonic(), earlier_s)

    @property
    def video_ids(self) -> list[str]:
        return list(self.listing.get("video_ids", ()))

    def listed(self, listing: Mapping[str, Any]) -> None:
        self.listing = listing

    def planned(self, work: Plan) -> None:
        """From here on the run's page shows what becomes of the videos."""
        self.work = work
        title = str(self.listing.get("channel_title") or "") or self.run.source
        self.live = Live(self.scope, work.todo, title)
        self.live.start()

    def close(self, error: BaseException | None = None) -> RunReport:
        """Draws up the report, writes the run's last row, publishes the artifacts and compacts the tables.

        With `error` the run is ending by it: whatever cannot be written then (a full disk, a lost server) is logged
        and must not hide it.
        """
        report = self._close("") if error is None else self._closed_by(error)
        if self.live is not None:
            self.live.close(report)
        return report

    def _closed_by(self, error: BaseException) -> RunReport:
        try:
            return self._close(_reason(error))
        except Exception:  # noqa: BLE001 - nothing may hide the error that is ending the run
            get_run_logger().warning("The account of this run could not be closed completely.", exc_info=True)
            return self._report("")

    def suspend(self) -> None:
        """The run is put aside and begins anew when somebody presses Resume; its row says so."""
        if self.live is not None:
            self.live.close()
        try:
            self.scope.archive.flush()
            self.scope.archive.put_run(replace(self.run, state="Suspended", wall_s=self._wall_s))
        except ChannelscribeError:
            get_run_logger().warning("The suspended run could not be noted in its row.", exc_info=True)

    @property
    def _wall_s(self) -> float:
        return self.earlier_s + self.scope.clock.monotonic() - self.began_s

    def _close(self, stopped_by: str) -> RunReport:
        archive = self.scope.archive
        failure = self.scope.control.failure
        stopped_by = stopped_by or (failure.reason if failure else "")
        try:
            archive.flush()
            report = self._report(stopped_by)
            card = totals(archive.moments(self.scope.run_id))
            if card.samples:
                report = replace(report, gpu=gpu_line(card, report.audio_s, Settings().price_per_kwh))
            archive.put_run(self._final(report, card))
            tell_budgets(archive.runs(), self.scope.clock.now())
            archive.tidy()
        except ChannelscribeError:
            if not stopped_by:
                raise
            report = self._report(stopped_by)  # the disk that stopped the run also refuses its account
        patiently(lambda: publish_report(report), self.scope.control, self.scope.clock)
        return report

    def _report(self, stopped_by: str) -> RunReport:
        s, work = self.scope, self.work
        again = plan(
            s.archive,
            work.todo,
            s.profile,
            project_id=s.odin.config.project_id if s.odin else None,
            run_id=s.run_id,
            now=s.clock.now(),
        )
        everything = s.archive.outcomes()
        ours = {s.run_id, *self.members}
        outcomes = [o for o in everything if o.run_id in ours]
        finished = frozenset(v.video_id for v in again.done)
        before = {v.video_id for v in work.done} & {o.video_id for o in outcomes if o.state is OutcomeState.DONE}
        return draw_up(
            run_id=s.run_id,
            source=self.run.source,
            channel_title=str(self.listing.get("channel_title") or ""),
            plan=work,
            outcomes=outcomes,
            notes=[str(n) for n in self.listing.get("notes", ())],
            wall_s=self._wall_s,
            words=int(s.archive.query(_WORDS, (sorted(ours),))["words"].iloc[0]),
            documents=self._documents(finished | before),
            finished=finished,
            meanwhile=self._of_others(everything),
            stopped_by=stopped_by,
        )

    def _of_others(self, outcomes: Sequence[Outcome]) -> frozenset[str]:
        """Videos for which another run did something since this one began."""
        since = self.run.started_at
        ours = {self.run.run_id, *self.members}
        others = (o for o in outcomes if o.run_id not in ours and o.state is OutcomeState.DONE)
        return frozenset(o.video_id for o in others if o.at is not None and o.at >= since)

    def _documents(self, finished: frozenset[str]) -> int:
        """Documents verified for these videos, which this run finished, now or before a Retry."""
        if (odin := self.scope.odin) is None:
            return 0
        uploads = self.scope.archive.uploads().values()
        ours = (u for u in uploads if u.project_id == odin.config.project_id and u.video_id in finished)
        return sum(u.verified_at is not None for u in ours)

    def _final(self, report: RunReport, card: GpuTotals) -> Run:
        return replace(
            self.run,
            state="Completed" if report.complete else "Failed",
            ended_at=self.scope.clock.now(),
            videos=len(report.lines),
            skipped=report.count(Fate.ALREADY_DONE, Fate.PARKED),
            done=report.count(Fate.DONE),
            failed=report.count(Fate.FAILED, Fate.NOT_STARTED),
            words=report.words,
            audio_s=report.audio_s,
            wall_s=report.wall_s,
            quota_units=int(self.listing.get("quota_units", 0)),
            gpu_busy_share=card.busy_share,
            energy_j=card.energy_j,
            peak_memory_bytes=card.peak_memory_bytes,
            throttled_s=card.throttled_s,
            paused_s=card.paused_s,
            slowed_s=card.slowed_s,
            pauses=card.pauses,
            peak_temp_c=card.peak_temp_c,
            audio_s_per_joule=card.audio_s_per_joule(report.audio_s),
        )


def _spent_s(scope: RunScope, earlier: Run) -> float:
    """What earlier attempts of a run took; of a killed one, until the last thing that it recorded."""
    moments = [o.at for o in scope.archive.outcomes(earlier.run_id) if o.at is not None]
    if earlier.wall_s or earlier.started_at is None or not moments:
        return earlier.wall_s
    return max(0.0, (max(moments) - earlier.started_at).total_seconds())


def _recorded(value: Any) -> Any:
    """A parameter as the table keeps it: forms as plain values, no password of an address."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    return redact(value) if isinstance(value, str) else value


def _reason(error: BaseException) -> str:
    return (
        error.reason
        if isinstance(error, ChannelscribeError)
        else redact(f"{type(error).__name__}: {error}".strip(": "))
    )

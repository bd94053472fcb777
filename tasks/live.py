"""The run's page while it runs: the artifact "live", and the run's name and tags, brought to the server by a thread.

Behind the account of every flow; it never waits for the server and never raises, so it cannot harm the run.
"""

from __future__ import annotations

import contextvars
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from channelscribe.core.model import Video
from channelscribe.core.settings import Settings
from channelscribe.live import Board, Figures, page
from channelscribe.report import RunReport
from tasks.gpu_picture import Artifact
from tasks.scope import RunScope

log = logging.getLogger(__name__)
KEY = "live"
FIRST_S, EVERY_S, SHOWN_EVERY_S = 1.0, 15.0, 2.0
END_S = 10.0
FREE = "within its limits"
TAG_LENGTH, MOST_CHANNELS = 60, 5
Publish = Callable[[str], None]
_SHOWN: ContextVar[Publish | None] = ContextVar("live_page_shown", default=None)


@contextmanager
def showing(show: Publish) -> Iterator[None]:
    """Flows called inside show their page to `show` too, every other second: the live progress of a notebook."""
    token = _SHOWN.set(show)
    try:
        yield
    finally:
        _SHOWN.reset(token)


class Live:
    """Begins with the plan, ends with the report. `publish` takes the page; by default the artifact."""

    def __init__(
        self,
        scope: RunScope,
        todo: tuple[Video, ...],
        title: str,
        *,
        publish: Publish | None = None,
        every_s: float = EVERY_S,
    ) -> None:
        self._scope, self._title = scope, title
        self._channels = sorted({video.channel_title for video in todo if video.channel_title}) or [title]
        self.board = Board(todo, upload=scope.odin is not None)
        self._publish = publish or Artifact(scope.run_id, KEY, "The videos of this run, while it runs")
        self._show, self._every_s = _SHOWN.get(), every_s
        self._price = Settings().price_per_kwh
        self._began_s = scope.clock.monotonic()
        self._published_s: float | None = None
        self._told: set[str] = set()
        self._over = threading.Event()
        draw = contextvars.copy_context().run  # the flow's, with the settings under which it runs
        self._thread = threading.Thread(target=draw, args=(self._work,), name="channelscribe-live", daemon=True)

    def start(self) -> None:
        self._scope.attempts.heard = self.board.hear
        self._thread.start()

    def close(self, report: RunReport | None = None) -> None:
        """The last page; waits a little for a server that is slow, and leaves one that hangs behind."""
        if report is not None:
            self.board.settle(report)
        self._over.set()
        self._thread.join(END_S)

    def _work(self) -> None:
        with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}):
            self._try(self._mark, "the run's name and tags")
            pause_s = FIRST_S
            while not self._over.wait(pause_s):
                self._draw(final=False)
                pause_s = SHOWN_EVERY_S if self._show else self._every_s
            self._draw(final=True)

    def _draw(self, *, final: bool) -> None:
        self._try(lambda: self._bring(final), "the live table")

    def _bring(self, final: bool) -> None:
        clock = self._scope.clock
        text = page(self.board.glance(), self._figures(), self._title, clock.now())
        if self._show is not None:
            show = self._show
            self._try(lambda: show(text), "the progress shown here")
        due = self._published_s is None or clock.monotonic() - self._published_s >= self._every_s
        if due or final:
            self._published_s = clock.monotonic()
            self._publish(text)

    def _figures(self) -> Figures:
        s = self._scope
        stats, lane = s.engine.stats(), s.downloader.lane.snapshot()
        watched = s.guarding.guard if s.guarding else None
        card, last = (watched.totals(), watched.snapshot()) if watched else (None, None)
        return Figures(
            elapsed_s=s.clock.monotonic() - self._began_s,
            heard_s=stats.audio_s,
            windows_waiting=stats.waiting,
            slots=stats.slots,
            occupancy=stats.mean_occupancy,
            downloads_waiting=s.downloader.lane.waiting(),
            lane=lane.closed or (f"paused for {lane.paused_for_s:.0f} s: {lane.reason}" if lane.paused_for_s else ""),
            card=(last.decision.reason or FREE) if last else "",
            energy_j=card.energy_j if card else None,
            price_per_kwh=self._price,
            paused_s=card.paused_s if card else None,
        )

    def _mark(self) -> None:
        """Name and tags that are known only after the listing; a Retry finds them set already."""
        with get_client(sync_client=True) as client:
            run = client.read_flow_run(UUID(self._scope.run_id))
            wanted = {f"channel:{tag(title)}" for title in self._channels[:MOST_CHANNELS]}
            wanted.add(f"engine:{tag(self._scope.engine.name)}")
            alone = self._channels[0] if len(self._channels) == 1 else ""
            name = run.name if alone in run.name else f"{run.name}: {tag(alone)}"
            if name != run.name or not wanted <= set(run.tags):
                client.update_flow_run(run.id, name=name, tags=sorted({*run.tags, *wanted}))

    def _try(self, act: Callable[[], None], what: str) -> None:
        try:
            act()
        except Exception as error:  # noqa: BLE001 - whatever the server says, a page must never harm the run
            if what not in self._told:
                log.warning("%s could not be brought to the server: %s: %s", what, type(error).__name__, error)
            self._told.add(what)


def tag(text: str) -> str:
    """`text` as it stands in a tag: one line, not long."""
    return " ".join(text.split())[:TAG_LENGTH]

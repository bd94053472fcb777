"""The card's curve on the run's page in the Prefect UI: the artifact "gpu", live while the run runs and final after.

Beside the guard: it is ticked as often as one likes, works in a thread of its own, and never waits for the server.
"""

from __future__ import annotations

import contextvars
import logging
import threading
from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import ArtifactCreate, ArtifactUpdate
from prefect.exceptions import PrefectHTTPStatusError

from channelscribe.core.clock import Clock, SystemClock
from channelscribe.core.model import OutcomeState, Stage
from channelscribe.gpu_figures import ceilings, gpu_page
from channelscribe.store.archive import Archive

log = logging.getLogger(__name__)
KEY = "gpu"
EVERY_S = 20.0
REST = 40.0  # a picture of a long night takes longer to draw; it may cost one part in forty of a core
END_S = 15.0
NOT_FOUND = 404


class Artifact:
    """One markdown artifact of a flow run, written anew in place: a night of versions would fill the server's disk."""

    def __init__(self, run_id: str, key: str = KEY, description: str = "") -> None:
        self._run_id, self._key, self._description = UUID(run_id), key, description
        self._id: UUID | None = None

    def __call__(self, markdown: str) -> None:
        with get_client(sync_client=True) as client:
            if self._id is not None and self._updated(client, self._id, markdown):
                return
            made = client.create_artifact(
                ArtifactCreate(
                    key=self._key,
                    type="markdown",
                    description=self._description,
                    data=markdown,
                    flow_run_id=self._run_id,
                )
            )
            self._id = made.id

    @staticmethod
    def _updated(client: SyncPrefectClient, artifact: UUID, markdown: str) -> bool:
        """False when somebody deleted it."""
        try:
            client.update_artifact(artifact, ArtifactUpdate(data=markdown))
        except PrefectHTTPStatusError as error:
            if error.response.status_code != NOT_FOUND:
                raise
            return False
        return True


class GpuPicture:
    """`tick` and `close` never raise, and `tick` never waits. `publish` takes the page; by default the artifact."""

    def __init__(
        self,
        archive: Archive,
        run_id: str,
        *,
        guard: Mapping[str, Any] | None = None,
        title: str = "",
        clock: Clock | None = None,
        publish: Callable[[str], None] | None = None,
    ) -> None:
        self._archive, self._run_id, self._title = archive, run_id, title
        self._limits = ceilings(guard)
        self._clock: Clock = clock or SystemClock()
        self._publish = publish or Artifact(run_id, description=title or "The card during this run")
        self._context = contextvars.copy_context()  # the flow's, with the settings under which it runs
        self._next_s = self._clock.monotonic() + EVERY_S / 2
        self._thread: threading.Thread | None = None
        self._shown = 0
        self._told = False

    def under(self, guard: Mapping[str, Any]) -> None:
        """The ceilings, once the GPU has told what they are on it."""
        self._limits = ceilings(guard)

    def tick(self) -> None:
        """Draws and publishes when it is time and nothing is under way."""
        if self._clock.monotonic() < self._next_s or (self._thread is not None and self._thread.is_alive()):
            return
        self._next_s = self._clock.monotonic() + EVERY_S
        self._begin(final=False)

    def close(self) -> None:
        """The final picture; waits a few seconds for a server that is slow, not for one that is away."""
        if self._thread is not None:
            self._thread.join(END_S)
            if self._thread.is_alive():
                return
        self._begin(final=True).join(END_S)

    def _begin(self, *, final: bool) -> threading.Thread:
        draw = self._context.copy().run
        self._thread = threading.Thread(target=draw, args=(self._draw, final), name="gpu-picture", daemon=True)
        self._thread.start()
        return self._thread

    def _draw(self, final: bool) -> None:
        began_s = self._clock.monotonic()
        try:
            moments = self._archive.moments(self._run_id)
            if moments and (final or len(moments) != self._shown):
                self._publish(gpu_page(moments, self._limits, self._audio_s(), self._title))
                self._shown = len(moments)
        except Exception as error:  # noqa: BLE001 - a picture must never harm the run, whatever the server says
            if not self._told:
                log.warning("the picture of the card could not be shown in the UI: %s: %s", type(error).__name__, error)
            self._told = True
        spent_s = self._clock.monotonic() - began_s
        self._next_s = max(self._next_s, began_s + REST * spent_s)

    def _audio_s(self) -> float:
        done = (o for o in self._archive.outcomes(self._run_id) if o.state is OutcomeState.DONE)
        return sum(o.audio_s for o in done if o.stage is Stage.TRANSCRIBE)

"""How a scope ends when the disk refuses the last readings: the error that ended the run is the one that is told."""

from __future__ import annotations

import json
import time
import uuid
from pathlib import Path

import pytest
from prefect.logging import disable_run_logger
from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from channelscribe.core.errors import ChannelscribeError
from channelscribe.core.guard import GuardPolicy
from channelscribe.core.profile import TranscriptionProfile
from channelscribe.store.root import DataRoot
from channelscribe.youtube.config import YouTubeConfig
from tasks.scope import open_scope
from tests.flows.station import CHECKPOINT

AWAY = {PREFECT_API_URL: "http://127.0.0.1:9/api", PREFECT_CLIENT_MAX_RETRIES: 0}


def end_on_a_disk_that_refuses(folder: Path, error: Exception | None) -> None:
    """A scope with a card, opened and left by `error` while its readings cannot be written."""
    plant = folder / "plant.json"
    plant.write_text(json.dumps({"uuid": f"GPU-{uuid.uuid4()}"}))
    with (
        disable_run_logger(),
        temporary_settings(AWAY),
        open_scope(
            run_id=str(uuid.uuid4()),
            root=DataRoot.open(folder / "data"),
            youtube=YouTubeConfig(),
            profile=TranscriptionProfile(model=str(CHECKPOINT), device="cpu"),
            odin=None,
            gpu=f"sim:{plant}",
            policy=GuardPolicy(sample_s=0.1),
        ) as scope,
    ):
        assert scope.guarding is not None and scope.guarding.guard.snapshot() is not None
        readings = folder / "data" / "gpu_metrics"
        scope.archive.flush()
        readings.rename(folder / "elsewhere")
        readings.write_text("no folder")
        before = scope.guarding.guard.snapshot()
        while scope.guarding.guard.snapshot() is before:
            time.sleep(0.02)
        if error is not None:
            raise error


def test_the_error_that_ended_the_run_is_not_replaced(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="what happened"):
        end_on_a_disk_that_refuses(tmp_path, RuntimeError("what happened"))


def test_a_run_that_ended_well_says_that_its_readings_are_lost(tmp_path: Path) -> None:
    with pytest.raises(ChannelscribeError):
        end_on_a_disk_that_refuses(tmp_path, None)

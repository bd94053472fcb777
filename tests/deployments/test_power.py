"""The power goes, or somebody stops `up`, in the middle of a run; the next start finishes it without anybody."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.deployments.test_in_hand import kill_tree
from tests.deployments.worker.api import wait_for
from tests.deployments.worker.channels import CANCELLED
from tests.deployments.worker.installation import installed, up_again
from tests.flows.tables import table

pytestmark = [
    pytest.mark.prefect,
    pytest.mark.long,
    pytest.mark.skipif(os.name == "nt", reason="signals are POSIX here"),
]


def stop(process: subprocess.Popen[bytes]) -> None:
    """As systemd does it."""
    process.terminate()
    process.wait(90)


def cut(process: subprocess.Popen[bytes]) -> None:
    kill_tree(process.pid)
    process.wait(90)


@pytest.mark.parametrize("end", [cut, stop])
def test_a_run_that_was_cut_goes_on_with_the_next_start(
    tmp_path: Path, end: Callable[[subprocess.Popen[bytes]], None]
) -> None:
    with installed(tmp_path) as site:
        slow, quick = site.films(CANCELLED)
        site.youtube.faults.media(slow.id, "slow", bytes_per_s=2_000, times=-1)
        run_id = site.api.start(source=f"@{CANCELLED}", data=str(site.data))
        wait_for(lambda: quick.id in site.documents(CANCELLED), "the document of the quick film")
        wait_for(lambda: site.youtube.bytes_served(slow.id) > 0, "the first bytes of the slow film")
        asked = site.youtube.media_requests(quick.id)
        end(site.process)
        site.youtube.faults.clear()
        with up_again(site) as again:
            ended = again.api.ended(run_id)
        assert (ended["state_type"], ended["run_count"]) == ("COMPLETED", 2), ended["state"]["message"]
        assert site.documents(CANCELLED) == {video.id: 1 for video in (slow, quick)}
        assert site.youtube.media_requests(quick.id) == asked
        outcomes = table(site.data, "outcomes")
        assert not (outcomes["state"] == "failed").any(), "an end from outside is no failure of a video"

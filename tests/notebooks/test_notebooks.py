"""Every notebook is committed without outputs and executed as a user would, against stand-ins and a simulated card."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest

from channelscribe.core.curve import moment
from channelscribe.core.guard import GuardPolicy
from channelscribe.metrics import totals
from channelscribe.store.archive import Archive
from channelscribe.store.root import DataRoot
from tests.channelscribe.cards import recorded
from tests.channelscribe.store.test_readings import a_run
from tests.deployments.worker.installation import installed
from tests.emulators.odin import OdinEmulator
from tests.emulators.worlds import sources, tiny
from tests.emulators.youtube import YouTubeEmulator
from tests.flows.environment import clean
from tests.flows.station import CHECKPOINT
from tests.flows.tables import assert_same, contents, files, table

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
FIRST, SECOND = (next(p for p in NOTEBOOKS if p.name.startswith(number)) for number in ("01_", "02_"))
# In a process of its own: the kernel inherits the environment, and Jupyter's event loop stays out of pytest's.
EXECUTE = """
import nbformat, sys
from nbclient import NotebookClient
book = nbformat.read(sys.argv[1], as_version=4)
NotebookClient(book, timeout=500, resources={"metadata": {"path": sys.argv[2]}}).execute()
nbformat.write(book, sys.argv[3])
"""


def read(path: Path) -> Any:
    return nbformat.reads(path.read_text(encoding="utf-8"), as_version=4)  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.name)
def test_a_committed_notebook_holds_no_outputs(path: Path) -> None:
    book = read(path)
    code = [cell for cell in book.cells if cell.cell_type == "code"]
    assert code
    assert all(not cell.outputs and cell.execution_count is None for cell in code)


def execute(notebook: Path, folder: Path, environment: dict[str, str]) -> list[Any]:
    """The code cells with what they put out."""
    made = folder / "executed.ipynb"
    done = subprocess.run(
        [sys.executable, "-c", EXECUTE, str(notebook), str(folder), str(made)],
        capture_output=True,
        text=True,
        env=environment,
        timeout=560,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return [cell for cell in read(made).cells if cell.cell_type == "code"]


def shown(cell: Any) -> str:
    """Everything a cell printed or displayed."""
    texts = [o.get("text", "") or o.get("data", {}).get("text/html", "") for o in cell.outputs]
    return "".join(texts)


def drawn(cell: Any) -> str:
    """Every markdown a cell displays, as it stood in the end."""
    return "".join(o.get("data", {}).get("text/markdown", "") for o in cell.outputs)


def rows(cell: Any) -> int:
    """How many rows the table under a cell has."""
    body = re.search(r"<tbody>(.*?)</tbody>", shown(cell), re.S)
    assert body, shown(cell)
    return body[1].count("<tr>")


@pytest.mark.prefect
@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="the stand-ins serve POSIX tests")
def test_the_first_channel_runs_by_the_environment_alone(tmp_path: Path) -> None:
    """No server, no data root: the defaults of a person who only named a channel and a knowledge base."""
    with YouTubeEmulator(tiny(3)) as youtube, OdinEmulator(processing_s=0.05) as odin:
        environment = clean(
            **youtube.environment(),
            **odin.environment(),
            CHANNELSCRIBE_SOURCE=sources(youtube.world)["channel"],
            CHANNELSCRIBE_LATEST="2",
            CHANNELSCRIBE_MODEL=str(CHECKPOINT),
            CHANNELSCRIBE_WINDOW_S="8",
            YOUTUBE_SPACING_S="0",
            YOUTUBE_REQUEST_PAUSE_S="0",
            HF_HUB_OFFLINE="1",
            PREFECT_HOME=str(tmp_path / "prefect"),
            IPYTHONDIR=str(tmp_path / "ipython"),
            JUPYTER_CONFIG_DIR=str(tmp_path / "jupyter"),
        )
        first, planned, run, standing, again, steps, segments, speech, runs, _ = execute(FIRST, tmp_path, environment)
        newest = sorted(youtube.world.videos.values(), key=lambda v: v.published, reverse=True)[:2]
        stored = {d.metadata["videoId"] for d in odin.documents.values()}
    assert str(tmp_path / "data") in shown(first)
    assert "2 videos: 2 to do, 0 already done" in shown(planned) and "| money | unknown |" in drawn(planned)
    assert "Completed - 2 videos: 2 done." in shown(run)
    assert "2 of 2 videos done" in drawn(run) and "The run is over" in drawn(run), "the live page is the run's last"
    assert "Dry run: No video of this archive stands as failed." in shown(again)
    assert "Traceback" not in shown(run)
    assert [rows(standing), rows(speech), rows(runs)] == [2, 2, 1]
    assert all(video.title in shown(standing) and video.title in shown(speech) for video in newest)
    assert {f"<td>{step}</td>" in shown(steps) for step in ("discover", "download", "transcribe", "upload")} == {True}
    transcripts = table(tmp_path / "data", "transcripts")
    assert rows(segments) == min(15, int((transcripts["index"] >= 0).sum())) > 0
    assert stored == {video.id for video in newest} == set(transcripts["video_id"])


@pytest.mark.prefect
@pytest.mark.long
@pytest.mark.skipif(os.name == "nt", reason="the stand-ins serve POSIX tests")
def test_a_notebook_and_a_worker_leave_the_same_archive(tmp_path: Path) -> None:
    with installed(tmp_path, tiny(2)) as site, OdinEmulator(processing_s=0.05) as other:
        source, byhand = sources(site.youtube.world)["channel"], tmp_path / "by-hand"
        ended = site.api.ended(site.api.start(source=source, data=str(site.data)))
        assert ended["state_type"] == "COMPLETED", ended["state"]["message"]
        own = {
            "CHANNELSCRIBE_SOURCE": source,
            "CHANNELSCRIBE_LATEST": "2",
            "PREFECT_HOME": str(tmp_path / "prefect"),
            "IPYTHONDIR": str(tmp_path / "ipython"),
            "JUPYTER_CONFIG_DIR": str(tmp_path / "jupyter"),
        }
        byhand.mkdir()
        execute(FIRST, byhand, site.environment | other.environment() | own)
        assert {d.document_key for d in other.documents.values()} == {
            d.document_key for d in site.odin.documents.values()
        }
    assert_same(contents(byhand / "data"), contents(site.data))
    assert files(byhand / "data") == files(site.data) != {}


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="the stand-ins serve POSIX tests")
def test_runs_are_compared_by_what_their_cards_did(tmp_path: Path) -> None:
    """Two runs as the simulator's card had them: one too hot, one cool."""
    with Archive(DataRoot.open(tmp_path / "data")) as archive:
        for run_id, scenario in (("hot-run", "demo"), ("cool-run", "cool")):
            readings = recorded(scenario, 60, run_id)
            archive.put_readings(readings)
            card = totals(map(moment, readings))
            guard = GuardPolicy().model_dump(mode="json")
            archive.put_run(
                a_run(
                    run_id, source=f"@{run_id}", audio_s=600.0, energy_j=card.energy_j, pauses=card.pauses, guard=guard
                )
            )
    environment = clean(
        CHANNELSCRIBE_DATA=str(tmp_path / "data"),
        PREFECT_HOME=str(tmp_path / "prefect"),
        IPYTHONDIR=str(tmp_path / "ipython"),
        JUPYTER_CONFIG_DIR=str(tmp_path / "jupyter"),
    )
    watched, runs, curves, zones, stages, heat, _ = execute(SECOND, tmp_path, environment)
    assert [rows(watched), rows(runs)] == [2, 2]
    pictures = [o.data["image/svg+xml"] for o in curves.outputs if "image/svg+xml" in o.get("data", {})]
    assert len(pictures) == 2
    assert sum('class="pause" d=' in picture for picture in pictures) == 1
    assert "<td>pause</td>" in shown(zones)
    assert "<td>decode</td>" in shown(stages)
    assert "hot-run" in shown(heat)

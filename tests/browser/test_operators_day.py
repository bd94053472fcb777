"""The operator's day in a real browser: start, watch, read what failed, mend it, press Retry, and clear up the rest."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from channelscribe.core.model import Outcome, OutcomeState, Stage
from channelscribe.store.archive import Archive
from channelscribe.store.root import DataRoot
from tests.browser.channels import BROKEN, LOST_SONG, PRIVATE, SAGAS, SAGAS_TITLE, SLOW, SONGS
from tests.browser.person import Person
from tests.deployments.worker.api import wait_for
from tests.deployments.worker.installation import Installation
from tests.emulators.youtube.world import Availability, MediaSpec
from tests.flows.tables import table

pytestmark = [
    pytest.mark.browser,
    pytest.mark.prefect,
    pytest.mark.slow,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(os.name == "nt", reason="the browser of this test is Debian's chromium"),
]

SLOW_BYTES_PER_S = 3_000  # some twenty seconds for the film, in which one can look at the live table
PICTURED = 4  # so many times slower for a picture, in which something is to be seen
REFUSED, MOST_PRESSES = "Unknown error while creating flow run.", 5
FINAL = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")


def test_an_operators_day(site: Installation, person: Person) -> None:
    failed_before(site, LOST_SONG)
    run_id = start_from_the_form(site, person)
    watch(site, person, run_id)
    ended(site, run_id, "Failed", "5 videos: 3 done, 2 failed.")
    other = site.api.start(source=f"@{SONGS}", tolerate_failures=True)  # works while the person reads
    read_what_failed(site, person, run_id)
    look_at_the_card(site, person, run_id)
    ended(site, other, "Completed", "2 videos: 1 done, 1 failed.")

    mend(site, PRIVATE, BROKEN, LOST_SONG)
    press_retry(site, person, run_id)
    ended(site, run_id, "Completed", "5 videos: 5 done.")
    assert set(site.documents(SAGAS).values()) == {1} and len(site.documents(SAGAS)) == 5
    person.go(f"/v2/runs/flow-run/{run_id}", SAGAS_TITLE, "Completed")

    again = retry_failed_from_its_form(site, person)
    ended(site, again, "Completed", "1 videos: 1 done.")
    assert set(site.documents(SONGS).values()) == {1} and len(site.documents(SONGS)) == 2
    rows = table(site.data, "outcomes")
    assert set(rows[rows["state"] == "released"]["video_id"]) == {site.film(LOST_SONG).id}


def failed_before(site: Installation, title: str) -> None:
    """As if a run of yesterday had failed on this video too: with the next such failure it is in quarantine."""
    failed = Outcome("run-0", site.film(title).id, title, Stage.DOWNLOAD, OutcomeState.FAILED)
    with Archive(DataRoot.open(site.data)) as archive:
        archive.put_outcome(
            replace(
                failed,
                failure_class="poisoned",
                code="not_media",
                reason="It is noise.",
                at=datetime.now(UTC) - timedelta(days=1),
            )
        )


def newest_run(site: Installation, deployment: str) -> str:
    wanted = {"flow_runs": {"deployment_id": {"any_": [deployment]}}, "sort": "EXPECTED_START_TIME_DESC", "limit": 1}
    found = site.api.ask("POST", "/flow_runs/filter", wanted)
    return str(found[0]["id"]) if found else ""


def ended(site: Installation, run_id: str, state: str, message: str) -> None:
    run = site.api.ended(run_id)
    assert (run["state"]["name"], run["state"]["message"]) == (state, message)


def submit(site: Installation, person: Person, deployment: str, fill: Callable[[], None]) -> str:
    """Fills the form and presses Submit; the run that came of it.

    Where the server's SQLite was busy the dashboard says so, nothing was made, and a person does it once more.
    """
    before = newest_run(site, deployment)
    for _ in range(MOST_PRESSES):
        fill()
        person.press("Submit")
        if person.reads_one_of("scheduled to start", REFUSED) != REFUSED:
            break
    wait_for(lambda: newest_run(site, deployment) != before, "the run of the form")
    return newest_run(site, deployment)


def start_from_the_form(site: Installation, person: Person) -> str:
    slowness = PICTURED if person.pictures else 1
    site.youtube.faults.media(site.film(SLOW).id, "slow", bytes_per_s=SLOW_BYTES_PER_S // slowness)
    deployment = site.api.deployment("on-demand")["id"]
    person.go("/v2/deployments", "on-demand", "retry-failed", "daily")

    def fill() -> None:
        person.go(f"/v2/deployments/deployment/{deployment}/run", "Source", "Latest N videos", "Submit")
        person.write("Source", f"@{SAGAS}")
        person.keep("form", 1240)

    return submit(site, person, deployment, fill)


def watch(site: Installation, person: Person, run_id: str) -> None:
    """The live table while the slow film is on its way."""
    wait_for(lambda: "downloading" in live(site, run_id) and SLOW in live(site, run_id), "the slow film in flight")
    if person.pictures:
        wait_for(lambda: all(f"| {s} |" in live(site, run_id) for s in ("downloading", "failed")), "a full table")
    person.go(f"/v2/artifacts/artifact/{artifact(site, run_id, 'live')}", "minutes of sound", "throughput", SLOW)
    person.keep("live", 1420)
    person.go(f"/v2/runs/flow-run/{run_id}", SAGAS_TITLE, f"channel:{SAGAS_TITLE}")
    assert site.api.run(run_id)["name"] == f"sync @{SAGAS}: {SAGAS_TITLE}"
    assert {f"channel:{SAGAS_TITLE}", "engine:whisper", "channelscribe"} <= set(site.api.run(run_id)["tags"])


def live(site: Installation, run_id: str) -> str:
    return str(site.api.artifacts(run_id).get("live", {}).get("data", ""))


def artifact(site: Installation, run_id: str, key: str) -> str:
    return str(site.api.artifacts(run_id)[key]["id"])


def read_what_failed(site: Installation, person: Person, run_id: str) -> None:
    """From the run's page to its summary and its two tables, with a reason for each of the two."""
    person.go(f"/v2/runs/flow-run/{run_id}", SAGAS_TITLE, "Failed")
    person.press("Artifacts")
    person.reads("live", "run-summary", "not-done", "gpu")
    summary = person.go(f"/v2/artifacts/artifact/{artifact(site, run_id, 'run-summary')}", "What next")
    assert "5 videos: 3 done, 2 failed." in summary
    assert "The video is private." in summary and "sent something that is no media" in summary
    assert f"{BROKEN}" in summary and "Press Retry on this run" in summary
    person.keep("run-summary", 1720)
    table = person.go(f"/v2/artifacts/artifact/{artifact(site, run_id, 'not-done')}", "reason", BROKEN)
    assert "permanent" in table and "poisoned" in table
    person.keep("not-done", 560, width=1520)
    final = person.go(f"/v2/artifacts/artifact/{artifact(site, run_id, 'live')}", "The run is over")
    assert "3 of 5 videos done, 2 not" in final and "The video is private." in final and "downloading" not in final


def look_at_the_card(site: Installation, person: Person, run_id: str) -> None:
    person.go(f"/v2/artifacts/artifact/{artifact(site, run_id, 'gpu')}", "temperature, highest and mean", "energy")
    assert person.sees_picture("GPU")


def mend(site: Installation, *titles: str) -> None:
    """The cause of each failure goes away: what was private is published, what was broken is replaced."""
    for title in titles:
        video = site.film(title)
        site.youtube.world.change(video.id, availability=Availability.OK, media=MediaSpec(video.media.score))


def press_retry(site: Installation, person: Person, run_id: str) -> None:
    person.go(f"/v2/runs/flow-run/{run_id}", SAGAS_TITLE, "Failed")
    person.press("Open menu")
    person.press("Retry")
    person.reads("Will become:")
    person.keep("retry", 700)
    person.click("//*[@role='dialog' or @role='alertdialog']//button[normalize-space()='Retry']")
    wait_for(lambda: site.api.run(run_id)["state_type"] not in FINAL, "the Retry")


def retry_failed_from_its_form(site: Installation, person: Person) -> str:
    deployment = site.api.ask("GET", "/deployments/name/retry-failed/retry-failed")["id"]

    def fill() -> None:
        person.go(f"/v2/deployments/deployment/{deployment}/run", "Which failures", "Release from quarantine", "Submit")
        person.click(
            "//label[starts-with(normalize-space(), 'Release from quarantine')]/following::*[@role='switch'][1]"
        )
        person.write("Failed since", "7")
        person.click("//button[normalize-space()='what a sync would try again']")
        person.click("//*[@role='option'][normalize-space()='everything that failed']")
        person.keep("retry-failed-form", 1100)

    return submit(site, person, deployment, fill)

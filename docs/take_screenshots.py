"""Takes the README's pictures of a demo: `python docs/take_screenshots.py --ui URL --run RUN_ID`.

Those of the operator's day come from its test: `pytest tests/browser -m browser --screenshots`.

Needs what the project itself does not: `pip install selenium`, and the Debian packages chromium and chromium-driver.
Start `channelscribe demo --keep` first; it prints the address of the UI and of its run. For the pictures of the guard
start `channelscribe demo --guard --keep`, and while its run runs give `--plant demo-guard-data/plant.json` too: the
simulated card is kept from cooling for as long as a picture of the pause takes.
"""

from __future__ import annotations

import argparse
import json
import logging
import shutil
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selenium import webdriver  # type: ignore[import-not-found,unused-ignore]
from selenium.webdriver.common.by import By  # type: ignore[import-not-found,unused-ignore]

log = logging.getLogger("take_screenshots")
FOLDER = Path(__file__).with_name("screenshots")
LIGHT = {"name": "prefers-color-scheme", "value": "light"}
_SETTLE_S, _LONGEST_S = 4.0, 90.0


def as_it_is(_: Any) -> None:
    """Nothing to prepare."""


@dataclass(frozen=True)
class Shot:
    """One picture: the page, a text that it shows when it is ready, the window's size, a last touch."""

    name: str
    path: str
    shows: str
    height: int
    prepare: Callable[[Any], None] = as_it_is
    width: int = 1280


def ask(ui: str, path: str, body: dict[str, Any] | None = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{ui}/api{path}", data, {"Content-Type": "application/json"})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=60) as answer:
        return json.loads(answer.read())


@contextmanager
def browser() -> Iterator[Any]:
    options = webdriver.ChromeOptions()
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--no-proxy-server", "--hide-scrollbars"):
        options.add_argument(argument)
    options.binary_location = shutil.which("chromium") or ""
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver") or ""))
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [LIGHT]})
    try:
        yield driver
    finally:
        driver.quit()


def open_page(driver: Any, url: str, shot: Shot) -> None:
    """Opens a page and waits until it shows a text."""
    driver.set_window_size(shot.width, shot.height)
    driver.get(url)
    end_s = time.monotonic() + _LONGEST_S
    while shot.shows not in driver.find_element(By.TAG_NAME, "body").text:
        if time.monotonic() > end_s:
            raise TimeoutError(f"{url} never showed {shot.shows!r}")
        time.sleep(0.5)
    time.sleep(_SETTLE_S)


def artifact(ui: str, run_id: str, key: str) -> str:
    wanted = {"artifacts": {"flow_run_id": {"any_": [run_id]}, "key": {"any_": [key]}}, "sort": "CREATED_DESC"}
    return str(ask(ui, "/artifacts/filter", wanted)[0]["id"])


def show_task_runs(driver: Any) -> None:
    named = "[...document.querySelectorAll('*')].filter(e => e.textContent.trim() === 'Task Runs')"
    driver.execute_script(f"{named}.pop().click()")
    time.sleep(_SETTLE_S)


def show_details(driver: Any) -> None:
    """The tab that holds the state's message."""
    driver.find_element(By.XPATH, "//*[@role='tab' and normalize-space()='Details']").click()
    time.sleep(_SETTLE_S)


def take(ui: str, run_id: str, folder: Path) -> None:
    run = ask(ui, f"/flow_runs/{run_id}")
    with browser() as driver:
        # The old UI's timeline folds the steps of a video into one bar that can be read.
        shoot(driver, ui, Shot("run-page", f"/runs/flow-run/{run_id}", run["name"], 1060, show_task_runs), folder)


def wait_for_state(ui: str, run_id: str, names: Sequence[str]) -> dict[str, Any]:
    end_s = time.monotonic() + _LONGEST_S * 3
    while (run := ask(ui, f"/flow_runs/{run_id}"))["state"]["name"] not in names:
        if time.monotonic() > end_s:
            raise TimeoutError(f"the run is {run['state']['name']}, not {' or '.join(names)}")
        time.sleep(0.5)
    return dict(run)


@contextmanager
def kept_warm(plant: Path, temp_c: float = 74.0) -> Iterator[None]:
    """Holds the simulated card's thermometer between the mark at which it may go on and the ceiling, and lets go."""
    before = plant.read_text(encoding="utf-8")
    plant.write_text(json.dumps({**json.loads(before), "forced_temp_c": temp_c}), encoding="utf-8")
    try:
        yield
    finally:
        plant.write_text(before, encoding="utf-8")


def shoot(driver: Any, ui: str, shot: Shot, folder: Path) -> None:
    open_page(driver, ui + shot.path, shot)
    shot.prepare(driver)
    file = folder / f"{shot.name}.png"
    driver.save_screenshot(str(file))
    log.info("%s: %d kB", file, file.stat().st_size // 1000)


def take_guard(ui: str, run_id: str, folder: Path, plant: Path) -> None:
    """The run's page while its card cools, and the card's curve when the run is over."""
    with browser() as driver:
        wait_for_state(ui, run_id, ["Cooling down"])
        with kept_warm(plant):
            page = f"/v2/runs/flow-run/{run_id}"
            shoot(driver, ui, Shot("cooling-down", page, "Cooling down", 1200, show_details), folder)
        wait_for_state(ui, run_id, ["Completed", "Failed"])
        page = f"/v2/artifacts/artifact/{artifact(ui, run_id, 'gpu')}"
        shoot(driver, ui, Shot("gpu-artifact", page, "at work", 1180), folder)


def main() -> int:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ui", default="http://127.0.0.1:4200")
    parser.add_argument("--run", required=True, help="id of the demo's run")
    parser.add_argument("--folder", type=Path, default=FOLDER)
    parser.add_argument("--plant", type=Path, help="the knobs of the guard's demo: takes the pictures of the guard")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    if arguments.plant:
        take_guard(arguments.ui, arguments.run, arguments.folder, arguments.plant)
    else:
        take(arguments.ui, arguments.run, arguments.folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())

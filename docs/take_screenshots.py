"""Takes the README's pictures of the Prefect UI: `python docs/take_screenshots.py --ui URL --run RUN_ID`.

Needs what the project itself does not: `pip install selenium`, and the Debian packages chromium and chromium-driver.
Start `channelscribe demo --keep` first; it prints the address of the UI and of its run.
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


def fill_form(driver: Any) -> None:
    """Types a channel where the form asks for one."""
    driver.find_elements(By.TAG_NAME, "textarea")[0].send_keys("@NorthernAges")


def show_task_runs(driver: Any) -> None:
    named = "[...document.querySelectorAll('*')].filter(e => e.textContent.trim() === 'Task Runs')"
    driver.execute_script(f"{named}.pop().click()")
    time.sleep(_SETTLE_S)


def take(ui: str, run_id: str, folder: Path) -> None:
    run = ask(ui, f"/flow_runs/{run_id}")
    shots: Sequence[Shot] = (
        # The old UI's timeline folds the steps of a video into one bar that can be read.
        Shot("run-page", f"/runs/flow-run/{run_id}", run["name"], 1060, show_task_runs),
        Shot("run-summary", f"/v2/artifacts/artifact/{artifact(ui, run_id, 'run-summary')}", "What next", 1440),
        Shot("not-done", f"/v2/artifacts/artifact/{artifact(ui, run_id, 'not-done')}", "reason", 560, width=1520),
        Shot("form", f"/v2/deployments/deployment/{run['deployment_id']}/run", "source", 1240, fill_form),
    )
    with browser() as driver:
        for shot in shots:
            open_page(driver, ui + shot.path, shot)
            shot.prepare(driver)
            file = folder / f"{shot.name}.png"
            driver.save_screenshot(str(file))
            log.info("%s: %d kB", file, file.stat().st_size // 1000)


def main() -> int:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ui", default="http://127.0.0.1:4200")
    parser.add_argument("--run", required=True, help="id of the demo's run")
    parser.add_argument("--folder", type=Path, default=FOLDER)
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    take(arguments.ui, arguments.run, arguments.folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())

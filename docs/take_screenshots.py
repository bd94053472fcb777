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
from pathlib import Path
from typing import Any

from selenium import webdriver  # type: ignore[import-not-found,unused-ignore]
from selenium.webdriver.common.by import By  # type: ignore[import-not-found,unused-ignore]

log = logging.getLogger("take_screenshots")
FOLDER = Path(__file__).with_name("screenshots")
WIDTH = 1360
_SETTLE_S, _LONGEST_S = 2.0, 90.0


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
    try:
        yield driver
    finally:
        driver.quit()


def open_page(driver: Any, url: str, shows: str, height: int) -> None:
    """Opens a page and waits until it shows a text."""
    driver.set_window_size(WIDTH, height)
    driver.get(url)
    end_s = time.monotonic() + _LONGEST_S
    while shows not in driver.find_element(By.TAG_NAME, "body").text:
        if time.monotonic() > end_s:
            raise TimeoutError(f"{url} never showed {shows!r}")
        time.sleep(0.5)
    time.sleep(_SETTLE_S)


def artifact(ui: str, run_id: str, key: str) -> str:
    wanted = {"artifacts": {"flow_run_id": {"any_": [run_id]}, "key": {"any_": [key]}}, "sort": "CREATED_DESC"}
    return str(ask(ui, "/artifacts/filter", wanted)[0]["id"])


def take(ui: str, run_id: str, folder: Path) -> None:
    run = ask(ui, f"/flow_runs/{run_id}")
    pages: Sequence[tuple[str, str, str, int]] = (
        ("run-page", f"/v2/runs/flow-run/{run_id}", run["name"], 900),
        ("run-summary", f"/v2/artifacts/artifact/{artifact(ui, run_id, 'run-summary')}", "What next", 1100),
        ("not-done", f"/v2/artifacts/artifact/{artifact(ui, run_id, 'not-done')}", "reason", 620),
        ("form", f"/v2/deployments/deployment/{run['deployment_id']}/run", "source", 1500),
    )
    with browser() as driver:
        for name, path, shows, height in pages:
            open_page(driver, ui + path, shows, height)
            file = folder / f"{name}.png"
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

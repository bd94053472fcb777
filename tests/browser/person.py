"""A person in front of the dashboard: headless Chromium, and what one does there: look, click, type, keep a picture.

Everything waits for what a person would wait for, something that can be seen; nothing waits for a length of time.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from selenium import webdriver
from selenium.common.exceptions import (
    ElementClickInterceptedException,
    ElementNotInteractableException,
    StaleElementReferenceException,
)
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.remote.webelement import WebElement

ARGUMENTS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--no-proxy-server", "--hide-scrollbars")
LIGHT = {"name": "prefers-color-scheme", "value": "light"}
LONGEST_S = 120.0
_LOOK_EVERY_S = 0.3
_T = TypeVar("_T")
_NOT_YET = (StaleElementReferenceException, ElementNotInteractableException, ElementClickInterceptedException)


def missing() -> str:
    """What of the browser is not on this machine; "" when it is all there."""
    programs = {"chromium": "chromium", "chromedriver": "chromium-driver"}
    return ", ".join(package for program, package in programs.items() if shutil.which(program) is None)


@dataclass(frozen=True)
class Person:
    """`ui` is the dashboard's address without a slash at its end. `pictures`: where screenshots go, None for none."""

    driver: WebDriver
    ui: str
    pictures: Path | None = None

    def go(self, path: str, *shows: str) -> str:
        """Opens a page; its text as soon as it shows all of these."""
        self.driver.get(self.ui + path)
        return self.reads(*shows)

    def reads(self, *shows: str) -> str:
        """The text of the page as soon as it shows all of these."""

        def seen() -> str:
            text = self._text()
            return text if all(words in text for words in shows) else ""

        return self._until(seen, " and ".join(map(repr, shows)))

    def reads_one_of(self, *either: str) -> str:
        """The first of these that the page shows."""

        def seen() -> str:
            text = self._text()
            return next((words for words in either if words in text), "")

        return self._until(seen, " or ".join(map(repr, either)))

    def _text(self) -> str:
        return str(self.driver.find_element(By.TAG_NAME, "body").text)

    def sees_picture(self, alt: str) -> bool:
        """A picture with this name that the browser could draw."""

        def drawn() -> bool:
            found = self.driver.find_elements(By.XPATH, f"//img[@alt='{alt}']")
            return bool(found) and int(found[0].get_property("naturalWidth") or 0) > 0

        return self._until(drawn, f"the picture {alt!r}")

    def click(self, xpath: str) -> None:
        def clicked() -> bool:
            found = [e for e in self.driver.find_elements(By.XPATH, xpath) if e.is_displayed() and e.is_enabled()]
            if found:
                found[-1].click()
            return bool(found)

        self._until(clicked, f"something to click at {xpath}")

    def press(self, button: str) -> None:
        """A button or an entry of a menu, by its words."""
        words = f"normalize-space()='{button}'"
        self.click(f"//button[{words}] | //*[@role='menuitem'][{words}] | //*[@role='tab'][{words}] | //a[{words}]")

    def write(self, label: str, text: str) -> None:
        """Types into the field with this label."""

        def written() -> bool:
            fields = self.fields(label)
            if fields:
                fields[0].clear()
                fields[0].send_keys(text)
            return bool(fields) and fields[0].get_attribute("value") == text

        self._until(written, f"a field {label!r}")

    def fields(self, label: str) -> list[WebElement]:
        named = f"//label[starts-with(normalize-space(), '{label}')]/following::*[self::textarea or self::input][1]"
        return [field for field in self.driver.find_elements(By.XPATH, named) if field.is_displayed()]

    def keep(self, name: str, height: int = 1100, width: int = 1280) -> None:
        """A picture for the README, when it was asked for."""
        if self.pictures is None:
            return
        self.driver.set_window_size(width, height)
        time.sleep(1.5)  # charts move into their places; no test looks at a picture
        self.driver.save_screenshot(str(self.pictures / f"{name}.png"))
        self.driver.set_window_size(1280, 1100)

    def _until(self, look: Callable[[], _T], what: str) -> _T:
        end_s = time.monotonic() + LONGEST_S
        while True:
            try:
                if found := look():
                    return found
            except _NOT_YET:
                pass
            if time.monotonic() > end_s:
                said = self._text()[-3000:]
                raise AssertionError(f"{self.driver.current_url} never showed {what}; it says: {said}")
            time.sleep(_LOOK_EVERY_S)


@contextmanager
def at_the_dashboard(ui: str, pictures: Path | None = None) -> Iterator[Person]:
    options = webdriver.ChromeOptions()
    for argument in (*ARGUMENTS, "--window-size=1280,1100"):
        options.add_argument(argument)
    options.binary_location = shutil.which("chromium") or ""
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver") or ""))
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [LIGHT]})
    try:
        yield Person(driver, ui, pictures)
    finally:
        driver.quit()

"""A page of Dagster's in a headless Chromium, looked at and clicked as a person would."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException, TimeoutException, WebDriverException
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

CHROMIUM, DRIVER = Path("/usr/bin/chromium"), Path("/usr/bin/chromedriver")
_SECONDS = 60
FRESHNESS = ("Passing", "Failed", "Not evaluated")
# Nothing but the page under test is asked for; as root, and in containers, Chromium has no sandbox of its own.
_ARGUMENTS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--window-size=1500,1000",
)  # fmt: skip


@contextmanager
def opened(profile: Path) -> Iterator[webdriver.Chrome]:
    """A browser with a new profile."""
    options = Options()
    options.binary_location = str(CHROMIUM)
    for argument in (*_ARGUMENTS, f"--user-data-dir={profile}"):
        options.add_argument(argument)
    driver = webdriver.Chrome(options=options, service=Service(str(DRIVER)))
    try:
        yield driver
    finally:
        driver.quit()


class Page:
    """One window.

    Args:
        driver: the browser.
        url: where Dagster's page is.
        pictures: directory for a picture when something is not found.
    """

    def __init__(self, driver: webdriver.Chrome, url: str, pictures: Path) -> None:
        self._driver = driver
        self._url = url
        self._pictures = pictures

    @property
    def text(self) -> str:
        """What is to be read on it."""
        return self._driver.find_element(By.TAG_NAME, "body").text

    def open(self, path: str) -> Page:
        self._driver.get(f"{self._url}{path}")
        return self

    def reads(self, *words: str, seconds: float = _SECONDS) -> str:
        """Wait until all of these can be read; returns the text."""

        def all_there(_driver):
            text = self.text
            return text if all(word in text for word in words) else None

        return self._wait(all_there, f"{words} cannot be read", seconds)

    def freshness(self, target: str) -> str:
        """What stands below the heading on the page of a recovery point, opened anew: it does not ask again itself."""
        self.open(f"/assets/{target}/recovery_point")

        def there(_driver):
            found = [line for before, line in pairwise(self.text.splitlines()) if before == "Freshness policy"]
            return next((line for line in found if line in FRESHNESS), None)

        return self._wait(there, f"none of {FRESHNESS} is shown")

    def no_longer_reads(self, words: str) -> None:
        """Wait until these words are gone."""
        self._wait(lambda _: words not in self.text, f"{words} does not go")

    def button(self, name: str):
        """The button with this name, once it is there."""
        return self._wait(lambda _: self._first(f"//button[starts-with(normalize-space(.), '{name}')]"), f"no {name}")

    def click(self, name: str) -> None:
        """Press the button with this name, once it can be pressed."""

        path = f"//button[starts-with(normalize-space(.), '{name}')]"
        self._wait(lambda _: self._press(path), f"{name} cannot be pressed")

    def menu(self, button: str, item: str) -> None:
        """Choose an item of the menu beside a button."""

        def unfold(_driver):
            caret = self._first(f"//button[starts-with(normalize-space(.), '{button}')]/following::button[1]")
            caret.click()
            return True

        self.button(button)
        self._wait(unfold, f"no menu beside {button}")
        self._wait(lambda _: self._press(f"//*[@role='menuitem' and starts-with(normalize-space(.), '{item}')]"), item)

    def dot(self, key: str) -> str:
        """Colour of the dot beside a partition in its list: green, red, blue, grey."""
        path = f"//*[@title='{key}']/../following-sibling::div"
        dot = self._wait(lambda _: self._first(path), f"no dot beside {key}")
        colour = dot.value_of_css_property("background-color")
        red, green, blue = (int(part) for part in re.findall(r"\d+", colour)[:3])
        if max(red, green, blue) - min(red, green, blue) < 40:
            return "grey"
        return max((red, "red"), (green, "green"), (blue, "blue"))[1]

    def pictured(self, name: str) -> Path:
        """A picture of it."""
        path = self._pictures / f"{name}.png"
        self._driver.save_screenshot(str(path))
        return path

    def _press(self, xpath: str) -> bool:
        item = self._first(xpath)
        if item is None or not item.is_enabled():
            return False
        item.click()
        return True

    def _first(self, xpath: str):
        found = [item for item in self._driver.find_elements(By.XPATH, xpath) if item.is_displayed()]
        return found[0] if found else None

    def _wait(self, condition, complaint: str, seconds: float = _SECONDS):
        ignored = (StaleElementReferenceException, WebDriverException)
        try:
            return WebDriverWait(self._driver, seconds, 0.2, ignored).until(condition)
        except TimeoutException:
            picture = self.pictured(f"missed-{int(time.time())}")
            raise AssertionError(f"{complaint}; picture {picture}; the page reads:\n{self.text}") from None

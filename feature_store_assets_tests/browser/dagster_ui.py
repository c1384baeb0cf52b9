"""A real `dagster dev` and a real headless Chromium, for tests and for the documentation."""

import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import which
from typing import TypeVar
from urllib.error import URLError

from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException, WebDriverException
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

_T = TypeVar("_T")
PATIENCE = 120
# Chromium may not talk to anybody but this machine.
_FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--window-size=1500,1100",
)
PROJECT = Path(__file__).parents[2]


@contextmanager
def dagster_dev(home: Path, *arguments: str, **variables: str) -> Iterator[str]:
    """Run `dagster dev` on a Dagster home; give its address, end it with its children."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ["-m", "dagster", "dev", "-h", "127.0.0.1", "-p", str(port), *arguments]
    with (home / "dev.log").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, "-W", "ignore", *command],
            cwd=PROJECT,
            env={**os.environ, "DAGSTER_HOME": str(home), **variables},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            url = f"http://127.0.0.1:{port}"
            _wait_for(f"{url}/server_info")
            yield url
        finally:
            # Dagster passes signals on slowly: end the whole session.
            os.killpg(server.pid, signal.SIGTERM)
            try:
                server.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(server.pid, signal.SIGKILL)
                server.wait()


def _wait_for(url: str) -> None:
    for attempt in Retrying(
        stop=stop_after_delay(PATIENCE),
        wait=wait_fixed(0.2),
        retry=retry_if_exception_type((URLError, ConnectionError)),
        reraise=True,
    ):
        with attempt, urllib.request.urlopen(url):
            pass


class Page:
    """A browser window on the UI."""

    def __init__(self, driver: webdriver.Chrome, base: str) -> None:
        self.driver = driver
        self._base = base

    def open(self, path: str) -> None:
        self.driver.get(self._base + path)

    def find(self, xpath: str) -> WebElement:
        """Wait until a visible element is there."""

        def shown(driver: webdriver.Chrome) -> WebElement | None:
            return next(
                (e for e in driver.find_elements(By.XPATH, xpath) if e.is_displayed()), None
            )

        found = self._wait(shown, xpath)
        assert found is not None
        return found

    def click(self, xpath: str) -> None:
        """Wait for an element and click it."""

        def clicked(_: webdriver.Chrome) -> bool:
            try:
                self.find(xpath).click()
            except WebDriverException:
                return False
            return True

        self._wait(clicked, f"a click on {xpath}")

    def show(self, xpath: str) -> None:
        """Scroll an element to the top of the window."""
        self.driver.execute_script("arguments[0].scrollIntoView()", self.find(xpath))

    def text(self) -> str:
        """All text that the page shows."""
        return self.driver.find_element(By.TAG_NAME, "body").text

    def wait_for(self, *texts: str) -> None:
        """Wait until the page shows all the texts."""

        def shown(_: webdriver.Chrome) -> bool:
            page = self.text()
            return all(text in page for text in texts)

        self._wait(shown, " and ".join(texts))

    def _wait(self, condition: Callable[[webdriver.Chrome], _T], what: str) -> _T:
        waiting = WebDriverWait(self.driver, PATIENCE, 0.2, [StaleElementReferenceException])
        return waiting.until(condition, f"waited for {what}; the page shows:\n{self.text()}")

    def picture(self, path: Path) -> None:
        self.driver.save_screenshot(str(path))


@contextmanager
def browser(base: str, profile: Path) -> Iterator[Page]:
    """Open headless Chromium on an address."""
    options = Options()
    options.binary_location = which("chromium") or "chromium"
    for flag in (*_FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    driver = webdriver.Chrome(options=options, service=Service(which("chromedriver")))
    try:
        yield Page(driver, base)
    finally:
        driver.quit()

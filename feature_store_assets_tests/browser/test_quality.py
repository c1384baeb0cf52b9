"""What a feature author sees of quality: check history, drift over time, pictures, the report."""

from collections.abc import Iterator
from pathlib import Path
from shutil import which

import dagster as dg
import pytest

from feature_store_assets.dagster_io.code_location import load_definitions
from feature_store_assets.examples.flights.runs import Runs
from feature_store_assets_tests.browser.dagster_ui import Page, browser, dagster_dev

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(
        not (which("chromium") and which("chromedriver")), reason="chromium is not installed"
    ),
]
# The blizzard of 8 February 2013 and its aftermath are in it.
DAYS = ("2013-01-01", "2013-02-20")


@pytest.fixture
def page(home: Path) -> Iterator[Page]:
    """The UI beside a store with seven weeks of planes."""
    definitions = load_definitions(module="feature_store_assets.definitions")
    with dg.DagsterInstance.get() as instance:
        runs = Runs(definitions, instance)
        assert runs.run("flights", ["flights"], DAYS)
        assert runs.run("plane_day", ["plane_day"], DAYS)
    with dagster_dev(home) as url, browser(url, home / "chromium") as page:
        page.open("/locations")
        page.wait_for("feature_store_assets.definitions", "Loaded")
        yield page


def test_checks_drift_and_pictures_are_seen(page: Page, home: Path, pictures: Path) -> None:
    page.open("/assets/plane_day?view=checks&checkDetail=drift")
    page.wait_for("drift", "Execution history", "plane_last_distance psi")
    page.show("//*[text()='Plots']")
    page.picture(pictures / "drift.png")

    page.open("/assets/plane_day?view=checks&checkDetail=quality")
    page.wait_for("quality", "Execution history", "plane_delay mean")
    page.picture(pictures / "quality.png")

    page.open("/assets/plane_day?view=partitions&partition=2013-02-08")
    page.wait_for("2013-02-08", "distributions", "quality_report")
    page.click("(//*[contains(text(), '[Show Markdown]')])[1]")
    page.find("//img[contains(@src, 'data:image/svg+xml')]")
    page.picture(pictures / "distributions.png")

    (report,) = (home / "store" / "reports" / "plane_day" / "v1").glob("*.html")
    page.driver.get(report.as_uri())
    page.wait_for("plane_day", "plane_last_distance", "2013-02-20")
    page.picture(pictures / "report.png")

"""Somebody looks for a feature in the catalogue: by words, by lineage, by day and by night."""

import os
from collections.abc import Iterator
from pathlib import Path
from shutil import which

import dagster as dg
import polars as pl
import pytest
from selenium.webdriver.common.keys import Keys
from tenacity import Retrying, retry_if_result, stop_after_delay, wait_fixed

from feature_store_assets import FeatureStore
from feature_store_assets.dagster_io.code_location import declarations, load_definitions
from feature_store_assets.examples.flights.data import read_flights
from feature_store_assets.examples.flights.runs import Runs
from feature_store_assets.examples.flights.training import LABEL, TIMESTAMP, spine
from feature_store_assets_tests.browser.dagster_ui import PATIENCE, Page, browser
from feature_store_assets_tests.server.apps import serving

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(
        not (which("chromium") and which("chromedriver")), reason="chromium is not installed"
    ),
]
DAYS = ("2013-01-01", "2013-02-20")
GROUPS = ("airport_weather", "carrier_delays", "plane_day")
SEARCH, GROUP = "/?q=delay+minutes&kind=feature", "/groups/carrier_delays"
FEATURE, VIEW = "/features/carrier_delays.carrier_late_7d", "/views/arrival_delay"
PATHS = ("/", SEARCH, GROUP, FEATURE, "/groups/plane_day", VIEW)


def fill() -> None:
    """Seven weeks of flights, a training set and a model of them, and somebody who reads."""
    definitions = load_definitions(module="feature_store_assets.definitions")
    with dg.DagsterInstance.get() as instance, FeatureStore.from_env() as store:
        store.apply(*declarations(definitions))
        runs = Runs(definitions, instance)
        assert runs.run("planes", ["planes", "plane"])
        assert runs.run("sources", ["weather"], DAYS)
        assert runs.run("sources", ["flights"], DAYS)
        for name in GROUPS:
            assert runs.run(name, [name], DAYS)
        known = spine(read_flights()).sort(TIMESTAMP).filter(pl.col("month") == 2).head(2_000)
        store.create_training_set(
            "arrival_delay", known, "delays", label=LABEL, timestamp=TIMESTAMP
        )
        store.log_model("late-flights", training_set="delays", owners=["team:operations"])
        asked = known.select("carrier", event_timestamp=TIMESTAMP)
        store.get_historical_features("carrier_delays", asked)
        store.acting_as("ann").set_stage(
            "carrier_delays.carrier_late_7d",
            "deprecated",
            successor="carrier_delays.carrier_late_30d",
        )


@pytest.fixture
def page(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Page]:
    """The catalogue of `feature-store serve` beside the flights example."""
    monkeypatch.setenv("LOGNAME", "ann")  # who applies and reads
    fill()
    variables = {"DAGSTER_HOME": os.environ["DAGSTER_HOME"]}
    with (
        serving(home / "store", log=home / "serve.log", **variables) as (_, url),
        browser(url, home / "chromium") as page,
    ):
        yield page


def look(page: Page, *, dark: bool = False, wide: int = 1280, high: int = 1000) -> None:
    """See the page by day or by night, in a window of that size."""
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    size = {"width": wide, "height": high, "deviceScaleFactor": 1, "mobile": False}
    page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
    page.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def drawn(page: Page, path: str) -> None:
    """Open a page; until the server has read Dagster's lineage it comes without a drawing."""

    def without() -> bool:
        page.open(path)
        return "Lineage is not at hand" in page.text()

    asking = Retrying(
        stop=stop_after_delay(PATIENCE), wait=wait_fixed(0.2), retry=retry_if_result(bool)
    )
    asking(without)


def box(name: str) -> str:
    return f"//*[name()='svg']//*[name()='a'][.//*[text()='{name}']]"


def test_a_feature_is_found_and_its_lineage_followed(page: Page) -> None:
    look(page)
    drawn(page, GROUP)

    page.open("/")
    page.wait_for("Feature groups", "airport_weather", "Views", "arrival_delay")
    page.find("//input[@id='q']").send_keys("share late", Keys.ENTER)
    page.wait_for("hits for “share late”", "carrier_delays.carrier_late_7d")

    page.click("//a[text()='carrier_delays.carrier_late_7d']")
    page.wait_for("is deprecated. Use carrier_delays.carrier_late_30d instead.", "51 partitions")
    page.click(box("arrival_delay"))
    page.wait_for("Whether a flight will land over 15 minutes late")
    page.click(box("carrier_delays"))
    page.wait_for(
        "How late a carrier's flights have been", "2013-02-20", "training", "late-flights"
    )
    page.click("//th/a[text()='carrier_delay_30d']")
    page.wait_for("Mean delay, minutes, in the last 30 days.", "column of flights")

    page.open("/groups/carrier_delay")
    page.wait_for("Nothing is named “carrier_delay”")
    missing = page.driver.get_log("browser")  # type: ignore[no-untyped-call]
    assert [each["message"].partition(" - ")[2] for each in missing] == [
        "Failed to load resource: the server responded with a status of 404 (Not Found)"
    ]
    page.click("//a[text()='carrier_delays']")
    page.wait_for("How late a carrier's flights have been")


def test_pages_are_legible_by_day_by_night_and_on_a_telephone(page: Page, pictures: Path) -> None:
    drawn(page, GROUP)
    for dark, ground in ((True, "rgb(13, 17, 23)"), (False, "rgb(255, 255, 255)")):
        look(page, dark=dark)
        page.open(GROUP)
        shown = page.driver.execute_script("return getComputedStyle(document.body).backgroundColor")
        assert shown == ground
    page.picture(pictures / "catalogue-group.png")
    look(page, high=700)
    page.open(FEATURE)
    page.show("//h2[@id='lineage']")
    page.picture(pictures / "catalogue-lineage.png")
    for wide in (380, 800, 1280):
        look(page, wide=wide)
        for path in PATHS:
            page.open(path)
            needed = page.driver.execute_script("return document.documentElement.scrollWidth")
            assert needed <= wide, path
    assert page.driver.get_log("browser") == []  # type: ignore[no-untyped-call]

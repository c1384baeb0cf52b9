"""A platform owner in the Dagster UI: a backfill by clicking, a red day with its reason."""

from collections.abc import Iterator
from pathlib import Path
from shutil import which

import dagster as dg
import pytest
from selenium.webdriver.common.keys import Keys

from feature_store_assets import FeatureStore, FeatureStoreConfig
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
WEEK = ("2013-02-08", "2013-02-14")
BAD = "2013-02-12"


@pytest.fixture
def page(home: Path) -> Iterator[Page]:
    """The UI beside a store with one week of weather as first recorded."""
    definitions = load_definitions(module="feature_store_assets.definitions")
    recorded = {"ops": {"weather": {"config": {"as_recorded": True}}}}
    with dg.DagsterInstance.get() as instance:
        assert Runs(definitions, instance).run("weather", ["weather"], WEEK, config=recorded)
    with dagster_dev(home) as url, browser(url, home / "chromium") as page:
        page.open("/locations")
        page.wait_for("feature_store_assets.definitions", "Loaded")
        yield page


def launch(page: Page, partitions: str) -> None:
    """Launch a backfill as a person does."""
    page.open("/assets/airport_weather?view=partitions")
    page.wait_for("Missing (364)")
    page.click("//button[contains(., 'Materialize')]")
    field = page.find(
        "(//div[contains(., 'Launch runs')]//input[@placeholder and @value=''])[last()]"
    )
    field.send_keys(partitions, Keys.ENTER)
    page.wait_for("Backfills all partitions in a single run.")
    page.click("//button[contains(., 'Launch backfill') and not(@disabled)]")


def test_a_week_is_backfilled_by_clicking_and_the_bad_day_is_red(
    page: Page, pictures: Path
) -> None:
    launch(page, f"[{WEEK[0]}...{WEEK[1]}]")
    page.open("/assets/airport_weather?view=partitions")
    page.wait_for("Failed (1)", "Materialized (6)", "Missing (357)")
    page.picture(pictures / "partitions.png")

    page.open("/assets/airport_weather?view=checks&checkDetail=wind_speed")
    page.wait_for("Failed", "expected values to be between", "1 of 72 rows are at fault")
    page.picture(pictures / "checks.png")

    with FeatureStore(FeatureStoreConfig()) as store:
        assert BAD not in store.table(store.applied.group("airport_weather")).partitions()
        assert list(
            (store.config.root / "quarantine" / "airport_weather").rglob(f"{BAD}/*.parquet")
        )

    page.open("/runs")
    page.wait_for("Failure")
    with dg.DagsterInstance.get() as instance:
        runs = instance.get_runs(
            dg.RunsFilter(tags={"dagster/asset_partition_range_start": WEEK[0]})
        )
        # The weather's own, and the backfill's one: a gate failure is not tried again.
        assert len(runs) == 2


def test_the_ui_shows_what_an_author_declared(page: Page, pictures: Path) -> None:
    page.open("/assets/airport_weather")
    page.wait_for("humidity", "ge 0", "le 100", "Degrees Fahrenheit.", "Delta Lake")
    page.open("/assets/carrier_delays?view=lineage")
    page.wait_for("carrier_delays", "flights", "online")
    page.picture(pictures / "lineage.png")
    for job, words in (("snapshot_job", "features"), ("retention_job", "dry_run")):
        page.open(f"/locations/feature_store_assets.definitions/jobs/{job}/playground")
        page.wait_for("Launch Run", words)
    page.picture(pictures / "retention_job.png")
    page.open("/automation")
    page.wait_for("alerts", "partitions", "retention_dry_run", "validate_weekly")


def test_the_instance_in_use_sends_no_telemetry_and_does_not_retry_a_gate(home: Path) -> None:
    with dg.DagsterInstance.get() as instance:
        assert instance.telemetry_enabled is False
        assert instance.nux_enabled is False
        assert instance.run_retries_enabled is True
        assert instance.run_retries_retry_on_asset_or_op_failure is False

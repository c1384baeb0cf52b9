"""A small code location for the tests of the command line, loaded as a file."""

import os
from datetime import UTC, date, datetime, timedelta

import dagster as dg
import polars as pl

from feature_store_assets import Entity, Feature, FeatureView, Window, feature_group
from feature_store_assets.orchestration.definitions import build_definitions

DAYS = dg.DailyPartitionsDefinition("2024-01-01", end_date="2024-01-06")

shop = Entity("shop", {"shop_id": "int64"})
counter = Entity("counter", {"shop_id": "int64", "opened": "date32"})


@dg.asset(partitions_def=DAYS, io_manager_key="table_io")
def sales(context: dg.AssetExecutionContext) -> pl.DataFrame:
    """One sale a day. Without a policy for backfills a range takes a run for each day."""
    noon = context.partition_time_window.start + timedelta(hours=12)
    amount = -1.0 if context.partition_key == os.environ.get("BAD_DAY") else 2.5
    return pl.DataFrame({"shop_id": [7], "sold_at": [noon], "amount": [amount]})


@feature_group(
    entity=shop,
    features=[Feature("taken", "float64", ge=0)],
    partitions=DAYS,
    online=True,
)
def takings(sales: pl.DataFrame, window: Window) -> pl.DataFrame:
    """What was taken."""
    assert window.keys
    return sales.select("shop_id", event_timestamp="sold_at", taken="amount")


@feature_group(entity=counter, features=[Feature("seats", "int64")], online=True)
def counters() -> pl.DataFrame:
    """Where it was taken."""
    known = datetime(2024, 1, 1, tzinfo=UTC)
    return pl.DataFrame(
        {"shop_id": [7], "opened": [date(2020, 2, 1)], "event_timestamp": [known], "seats": [3]}
    )


whole = FeatureView("whole", [takings, counters])

defs = build_definitions([takings, counters], views=[whole], assets=[sales])

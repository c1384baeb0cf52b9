"""A shop whose days end today: the code location that a real daemon looks after in a test."""

from datetime import UTC, datetime, timedelta

import dagster as dg
import polars as pl
from pydantic import Field

from feature_store_assets import Entity, Feature, FeatureGroup, Window, feature_group
from feature_store_assets.orchestration.definitions import build_definitions

# Three days that are over, whenever the test runs.
FIRST = (datetime.now(UTC) - timedelta(days=3)).date()
DAYS = dg.DailyPartitionsDefinition(f"{FIRST}")
customer = Entity("customer", {"customer_id": "string"})


class Delivery(dg.Config):
    """What the till says: money spent on each day."""

    amount: float = Field(default=1.0)


@dg.asset(
    partitions_def=DAYS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    io_manager_key="table_io",
    metadata={"partition_expr": "paid_at"},
)
def payments(context: dg.AssetExecutionContext, config: Delivery) -> pl.DataFrame:
    """One customer, one payment a day."""
    noon = [datetime.fromisoformat(f"{key}T12:00:00+00:00") for key in context.partition_keys]
    return pl.DataFrame(
        {
            "customer_id": ["ann"] * len(noon),
            "paid_at": noon,
            "amount": [config.amount] * len(noon),
        },
        schema_overrides={"paid_at": pl.Datetime("us", "UTC")},
    )


@dg.asset(partitions_def=DAYS, io_manager_key="table_io")
def refunds() -> pl.DataFrame:
    """What is never delivered."""
    return pl.DataFrame()


def _summed(rows: pl.DataFrame) -> pl.DataFrame:
    day = pl.col("paid_at").dt.truncate("1d") + timedelta(days=1)
    return rows.select("customer_id", event_timestamp=day, spent="amount")


@feature_group(
    entity=customer,
    features=[Feature("spent", "float64", "Money spent that day.", ge=0)],
    partitions=DAYS,
    closed="right",
    freshness=timedelta(hours=26),
    online=True,
    owners=["team:growth"],
)
def spending(payments: pl.DataFrame, window: Window) -> pl.DataFrame:
    """What a customer spent on a day."""
    return _summed(payments)


@feature_group(
    entity=customer,
    features=[Feature("spent", "float64", "Money given back that day.")],
    partitions=DAYS,
    closed="right",
    freshness=timedelta(hours=26),
)
def given_back(refunds: pl.DataFrame, window: Window) -> pl.DataFrame:
    """What a customer got back on a day."""
    return _summed(refunds)


GROUPS: list[FeatureGroup] = [spending, given_back]
defs = build_definitions(GROUPS, assets=[payments, refunds])

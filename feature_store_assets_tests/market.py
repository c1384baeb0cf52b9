"""A code location for the tests of lineage, loaded as a file: orders, spending, loyalty."""

import dagster as dg
import polars as pl

from feature_store_assets import Entity, Feature, FeatureGroup, FeatureView, Window, feature_group
from feature_store_assets.declaration.partitions import Partitions
from feature_store_assets.declaration.request import RequestFeature
from feature_store_assets.orchestration.definitions import build_definitions
from feature_store_assets_tests import functions
from feature_store_assets_tests.orchestration.shop import DAYS, Orders, orders as shop_orders

customer = Entity("customer", {"customer_id": "string"})

COLUMNS = dg.TableSchema(
    [dg.TableColumn(name) for name in ("customer_id", "ordered_at", "amount", "note")]
)


@dg.asset(
    partitions_def=DAYS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    io_manager_key="table_io",
    owners=["team:sales"],
    deps=["till"],
    metadata={
        "partition_expr": "ordered_at",
        "dagster/column_schema": COLUMNS,
        "dagster/column_lineage": dg.TableColumnLineage(
            {"amount": [dg.TableColumnDep(dg.AssetKey("till"), "cents")]}
        ),
    },
)
def orders(context: dg.AssetExecutionContext, config: Orders) -> pl.DataFrame:
    """Two customers, one order a day each."""
    rows: pl.DataFrame = shop_orders.op.compute_fn.decorated_fn(context, config)  # type: ignore[union-attr]  # the shop's own body
    return rows


@feature_group(
    entity=customer,
    features=[
        Feature("spent", "float64", "Money spent.", ge=0, derived_from=["orders.amount"]),
        Feature("ordered", "int64", "Orders placed.", derived_from=["orders.ordered_at"]),
        Feature("city", "string", "Nobody knows where from."),
    ],
    partitions=DAYS,
    ins={"orders": dg.AssetIn(partition_mapping=dg.TimeWindowPartitionMapping(start_offset=-1))},
    online=True,
    owners=["team:growth"],
)
def spending(orders: pl.DataFrame, window: Window) -> pl.DataFrame:
    """What a customer spent on a day."""
    return orders.filter(pl.col("ordered_at") >= window.start).select(
        "customer_id",
        event_timestamp="ordered_at",
        spent="amount",
        ordered=pl.lit(1),
        city=pl.lit("Ulm"),
    )


@feature_group(
    entity=customer,
    features=[
        Feature(
            "score",
            "float64",
            "How good a customer is.",
            derived_from=["spending.spent"],
            owner="ann@example.org",
        ),
        Feature("visits", "int64", "Visits.", derived_from=["spending.ordered"]),
    ],
    partitions=DAYS,
    owners=["team:loyalty"],
)
def loyalty(spending: pl.DataFrame) -> pl.DataFrame:
    """How good a customer is."""
    return spending.select("customer_id", "event_timestamp", score="spent", visits="ordered")


@dg.asset
def dashboard(spending: pl.DataFrame) -> None:
    """A page for people; it does not say which columns it reads."""
    assert spending is not None


profile = FeatureGroup(
    "profile",
    entity=customer,
    features=[Feature("age", "int64"), Feature("country", "string")],
    partitions=Partitions.calendar(["year", "month"]),
)
SIZE = RequestFeature("size", "int64", functions.letters)
churn = FeatureView(
    "churn",
    [spending["spent"], profile["age", "country"]],
    request={"text": "string"},
    computed=[SIZE],
    owners=["team:churn"],
)
regulars = FeatureView("regulars", [loyalty["score"]])
visiting = FeatureView("visiting", [loyalty["visits"]])

GROUPS = [spending, loyalty, profile]
VIEWS = [churn, regulars, visiting]
defs = build_definitions(GROUPS, views=VIEWS, assets=[orders, dashboard])

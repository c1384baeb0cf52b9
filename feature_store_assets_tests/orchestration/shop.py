"""A small shop: orders by day, spending by day, and a Dagster instance to run it on."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
from pydantic import Field

from feature_store_assets import (
    Entity,
    Feature,
    FeatureGroup,
    FeatureStore,
    FeatureStoreConfig,
    Window,
    expect,
    feature_group,
)
from feature_store_assets.orchestration.definitions import build_definitions

START = datetime(2024, 1, 1, tzinfo=UTC)
DAYS = dg.DailyPartitionsDefinition("2024-01-01", end_date="2025-01-01")
customer = Entity("customer", {"customer_id": "string"})
RANGE = ("dagster/asset_partition_range_start", "dagster/asset_partition_range_end")


def day(number: int) -> str:
    return f"{START + timedelta(days=number):%Y-%m-%d}"


class Orders(dg.Config):
    """What the source delivers: a negative amount on bad days, nothing on empty ones."""

    bad: list[str] = Field(default=[])
    empty: list[str] = Field(default=[])
    factor: float = 1.0


@dg.asset(
    partitions_def=DAYS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    io_manager_key="table_io",
    metadata={"partition_expr": "ordered_at"},
)
def orders(context: dg.AssetExecutionContext, config: Orders) -> pl.DataFrame:
    """Two customers, one order a day each."""
    rows = []
    for key in context.partition_keys:
        if key in config.empty:
            continue
        noon = datetime.fromisoformat(key).replace(hour=12, tzinfo=UTC)
        amount = -1.0 if key in config.bad else config.factor
        rows += [
            {"customer_id": "ann@example.org", "ordered_at": noon, "amount": amount},
            {"customer_id": "bob@example.org", "ordered_at": noon, "amount": 2 * config.factor},
        ]
    schema: dict[str, Any] = {
        "customer_id": pl.String,
        "ordered_at": pl.Datetime("us", "UTC"),
        "amount": pl.Float64,
    }
    return pl.DataFrame(rows, schema=schema)


@feature_group(
    entity=customer,
    features=[
        Feature("spent", "float64", "Money spent that day.", ge=0, derived_from=("orders.amount",)),
        Feature("mail", "string", "Mail address.", pii=True, mask="hash"),
    ],
    partitions=DAYS,
    expectations=[
        expect.column_mean_to_be_between("spent", max_value=100, severity="warning"),
    ],
    closed="right",
    ttl=timedelta(days=30),
    freshness=timedelta(hours=26),
    retention=timedelta(days=30),
    online=True,
    owners=["team:growth"],
    tags={"domain": "sales"},
)
def spending(orders: pl.DataFrame, window: Window) -> pl.DataFrame:
    """What a customer spent on a day, known at its end."""
    assert window.start is not None
    return orders.group_by("customer_id", pl.col("ordered_at").dt.truncate("1d").alias("day")).agg(
        spent=pl.col("amount").min()
    ).select(
        "customer_id",
        "spent",
        event_timestamp=pl.col("day") + pl.duration(days=1),
        mail=pl.col("customer_id"),
    )  # fmt: skip


class Shop:
    """The shop's code location on one data root and one Dagster instance."""

    def __init__(
        self,
        root: Path,
        instance: dg.DagsterInstance,
        groups: Sequence[FeatureGroup] = (spending,),
        assets: Sequence[Any] = (orders,),
    ) -> None:
        self.config = FeatureStoreConfig(storage_path=root, removal_grace_seconds=0)
        self.instance = instance
        self.definitions = build_definitions(groups, assets=assets, config=self.config)

    def run(
        self,
        *names: str,
        keys: tuple[str, str] | None = None,
        partition: str | None = None,
        config: dict[str, Any] | None = None,
    ) -> dg.ExecuteInProcessResult:
        """Materialize assets for a range, for one partition, or without partitions."""
        job = self.definitions.resolve_implicit_global_asset_job_def()
        quiet = {"console": {"config": {"log_level": "CRITICAL"}}}
        return job.execute_in_process(
            run_config={"loggers": quiet, "ops": config or {}},
            instance=self.instance,
            asset_selection=[dg.AssetKey.from_user_string(name) for name in names],
            tags=dict(zip(RANGE, keys, strict=True)) if keys else {},
            partition_key=partition,
            raise_on_error=False,
        )

    def deliver(self, first: int, last: int, **orders: Any) -> None:
        """Materialize the source for days."""
        done = self.run(
            "orders", keys=(day(first), day(last)), config={"orders": {"config": orders}}
        )
        assert done.success

    def committed(self, name: str) -> set[str]:
        return self.instance.get_materialized_partitions(dg.AssetKey.from_user_string(name))

    def quality(self, name: str = "spending") -> dict[str | None, str]:
        """The newest state of the `quality` check, by partition."""
        storage = self.instance.event_log_storage
        key = dg.AssetCheckKey(dg.AssetKey([name]), "quality")
        history = storage.get_asset_check_execution_history(key, 2000)
        return {record.partition: record.status.value for record in reversed(history)}

    @contextmanager
    def store(self) -> Iterator[FeatureStore]:
        with FeatureStore(self.config) as store:
            yield store

    def stored(self, name: str = "spending") -> dict[str, list[float]]:
        """Spending of Ann by partition, as the offline table holds it."""
        with self.store() as store:
            table = store.table(store.applied.group(name))
            found: dict[str, list[float]] = {}
            for key in table.partitions():
                rows = table.read(["customer_id", "spent"], partitions=[key]).to_pylist()
                found[key] = [row["spent"] for row in rows if row["customer_id"].startswith("ann")]
            return found

    def served(self, at: datetime) -> float | None:
        """Ann's spending as the online store serves it."""
        with self.store() as store:
            answer = store.get_online_features("spending", ["ann@example.org"], at=at)
            value: float | None = answer["ann@example.org"]["spent"]
            return value


@contextmanager
def copied(shop: Shop, root: Path) -> Iterator[Shop]:
    """The same shop on a data root and an instance of its own: filling one again takes seconds."""
    shutil.copytree(shop.config.root, root)
    with dg.DagsterInstance.ephemeral() as instance:
        old: Any = shop.instance
        new: Any = instance
        for kept, fresh in (
            (old.run_storage, new.run_storage),
            (old.event_log_storage, new.event_log_storage),
        ):
            database = kept._held_conn.connection.driver_connection
            database.backup(fresh._held_conn.connection.driver_connection)
        new.event_log_storage._storage_id = old.event_log_storage._storage_id
        yield Shop(root, instance)


def failure(result: dg.ExecuteInProcessResult) -> str:
    """The message of a failed step."""
    for event in result.all_events:
        if event.event_type is dg.DagsterEventType.STEP_FAILURE:
            data = event.step_failure_data
            told = data.user_failure_data.description if data.user_failure_data else None
            return told or (data.error.to_string() if data.error else "")
    return ""


@contextmanager
def stocked(folder: Path, last: int) -> Iterator[Shop]:
    """A shop whose spending is computed and served, from the first day to a last one."""
    with dg.DagsterInstance.ephemeral() as instance:
        shop = Shop(folder / "store", instance)
        shop.deliver(0, last)
        assert shop.run("spending", "online/spending", keys=(day(0), day(last))).success
        yield shop


def run_job(shop: Shop, job: str, op: str, /, **config: Any) -> dg.ExecuteInProcessResult:
    """Run a job of one op with a config, as the Launchpad does."""
    return shop.definitions.resolve_job_def(job).execute_in_process(
        run_config={"ops": {op: {"config": config}}}, instance=shop.instance
    )

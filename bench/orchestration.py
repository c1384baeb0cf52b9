"""What Dagster adds to a backfill of a year."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl

from bench.measuring import Cost, Row, aim, once, seconds, versus
from feature_store_assets import Feature, FeatureStore, FeatureStoreConfig, Window, feature_group
from feature_store_assets.dagster_io.partitions import dagster_partitions
from feature_store_assets.ingestion.partition_assignment import Slots
from feature_store_assets.orchestration.materialize import materialize
from feature_store_assets_tests.orchestration.shop import DAYS, START, Shop, customer, day

_DAYS = 365
_CUSTOMERS = 100


@feature_group(
    entity=customer,
    features=[
        Feature("spent", "float64", "Money spent that day.", ge=0, nullable=False),
        Feature("orders", "int64", "Orders that day.", ge=0),
        Feature("share", "float64", "Of the money, what went into books.", ge=0, le=1),
    ],
    partitions=DAYS,
    closed="right",
)
def spending(window: Window) -> pl.DataFrame:
    """What a hundred customers spent, day by day."""
    assert window.start is not None
    assert window.end is not None
    ends = pl.datetime_range(
        window.start + timedelta(days=1), window.end, "1d", time_unit="us", eager=True
    )
    people = pl.DataFrame({"customer_id": [f"customer_{number}" for number in range(_CUSTOMERS)]})
    number = pl.int_range(pl.len())
    return ends.alias("event_timestamp").to_frame().join(people, how="cross").with_columns(
        spent=number % 1000 / 10, orders=number % 7, share=number % 11 / 11
    )  # fmt: skip


@dg.asset(
    partitions_def=DAYS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    check_specs=[dg.AssetCheckSpec("quality", asset="nothing", partitions_def=DAYS)],
)
def nothing(context: dg.AssetExecutionContext) -> Any:
    """Only events: a materialization and a check result for each day."""
    for key in context.partition_keys:
        context.log_event(
            dg.AssetCheckEvaluation(
                asset_key=context.asset_key, check_name="quality", partition=key, passed=True
            )
        )
    yield dg.AssetCheckResult(check_name="quality", passed=True)
    yield dg.MaterializeResult()


def backfill(folder: Path) -> Iterator[Row]:
    """365 days of one group in one run on a SQLite instance, against the same work without Dagster.

    Direct is `materialize`: compute, gate, statistics, commit. What the run takes beyond that are
    Dagster's own events and the metadata, plots and check results shown in its UI. The bare asset
    computes nothing and records one materialization and one check result a day, without metadata.
    Runs stay in this process: starting one is not counted. They take long and wait for the disk,
    so each is measured once: half of the bare days before ours, half after.
    """
    home = folder / "home"
    home.mkdir()
    (home / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    keys = [day(number) for number in range(_DAYS)]
    with dg.DagsterInstance.from_config(str(home)) as instance:
        shop = Shop(folder / "store", instance, groups=[spending], assets=[nothing])
        _direct(folder / "warm", keys)
        alone = once(lambda: _direct(folder / "direct", keys))
        events = [once(lambda: _run(shop, "nothing", keys[: _DAYS // 2]))]
        whole = once(lambda: _run(shop, "spending", keys))
        events.append(once(lambda: _run(shop, "nothing", keys[_DAYS // 2 :])))
        assert shop.committed("spending") == shop.committed("nothing") == set(keys)
    assert _stored(folder / "store").equals(_stored(folder / "direct"))
    beyond = Cost((whole.wall - alone.wall) / _DAYS, (whole.cpu - alone.cpu) / _DAYS)
    bare = Cost(sum(each.wall for each in events) / _DAYS, sum(each.cpu for each in events) / _DAYS)
    yield Row(
        "orchestration: 365 days in one run; raw is the same work without Dagster",
        str(whole),
        str(alone),
        f"{seconds(beyond.wall)} a partition beyond",
        aim("<= 60 ms a partition", met=beyond.wall <= 0.06),
    )
    yield versus("beyond, a partition; raw is Dagster's bare events", beyond, bare)


def _direct(root: Path, keys: list[str]) -> None:
    with FeatureStore(FeatureStoreConfig(storage_path=root)) as store:
        slots = Slots.of(spending, dagster_partitions(spending.partitions), keys)
        function = spending.function
        assert function is not None
        done = materialize(
            store, spending, slots, lambda window: function(window=window), run_id=""
        )
        assert len(done[0].committed) == len(keys)


def _run(shop: Shop, name: str, keys: list[str]) -> None:
    assert shop.run(name, keys=(keys[0], keys[-1])).success


def _stored(root: Path) -> pl.DataFrame:
    with FeatureStore(FeatureStoreConfig(storage_path=root)) as store:
        return store.read_features("spending", start_time=START).to_polars()

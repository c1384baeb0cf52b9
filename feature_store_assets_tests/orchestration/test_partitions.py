"""Every kind of partition: declared, made into Dagster's, rows assigned, runs executed."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from feature_store_assets import Entity, Feature, FeatureGroup, Window, feature_group
from feature_store_assets.dagster_io.partitions import as_ranges, dagster_partitions
from feature_store_assets.declaration.partitions import Partitions
from feature_store_assets.errors import OutsideWindow
from feature_store_assets.ingestion.partition_assignment import Slots
from feature_store_assets_tests.counts import some
from feature_store_assets_tests.orchestration.shop import DAYS, Shop, day, failure

thing = Entity("thing", {"id": "int64", "region": "string"})
DEFINITIONS: list[dg.PartitionsDefinition[Any]] = [
    dg.HourlyPartitionsDefinition("2024-01-01-00:00", timezone="Europe/Berlin"),
    dg.DailyPartitionsDefinition("2024-01-01", timezone="America/New_York", hour_offset=3),
    dg.WeeklyPartitionsDefinition("2024-01-01"),
    dg.MonthlyPartitionsDefinition("2024-01-01", end_date="2025-01-01", end_offset=1),
    dg.TimeWindowPartitionsDefinition(
        start="2024-01-01", cron_schedule="30 6 * * 1-5", fmt="%Y-%m-%d"
    ),
    dg.StaticPartitionsDefinition(["north", "south"]),
    dg.MultiPartitionsDefinition({
        "region": dg.StaticPartitionsDefinition(["north", "south"]), "date": DAYS,
    }),
]  # fmt: skip


@pytest.mark.parametrize("definition", DEFINITIONS, ids=lambda each: type(each).__name__)
def test_a_dagster_definition_survives_declaration(
    definition: dg.PartitionsDefinition[Any],
) -> None:
    described = Partitions.from_json(Partitions.of(definition).to_json())
    assert dagster_partitions(described) == definition


def declare(
    partitions: Any, by: dict[str, str] | None = None, closed: Any = "left"
) -> FeatureGroup:
    return FeatureGroup(
        "g",
        entity=thing,
        features=(Feature("x", "int64"),),
        partitions=partitions,
        partition_by=tuple((by or {}).items()),
        closed=closed,
    )


TYPES: list[tuple[str, pa.DataType]] = [
    ("id", pa.int64()),
    ("region", pa.string()),
    ("event_timestamp", pa.timestamp("us", "UTC")),
    ("x", pa.int64()),
]


def rows(*times: datetime, region: str = "north") -> pa.Table:
    return pa.Table.from_pylist(
        [{"id": 1, "region": region, "event_timestamp": at, "x": n} for n, at in enumerate(times)],
        schema=pa.schema(TYPES),
    )


MIDNIGHT = datetime(2024, 1, 2, tzinfo=UTC)
TICK = timedelta(microseconds=1)


@pytest.mark.parametrize(
    ("closed", "expected"),
    [
        ("left", ["2024-01-01", "2024-01-02", "2024-01-02"]),
        ("right", ["2024-01-01", "2024-01-01", "2024-01-02"]),
    ],
)
def test_the_closed_end_decides_about_midnight(closed: str, expected: list[str]) -> None:
    slots = Slots.of(declare(DAYS, closed=closed), DAYS, ["2024-01-02", "2024-01-01"])
    assigned, before = slots.assign(rows(MIDNIGHT - TICK, MIDNIGHT, MIDNIGHT + TICK))
    assert (assigned["partition"].to_pylist(), before) == (expected, 0)


def test_rows_before_the_window_are_counted_and_rows_after_it_refused() -> None:
    slots = Slots.of(declare(DAYS), DAYS, ["2024-01-02"])
    assigned, before = slots.assign(rows(MIDNIGHT - TICK, MIDNIGHT))
    assert (assigned["x"].to_pylist(), before) == ([1], 1)
    with pytest.raises(OutsideWindow, match=r"1 row\(s\) for 'g' lie outside the window"):
        slots.assign(rows(MIDNIGHT, MIDNIGHT + timedelta(days=1)))


def test_hours_follow_the_clock_change() -> None:
    hours = dg.HourlyPartitionsDefinition("2024-10-01-00:00", timezone="Europe/Berlin")
    keys = [
        key for key in hours.get_partition_keys(datetime(2024, 10, 28, tzinfo=UTC))
        if key.startswith("2024-10-27-02")
    ]  # fmt: skip
    assert len(keys) == 2
    first = datetime(2024, 10, 27, 0, 30, tzinfo=UTC)
    assigned, _ = Slots.of(declare(hours), hours, keys).assign(
        rows(first, first + timedelta(hours=1))
    )
    assert assigned["partition"].to_pylist() == keys


def test_static_and_multi_partitions_come_from_their_columns() -> None:
    static = dg.StaticPartitionsDefinition(["north", "south"])
    slots = Slots.of(declare(static, {"static": "region"}), static, ["north"])
    assert slots.assign(rows(MIDNIGHT))[0]["partition"].to_pylist() == ["north"]
    assert slots.window == Window(None, None, ("north",))
    with pytest.raises(OutsideWindow):
        slots.assign(rows(MIDNIGHT, region="south"))
    multi = DEFINITIONS[-1]
    both = Slots.of(
        declare(multi, {"region": "region"}), multi, ["2024-01-02|north", "2024-01-02|south"]
    )
    assert both.window.start == MIDNIGHT
    assigned, before = both.assign(rows(MIDNIGHT - TICK, MIDNIGHT))
    assert (assigned["partition"].to_pylist(), before) == (["2024-01-02|north"], 1)


def test_neighbouring_keys_become_ranges() -> None:
    assert as_ranges("abcdefg", {"a", "b", "d", "g"}) == [("a", "b"), ("d", "d"), ("g", "g")]
    assert as_ranges("abc", set()) == []


numbers = dg.asset(
    name="numbers",
    partitions_def=DAYS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    io_manager_key="table_io",
    metadata={"partition_expr": "at"},
)


@numbers
def source(context: dg.AssetExecutionContext) -> pd.DataFrame:
    """One number a day, from pandas."""
    ats = [pd.Timestamp(key, tz="UTC") for key in context.partition_keys]
    return pd.DataFrame({"at": ats, "n": range(len(ats))})


def running(name: str, **options: Any) -> Callable[[Callable[..., Any]], FeatureGroup]:
    return feature_group(
        name=name,
        entity=Entity("all", {"id": "int64"}),
        features=[Feature("total", "int64")],
        partitions=DAYS,
        **options,
    )


@pytest.mark.slow
def test_a_group_that_reads_its_own_past_runs_key_by_key(
    tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    @running(
        "running_total",
        per_partition=True,
        ins={"running_total": dg.AssetIn(
            partition_mapping=dg.TimeWindowPartitionMapping(start_offset=-1, end_offset=-1))},
    )  # fmt: skip
    def total(running_total: pl.DataFrame, window: Window) -> pl.DataFrame:
        before = running_total["total"].max() if running_total.height else 0
        return pl.DataFrame({
            "id": [1], "event_timestamp": [window.start], "total": [int(str(before)) + 1],
        })  # fmt: skip

    shop = Shop(tmp_path, instance, [total], [source])
    for number in range(3):
        assert shop.run("running_total", partition=day(number)).success
    with shop.store() as store:
        table = store.read_features("running_total").to_polars()
    assert table["total"].to_list() == [1, 2, 3]


@pytest.mark.slow
def test_a_group_may_be_called_key_by_key_within_one_run(
    tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    windows = []

    @running("by_key", per_partition=True, ins={"numbers": dg.AssetIn()})
    def by_key(numbers: pl.DataFrame, window: Window) -> pl.DataFrame:
        windows.append(window.keys)
        rows = numbers.filter(pl.col("at") == window.start)
        return rows.select(id=pl.lit(1), event_timestamp="at", total="n")

    shop = Shop(tmp_path, instance, [by_key], [source])
    result = shop.run("numbers", "by_key", keys=(day(0), day(2)))
    assert result.success, failure(result)
    assert windows == [(day(0),), (day(1),), (day(2),)]
    assert shop.committed("by_key") == {day(0), day(1), day(2)}
    assert set(shop.quality("by_key").values()) == {"SUCCEEDED"}


@pytest.mark.parametrize("kind", some([pl.DataFrame, pl.LazyFrame, pd.DataFrame, pa.Table]))
def test_an_annotation_decides_what_a_function_gets_and_it_may_return_any(
    tmp_path: Path, instance: dg.DagsterInstance, kind: Any
) -> None:
    seen = []

    def body(numbers: Any) -> Any:
        seen.append(type(numbers))
        frame = numbers.collect() if isinstance(numbers, pl.LazyFrame) else pl.DataFrame(numbers)
        result = frame.select(id=pl.lit(1), event_timestamp="at", total="n")
        if kind is pd.DataFrame:
            return result.to_pandas()
        return result.lazy() if kind is pl.LazyFrame else result.to_arrow()

    body.__annotations__ = {"numbers": kind}
    group = running("typed", ins={"numbers": dg.AssetIn()})(body)
    shop = Shop(tmp_path, instance, [group], [source])
    result = shop.run("numbers", "typed", keys=(day(0), day(2)))
    # An int32 literal fits the declared int64; pandas nanoseconds become microseconds.
    assert result.success, failure(result)
    assert seen == [kind]


def test_look_back_loads_more_than_the_run_produces(
    tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    @running("summed", ins={"numbers": dg.AssetIn(
        partition_mapping=dg.TimeWindowPartitionMapping(start_offset=-2))})  # fmt: skip
    def summed(numbers: pl.DataFrame, window: Window) -> pl.DataFrame:
        return numbers.select(id=pl.lit(1), event_timestamp="at", total=pl.lit(numbers.height))

    shop = Shop(tmp_path, instance, [summed], [source])
    shop.run("numbers", keys=(day(0), day(9)))
    assert shop.run("summed", keys=(day(5), day(6))).success
    with shop.store() as store:
        table = store.read_features("summed").to_polars()
    assert table["total"].to_list() == [4, 4]
    event = instance.get_latest_materialization_event(dg.AssetKey(["summed"]))
    assert event is not None
    assert event.asset_materialization is not None
    assert event.asset_materialization.metadata["rows_before_window"].value == 2


def test_a_source_that_cannot_be_cut_or_changes_its_columns_is_refused(
    tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    wide = False

    @dg.asset(
        partitions_def=DAYS,
        backfill_policy=dg.BackfillPolicy.single_run(),
        io_manager_key="table_io",
    )
    def loose() -> pl.DataFrame:
        return pl.DataFrame({"n": ["text"] if wide else [1]})

    shop = Shop(tmp_path, instance, [], [loose])
    assert "Say which column dates its rows" in failure(shop.run("loose", keys=(day(0), day(1))))
    assert shop.run("loose", partition=day(0)).success
    wide = True
    told = failure(shop.run("loose", partition=day(1)))
    assert "Column 'n' of 'loose' is declared int64, the data has" in told

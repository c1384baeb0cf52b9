"""Each row gets its partition, from a run's windows, a column of a source, or the calendar."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest

from feature_store_assets.declaration.partitions import Partitions
from feature_store_assets.errors import OutsideCalendar, OutsideWindow, SchemaMismatch
from feature_store_assets.ingestion.partition_assignment import (
    Slots,
    TimeSlots,
    by_calendar,
    by_column,
)
from feature_store_assets_tests.stores import pushed

MONTHS = dg.MonthlyPartitionsDefinition("2024-01-01")
KEYS = ["2024-01-01", "2024-02-01"]
SLOTS = TimeSlots.of(MONTHS, KEYS)
JANUARY = datetime(2024, 1, 31, 23, 59, 59, tzinfo=UTC)


def source(values: list[Any], kind: pa.DataType) -> pa.Table:
    return pa.table({"at": pa.array(values, kind)})


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_times_of_every_unit_date_the_rows_of_a_source(unit: Any) -> None:
    rows = source([JANUARY, JANUARY + timedelta(seconds=1)], pa.timestamp(unit, "UTC"))
    assert by_column(rows, "at", SLOTS, owner="raw")["partition"].to_pylist() == KEYS


def test_days_date_the_rows_of_a_source_too() -> None:
    rows = source([date(2024, 2, 1)], pa.date32())
    assert by_column(rows, "at", SLOTS, owner="raw")["partition"].to_pylist() == KEYS[1:]


REFUSED: dict[str, tuple[pa.Table, type[Exception], str]] = {
    "seconds far off": (source([2**60], pa.timestamp("s", "UTC")), OutsideCalendar, "1 to 9999"),
    "milliseconds far off": (
        source([2**60], pa.timestamp("ms", "UTC")),
        OutsideCalendar,
        "1 to 9999",
    ),
    "nanoseconds": (source([1], pa.timestamp("ns", "UTC")), SchemaMismatch, "whole microseconds"),
    "words": (source(["soon"], pa.string()), SchemaMismatch, "timestamp with a zone"),
    "numbers": (source([1.5], pa.float64()), SchemaMismatch, "'at' .*of 'raw'"),
    "no column": (pa.table({"x": [1]}), SchemaMismatch, "'at' .*of 'raw' is missing"),
    "no time": (source([None, JANUARY], pa.timestamp("us", "UTC")), OutsideWindow, r"1 row\(s\)"),
    "another month": (
        source([JANUARY + timedelta(days=90)], pa.timestamp("us", "UTC")),
        OutsideWindow,
        r"1 row\(s\) for 'raw' lie outside the 2 partition\(s\)",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_dates_no_row_is_refused_with_the_columns_name(case: str) -> None:
    rows, kind, message = REFUSED[case]
    with pytest.raises(kind, match=message):
        by_column(rows, "at", SLOTS, owner="raw")


def test_a_push_and_a_run_by_month_agree() -> None:
    times = [JANUARY + timedelta(microseconds=step) for step in (0, 999_999, 1_000_000)]
    rows = pa.table({"event_timestamp": pa.array(times, pa.timestamp("us", "UTC"))})
    group = pushed("g", partitions=Partitions.of(MONTHS), online=False)
    run, _ = Slots.of(group, MONTHS, KEYS).assign(rows)
    push = by_calendar(rows, pushed("g"))
    assert [f"{key}-01" for key in push["partition"].to_pylist()] == run["partition"].to_pylist()
    year = pushed("g", partitions=Partitions.calendar(["year"]))
    assert by_calendar(rows, year)["partition"].to_pylist() == ["2024"] * 3

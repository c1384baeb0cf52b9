"""Only casts that lose nothing, and only rows that can be told apart."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa
import pytest

from feature_store_assets.declaration.types import arrow_type
from feature_store_assets.errors import (
    DataError,
    DuplicateRows,
    NaiveTimestamps,
    NullKeys,
    SchemaMismatch,
)
from feature_store_assets.offline.schema import TableSchema, conform, lossless
from feature_store_assets_tests.offline.tables import DAY, SCHEMA

NOW = datetime(2025, 1, 1, tzinfo=UTC)


def cast(column: pa.Array[Any], wanted: str) -> list[Any]:
    chunked = pa.chunked_array([column])
    return lossless(chunked, arrow_type(wanted), owner="g", name="c", timezone=None).to_pylist()


@pytest.mark.parametrize(
    ("column", "wanted", "values"),
    [
        (pa.array([1, None], pa.int8()), "int64", [1, None]),
        (pa.array([7], pa.uint32()), "int64", [7]),
        (pa.array([1.5], pa.float32()), "float64", [1.5]),
        (pa.array([3], pa.int32()), "float64", [3.0]),
        (pa.array(["a"], pa.large_string()), "string", ["a"]),
        (pa.array(["a"], pa.string_view()), "string", ["a"]),
        (pa.array(["a", "a"]).dictionary_encode(), "string", ["a", "a"]),
        (pa.array([None, None], pa.null()), "bool", [None, None]),
        (pa.array([date(2024, 1, 1)]), "date32", [date(2024, 1, 1)]),
        (pa.array([DAY], pa.timestamp("ns", "Europe/Paris")), "timestamp[us, UTC]", [DAY]),
        (pa.array([[1.0]], pa.large_list(pa.float32())), "list<float64>", [[1.0]]),
        (pa.array([[1.0, 2.0]], pa.list_(pa.float32(), 2)), "list<float64>", [[1.0, 2.0]]),
    ],
)
def test_lossless_casts_are_made(column: pa.Array[Any], wanted: str, values: list[Any]) -> None:
    assert cast(column, wanted) == values


@pytest.mark.parametrize(
    ("column", "wanted"),
    [
        (pa.array(["7"]), "int64"),
        (pa.array([7]), "string"),
        (pa.array([2**62]), "float64"),
        (pa.array([1.0]), "int64"),
        (pa.array([1], pa.uint64()), "int64"),
        (pa.array([True]), "int64"),
        (pa.array([DAY], pa.timestamp("us", "UTC")), "date32"),
        (pa.array([1], pa.timestamp("ns", "UTC")), "timestamp[us, UTC]"),
        (pa.array([[1]]), "list<float64>"),
    ],
)
def test_casts_that_could_lose_something_are_refused(column: pa.Array[Any], wanted: str) -> None:
    with pytest.raises(SchemaMismatch, match=r"Column 'c' of 'g' is declared .*, the data has"):
        cast(column, wanted)


def rows(*dicts: dict[str, Any], **types: pa.DataType) -> pa.Table:
    table = pa.Table.from_pylist(list(dicts))
    for name, kind in types.items():
        table = table.set_column(table.column_names.index(name), name, table[name].cast(kind))
    return table


GOOD = {"customer": "secret-7", "event_timestamp": DAY, "x": 1}


def refused(data: pa.Table, schema: TableSchema = SCHEMA) -> str:
    with pytest.raises(DataError) as caught:
        conform(data, schema, written=NOW)
    assert "secret-7" not in str(caught.value)
    return f"{type(caught.value).__name__}: {caught.value}"


def test_rows_get_the_write_time_as_created_timestamp() -> None:
    table = conform(rows(GOOD), SCHEMA, written=NOW)
    assert table.to_pylist() == [{**GOOD, "created_timestamp": NOW}]
    assert table.column_names == ["customer", "event_timestamp", "created_timestamp", "x"]


def test_a_missing_column_is_named() -> None:
    message = refused(rows({"customer": "a", "event_timestamp": DAY}))
    assert message.startswith("SchemaMismatch: Column 'x' (int64) of 'spending' is missing")


def test_an_unknown_column_is_named_with_the_declared_ones() -> None:
    message = refused(rows({**GOOD, "y": 1}))
    assert "declares no column 'y' (int64). Declared are: created_timestamp, customer" in message


def test_null_keys_are_counted_and_shown_masked() -> None:
    message = refused(rows({**GOOD, "customer": None}, GOOD))
    assert message.startswith("NullKeys: 1 row(s) for 'spending' have no 'customer'")


def test_a_missing_event_timestamp_is_refused() -> None:
    with pytest.raises(NullKeys, match="no 'event_timestamp'"):
        conform(rows({**GOOD, "event_timestamp": None}, GOOD), SCHEMA, written=NOW)


def test_repeated_rows_are_counted_and_shown_masked() -> None:
    message = refused(rows(GOOD, {**GOOD, "x": 2}))
    assert message.startswith("DuplicateRows: 1 row(s) for 'spending' repeat another row's")
    assert "#" in message


def test_two_revisions_of_one_instant_are_no_duplicates() -> None:
    schema = replace(SCHEMA, created="recorded")
    both = rows({**GOOD, "recorded": DAY}, {**GOOD, "recorded": NOW})
    assert conform(both, schema, written=NOW)["created_timestamp"].to_pylist() == [DAY, NOW]
    with pytest.raises(DuplicateRows):
        conform(rows({**GOOD, "recorded": DAY}, {**GOOD, "recorded": DAY}), schema, written=NOW)


def test_naive_timestamps_need_a_declared_zone() -> None:
    naive = rows({**GOOD, "event_timestamp": datetime(2024, 7, 1, 12)})  # noqa: DTZ001
    with pytest.raises(NaiveTimestamps, match="declare `timezone=`"):
        conform(naive, SCHEMA, written=NOW)
    berlin = conform(naive, replace(SCHEMA, timezone="Europe/Berlin"), written=NOW)
    assert berlin["event_timestamp"].to_pylist() == [datetime(2024, 7, 1, 10, tzinfo=UTC)]

"""Frames in and out: whatever a caller works with."""

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_store_assets.errors import DataError
from feature_store_assets.offline.frames import FeatureTable, arrow_table

T = datetime(2024, 1, 1, tzinfo=UTC)
ROWS: list[dict[str, Any]] = [
    {"id": "a", "t": T, "n": 1, "x": 0.5, "ok": True, "day": date(2024, 1, 1), "v": [1.0, 2.0]},
    {"id": "b", "t": T, "n": None, "x": None, "ok": None, "day": None, "v": None},
]
TABLE = pa.table(
    {
        "id": ["a", "b"],
        "t": pa.array([T, T], pa.timestamp("us", "UTC")),
        "n": [1, None],
        "x": [0.5, None],
        "ok": [True, None],
        "day": pa.array([date(2024, 1, 1), None]),
        "v": [[1.0, 2.0], None],
    }
)
POLARS = pl.DataFrame(ROWS)


@pytest.mark.parametrize(
    "frame",
    [TABLE, FeatureTable(TABLE), POLARS, POLARS.lazy(), ROWS, TABLE.to_reader()],
    ids=["arrow", "FeatureTable", "polars", "lazy", "dicts", "a stream"],
)
def test_any_frame_becomes_arrow_with_its_rows_and_columns(frame: object) -> None:
    assert arrow_table(frame).to_pylist() == ROWS


def test_dicts_take_the_plain_arrow_types() -> None:
    table = arrow_table([{**row, "v": None} for row in ROWS])
    assert table.schema.types[:-1] == TABLE.schema.types[:-1]


def test_a_pandas_frame_leaves_its_index_behind() -> None:
    frame = pd.DataFrame({"n": [1, 2]}, index=pd.Index(["x", "y"], name="id"))
    assert arrow_table(frame).to_pylist() == [{"n": 1}, {"n": 2}]


def test_a_column_that_only_later_rows_have_is_kept() -> None:
    assert arrow_table([{"a": 1}, {"b": 2}]).to_pylist() == [
        {"a": 1, "b": None},
        {"a": None, "b": 2},
    ]


def test_no_rows_are_a_table_without_columns() -> None:
    assert arrow_table([]).shape == (0, 0)


@pytest.mark.parametrize("values", [[0, 1.5, None], [1.5, 0], [None, -1, 2.0]])
def test_integers_among_floats_are_floats(values: list[float | None]) -> None:
    column = arrow_table([{"x": value} for value in values])["x"]
    assert column.type == pa.float64()
    assert column.to_pylist() == values


def test_zones_are_kept_as_the_instants_they_mean() -> None:
    east = timezone(timedelta(hours=2))
    column = arrow_table([{"t": T}, {"t": T.astimezone(east)}])["t"]
    assert column.to_pylist() == [T, T]
    assert column.type == pa.timestamp("us", "UTC")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"x": 1}, {"x": "hunter2"}], r"'x' has values of different types \(int, str\)"),
        ([{"x": "hunter2"}, {"x": 1}], r"'x' has values of different types \(int, str\)"),
        ([{"x": 1}, {"x": True}], r"'x' has values of different types \(bool, int\)"),
        ([{"t": T}, {"t": T.replace(tzinfo=None)}], "'t' has values with and without a time zone"),
        (
            [{"t": T}, {"t": date(2024, 1, 1)}],
            r"'t' has values of different types \(date, datetime",
        ),
        ([("hunter2", 1)], "A list of rows is a list of dicts"),
        ("hunter2", "A str is no dataframe. Give a pandas, Polars or Arrow table"),
        (None, "A NoneType is no dataframe"),
        (pd.DataFrame({"x": [1, "hunter2"]}), "mixes types in \\['x'\\]"),
        (pd.DataFrame({"x": [Decimal(1), "hunter2"]}), "mixes types in \\['x'\\]"),
    ],
)
def test_what_is_no_frame_is_refused_without_showing_its_values(rows: Any, message: str) -> None:
    with pytest.raises(DataError, match=message) as error:
        arrow_table(rows)
    assert "hunter2" not in str(error.value)


SCALARS = (
    st.lists(st.none() | st.integers(-(2**63), 2**63 - 1))
    | st.lists(st.none() | st.floats(allow_nan=False))
    | st.lists(st.none() | st.text())
    | st.lists(st.none() | st.booleans())
    | st.lists(st.none() | st.dates())
    | st.lists(st.none() | st.datetimes(timezones=st.just(UTC)))
    | st.lists(st.none() | st.lists(st.floats(allow_nan=False), min_size=1))
)


@given(SCALARS)
def test_values_of_dicts_come_through_unchanged(values: list[Any]) -> None:
    table = arrow_table([{"row": number, "x": value} for number, value in enumerate(values)])
    if values:
        assert table["x"].to_pylist() == values


# Out


def test_a_table_knows_its_size_and_columns_and_shows_no_values() -> None:
    table = FeatureTable(TABLE)
    assert len(table) == 2
    assert table.columns == ["id", "t", "n", "x", "ok", "day", "v"]
    assert repr(table).startswith("FeatureTable(2 rows; id: string, t: timestamp[us, tz=UTC], n:")
    assert "0.5" not in repr(table)


def test_it_is_handed_out_as_arrow_polars_and_pandas() -> None:
    table = FeatureTable(TABLE)
    assert table.to_arrow() is TABLE
    assert table.to_polars().equals(POLARS)
    frame = table.to_pandas()
    assert list(frame.columns) == table.columns
    assert frame["t"].dtype == "datetime64[us, UTC]"


def test_integers_with_holes_stay_integers_in_pandas() -> None:
    frame = FeatureTable(TABLE).to_pandas()
    assert (frame["n"].dtype, frame["ok"].dtype) == (pd.Int64Dtype(), pd.BooleanDtype())
    assert frame["n"].tolist() == [1, pd.NA]
    big = 2**53 + 1
    exact = FeatureTable(pa.table({"n": [big, None]})).to_pandas()
    assert exact["n"][0] == big
    assert FeatureTable(pa.table({"n": [1, 2]})).to_pandas()["n"].dtype == "int64"


def test_other_libraries_take_it_as_it_is() -> None:
    table = FeatureTable(TABLE)
    assert pl.DataFrame(table).equals(POLARS)
    assert pa.table(table).equals(TABLE)

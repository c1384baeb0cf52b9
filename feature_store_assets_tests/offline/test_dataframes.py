"""Frames in and out: whatever a caller works with."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, strategies as st

from feature_store_assets.errors import DataError
from feature_store_assets.offline.dataframes import (
    FeatureTable,
    ParquetTable,
    arrow_table,
    write_parquet,
)

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
        ([{"x\0": 1}], "A column's name holds a NUL character"),
        ([{"x": {"\0": "hunter2"}}], "Columns \\['x'\\] hold objects"),
        ([{"x": 1 << 64}], "Columns \\['x'\\] hold integers of more than 64 bits"),
        ([{"x": [-(1 << 70)]}], "Columns \\['x'\\] hold integers of more than 64 bits"),
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
    | st.lists(st.none() | st.lists(st.none() | st.floats(allow_nan=False), min_size=1))
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


# In files


def parquet(path: Path, table: pa.Table, row_group_size: int = 1 << 20) -> Path:
    pq.write_table(table, path, row_group_size=row_group_size)
    return path


def test_a_file_and_a_folder_of_files_are_read_like_the_table_in_them(tmp_path: Path) -> None:
    alone = ParquetTable(parquet(tmp_path / "all.parquet", TABLE))
    folder = tmp_path / "parts" / "of" / "one"
    folder.mkdir(parents=True)
    # In the order of their names, not of their making.
    parquet(folder / "2.parquet", TABLE.slice(1))
    parquet(folder / "1.parquet", TABLE.slice(0, 1))
    (folder / "README").write_text("no table")
    for held in (alone, ParquetTable(tmp_path / "parts")):
        assert (len(held), held.columns, held.schema) == (2, TABLE.column_names, alone.schema)
        assert held.to_arrow().to_pylist() == ROWS
        assert held.to_polars().equals(POLARS)
        assert held.lazy().collect().equals(POLARS)
        assert held.select(["x", "id"]).to_pylist() == TABLE.select(["x", "id"]).to_pylist()
        assert held.to_pandas()["n"].tolist() == [1, pd.NA]
        assert pa.table(held).equals(held.to_arrow())
        assert arrow_table(held).to_pylist() == ROWS
        assert repr(held).startswith("ParquetTable(2 rows; id: string, t: timestamp[us, tz=UTC]")


def test_only_some_columns_are_read_in_the_order_asked_for(tmp_path: Path) -> None:
    held = ParquetTable(parquet(tmp_path / "t.parquet", TABLE), columns=["x", "id"])
    wanted = TABLE.select(["x", "id"])
    assert held.columns == ["x", "id"]
    for table in (held.to_arrow(), held.slice(0, 9), held.lazy().collect().to_arrow()):
        assert table.to_pylist() == wanted.to_pylist()
    assert held.select(["id"]).to_pylist() == wanted.select(["id"]).to_pylist()


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> ParquetTable:
    """The numbers below 50 in files of several row groups, two of them without a row."""
    folder = tmp_path_factory.mktemp("many")
    table = numbers(50)
    for name, start, rows, group in [
        ("a", 0, 20, 7), ("b", 20, 0, 7), ("c", 20, 1, 1), ("d", 21, 29, 10), ("e", 50, 0, 1)
    ]:  # fmt: skip
        parquet(folder / f"{name}.parquet", table.slice(start, rows), group)
    return ParquetTable(folder)


def numbers(count: int) -> pa.Table:
    return pa.table({"n": range(count), "s": [str(number) for number in range(count)]})


@given(start=st.integers(0, 60), rows=st.integers(0, 60))
@example(start=7, rows=0)
@example(start=20, rows=1)
@example(start=14, rows=7)
def test_a_slice_is_the_slice_of_the_whole(many: ParquetTable, start: int, rows: int) -> None:
    assert many.slice(start, rows).equals(numbers(50).slice(start, rows))


def test_rows_of_no_file_are_a_table_with_the_columns(tmp_path: Path) -> None:
    held = ParquetTable(parquet(tmp_path / "t.parquet", TABLE.slice(0, 0)))
    assert len(held) == 0
    for table in (held.to_arrow(), held.slice(0, 5), held.lazy().collect().to_arrow()):
        assert (table.num_rows, table.column_names) == (0, TABLE.column_names)


def test_categories_and_foreign_metadata_are_read_across_files(tmp_path: Path) -> None:
    frames = {"1": ["a", "b"], "2": ["z"]}
    for name, values in frames.items():
        frame = pd.DataFrame({"c": pd.Categorical(values), "n": range(len(values))})
        frame.to_parquet(tmp_path / f"{name}.parquet")
    table = ParquetTable(tmp_path).slice(1, 5)
    assert table.select(["c", "n"]).to_pylist() == [{"c": "b", "n": 1}, {"c": "z", "n": 0}]
    assert table.schema.metadata is None


@pytest.mark.parametrize(
    "content", [b"", b"PAR1", b"a,b\n1,2\n", b"PAR1" + bytes(100) + b"PAR1"],
    ids=["empty", "cut off", "csv", "zeros"],
)  # fmt: skip
def test_what_is_no_parquet_is_a_clear_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "t.parquet").write_bytes(content)
    for path in (tmp_path / "t.parquet", tmp_path):
        with pytest.raises(DataError, match=r"cannot be read as Parquet"):
            ParquetTable(path)


def test_an_empty_folder_and_a_missing_file_are_a_clear_error(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing.parquet"):
        with pytest.raises(DataError, match="neither a Parquet file nor a folder of them"):
            ParquetTable(path)


@pytest.mark.parametrize(
    "other", [{"n": [1]}, {"s": ["a"], "n": [1]}, {"n": [1.5], "s": ["a"]}, {"n": [1], "t": ["a"]}]
)
def test_files_of_different_tables_are_refused(tmp_path: Path, other: dict[str, Any]) -> None:
    parquet(tmp_path / "1.parquet", numbers(3))
    parquet(tmp_path / "2.parquet", pa.table(other))
    with pytest.raises(DataError, match=r"not parts of one table: '2.parquet' has other columns"):
        ParquetTable(tmp_path)


def pieces(count: int, failing: bool = False) -> Iterator[pa.Table]:
    for number in range(count):
        yield numbers(10).slice(number, 1)
    if failing:
        raise ValueError("it broke midway")


def test_a_written_file_holds_the_pieces_one_after_the_other(tmp_path: Path) -> None:
    path = tmp_path / "new" / "t.parquet"
    held = write_parquet(path, pieces(3), compression="zstd")
    assert (held.path, len(held)) == (path, 3)
    assert held.to_arrow().equals(numbers(3))
    assert pq.read_metadata(path).num_row_groups == 3
    assert list(path.parent.iterdir()) == [path]


def test_a_write_that_fails_midway_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    for before in ([], [path]):
        for broken in (pieces(2, failing=True), pieces(0, failing=True)):
            with pytest.raises(ValueError, match="midway"):
                write_parquet(path, broken, compression="none")
            assert list(tmp_path.iterdir()) == before
        write_parquet(path, pieces(4), compression="none")
    assert ParquetTable(path).to_arrow().equals(numbers(4))


def test_a_piece_of_another_table_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    write_parquet(path, pieces(2), compression="snappy")
    odd = iter([numbers(1), pa.table({"n": ["x"], "s": ["x"]})])
    with pytest.raises(ValueError, match="schema"):
        write_parquet(path, odd, compression="snappy")
    assert list(tmp_path.iterdir()) == [path]
    assert len(ParquetTable(path)) == 2


def test_a_file_is_replaced_at_once_while_its_readers_go_on(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    old = write_parquet(path, pieces(2), compression="zstd").slice(0, 2)

    def watched() -> Iterator[pa.Table]:
        for piece in pieces(5):
            assert len(ParquetTable(path)) == 2
            yield piece

    assert len(write_parquet(path, watched(), compression="zstd")) == 5
    assert old.equals(numbers(2))


def test_a_folder_is_not_overwritten_with_a_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is a folder: name the file to write"):
        write_parquet(tmp_path, pieces(2), compression="zstd")
    assert list(tmp_path.iterdir()) == []


def test_fixed_offsets_are_the_same_instants_in_polars() -> None:
    moments = pa.array([datetime(2024, 1, 1, tzinfo=UTC), None], pa.timestamp("us", "+05:30"))
    frame = FeatureTable(pa.table({"t": moments})).to_polars()
    assert frame["t"].to_list() == [datetime(2024, 1, 1, tzinfo=UTC), None]
    assert frame["t"].dtype == pl.Datetime("us", "UTC")

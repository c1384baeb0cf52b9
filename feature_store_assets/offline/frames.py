"""Frames in and out: any dataframe becomes Arrow, a `FeatureTable` becomes any dataframe."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from feature_store_assets.errors import DataError

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl


def arrow_table(data: Any) -> pa.Table:
    """Return any dataframe as Arrow: pandas, Polars (lazy too), Arrow, a list of dicts."""
    if isinstance(data, FeatureTable):
        return data.to_arrow()
    if isinstance(data, pa.Table):
        return data
    if isinstance(data, list):
        return _from_rows(data)
    library = type(data).__module__.partition(".")[0]
    if library == "pandas":
        return _from_pandas(data)
    if library == "polars" and hasattr(data, "collect"):
        data = data.collect()
    if hasattr(data, "__arrow_c_stream__"):
        return pa.RecordBatchReader.from_stream(data).read_all()
    raise DataError(
        f"A {type(data).__name__} is no dataframe. Give a pandas, Polars or Arrow table, or a list "
        f"of dicts."
    )


def _from_pandas(frame: pd.DataFrame) -> pa.Table:
    try:
        return pa.Table.from_pandas(frame, preserve_index=False)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        # Arrow's message shows the value.
        mixed = [
            str(name)
            for name, kind in frame.dtypes.items()
            if kind.kind == "O" and len(set(frame[name].dropna().map(type))) > 1
        ]
        raise DataError(
            f"The frame mixes types in {mixed or 'an object column'}: make each column one type."
        ) from None


def _from_rows(rows: list[Any]) -> pa.Table:
    """Return dict rows as Arrow, by way of Polars: Arrow's own reading of values loads pandas."""
    import polars as pl

    if not all(isinstance(row, Mapping) for row in rows):
        raise DataError("A list of rows is a list of dicts, one per row.")
    names = dict.fromkeys(name for row in rows for name in row)
    columns = [_column(name, [row.get(name) for row in rows]) for name in names]
    table = pl.DataFrame(columns).to_arrow()
    plain = [pa.string() if kind == pa.large_string() else kind for kind in table.schema.types]
    return table.cast(pa.schema(list(zip(table.column_names, plain, strict=True))))


def _column(name: Any, values: list[Any]) -> pl.Series:
    import polars as pl

    kinds = {type(value) for value in values if value is not None}
    zones = {value.tzinfo is None for value in values if isinstance(value, datetime)}
    if kinds == {int, float}:
        values = [None if value is None else float(value) for value in values]
    # Polars would take a naive timestamp among aware ones for UTC, and True for 1.
    if len(zones) == 1 or (not zones and (kinds == {bool} or bool not in kinds)):
        try:
            return pl.Series(str(name), values, strict=True)
        except (TypeError, OverflowError, pl.exceptions.PolarsError):
            pass  # their messages show the values
    zoned = "with and without a time zone" if len(zones) > 1 else "of different types"
    listed = ", ".join(sorted(kind.__name__ for kind in kinds))
    raise DataError(f"Column '{name}' has values {zoned} ({listed}).")


class FeatureTable:
    """Rows of features, held as Arrow and handed out as what the caller works with.

    It also speaks the Arrow PyCapsule protocol: `pl.DataFrame(table)`, `pa.table(table)` and
    DuckDB take it as it is.
    """

    __slots__ = ("_table",)

    def __init__(self, table: pa.Table) -> None:
        self._table = table

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def __repr__(self) -> str:
        columns = ", ".join(f"{field.name}: {field.type}" for field in self._table.schema)
        return f"FeatureTable({len(self):,} rows; {columns})"

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        table: Any = self._table  # the capsule method has no types
        stream: object = table.__arrow_c_stream__(requested_schema)
        return stream

    @property
    def columns(self) -> list[str]:
        """The columns' names, in order."""
        return list(self._table.column_names)

    def to_arrow(self) -> pa.Table:
        return self._table

    def to_polars(self) -> pl.DataFrame:
        import polars as pl

        frame = pl.from_arrow(self._table)
        assert isinstance(frame, pl.DataFrame)
        return frame

    def to_pandas(self) -> pd.DataFrame:
        """Return a pandas frame; integers with nulls stay integers (`Int64`)."""
        import pandas as pd

        nullable = {pa.int64(): pd.Int64Dtype(), pa.bool_(): pd.BooleanDtype()}
        holes = {
            name: kind
            for name, kind in zip(self.columns, self._table.schema.types, strict=True)
            if kind in nullable and self._table[name].null_count
        }
        frame = self._table.drop_columns(list(holes)).to_pandas()
        for name, kind in holes.items():
            frame[name] = self._table[name].to_pandas(types_mapper={kind: nullable[kind]}.get)
        return frame[self.columns]

"""Frames in and out: any dataframe becomes Arrow, a `FeatureTable` becomes any dataframe."""

from __future__ import annotations

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
        return pa.Table.from_pylist(data)
    library = type(data).__module__.partition(".")[0]
    if library == "pandas":
        return pa.Table.from_pandas(data, preserve_index=False)
    if library == "polars" and hasattr(data, "collect"):
        data = data.collect()
    if hasattr(data, "__arrow_c_stream__"):
        return pa.RecordBatchReader.from_stream(data).read_all()
    raise DataError(
        f"A {type(data).__name__} is no dataframe. Give a pandas, Polars or Arrow table, or a list "
        f"of dicts."
    )


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

"""Frames in and out: any dataframe becomes Arrow, a `FeatureTable` becomes any dataframe."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from feature_store_assets.errors import DataError
from feature_store_assets.offline.calendar_check import shown
from feature_store_assets.storage import Location, location

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    import pyarrow.parquet as pq


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
    if library == "polars" and hasattr(data, "to_arrow"):
        # Not through the capsule: pyarrow can do little with the string views in it.
        table: pa.Table = data.to_arrow()
        return table
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
    if any("\0" in str(name) for name in names):
        raise DataError("A column's name holds a NUL character.")
    columns = [_column(name, [row.get(name) for row in rows]) for name in names]
    for kind, what in _NOT_IN_ARROW.items():
        if unfit := [each.name for each in columns if kind in str(each.dtype)]:
            raise DataError(
                f"Columns {unfit} hold {what}. Make them text, or columns of their own."
            )
    return plain_strings(pl.DataFrame(columns).to_arrow())


# Polars types that it cannot hand on, or fails at by a panic.
_NOT_IN_ARROW = {"Int128": "integers of more than 64 bits", "Struct": "objects"}


def plain_strings(table: pa.Table) -> pa.Table:
    """Return strings as Arrow's common type, not the large ones that Polars hands out."""
    # One by one: a cast of the whole table loses items of lists that hold nulls only.
    for at, field in enumerate(table.schema):
        if field.type == pa.large_string():
            table = table.set_column(at, field.name, table[at].cast(pa.string()))
    return table


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
    firsts: dict[str, int] = {}
    for row, value in enumerate(values):
        if value is not None:
            firsts.setdefault(type(value).__name__, row)
    where = ", ".join(f"{kind} from row {row} on" for kind, row in firsts.items())
    raise DataError(f"Column '{name}' has values {zoned} ({listed}): {where}. Make them one type.")


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
        columns = ", ".join(f"{field.name}: {field.type}" for field in self.schema)
        return f"{type(self).__name__}({len(self):,} rows; {columns})"

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        table: Any = self.to_arrow()  # the capsule method has no types
        stream: object = table.__arrow_c_stream__(requested_schema)
        return stream

    @property
    def schema(self) -> pa.Schema:
        """The columns' names and Arrow types, in order."""
        return self._table.schema

    @property
    def columns(self) -> list[str]:
        """The columns' names, in order."""
        return list(self.schema.names)

    def to_arrow(self) -> pa.Table:
        return self._table

    def to_polars(self) -> pl.DataFrame:
        """Return a Polars frame.

        Timestamps and dates outside the years 1 to 9999 become the nearest ones within, for Polars
        cannot hand others to Python. `to_arrow` gives them as they are stored.
        """
        return polars_frame(shown(self.to_arrow()))

    def to_pandas(self) -> pd.DataFrame:
        """Return a pandas frame; integers with nulls stay integers (`Int64`).

        Timestamps and dates outside the years 1 to 9999 become the nearest ones within.
        """
        import pandas as pd

        table = shown(self.to_arrow())
        nullable = {pa.int64(): pd.Int64Dtype(), pa.bool_(): pd.BooleanDtype()}
        holes = {
            name: kind
            for name, kind in zip(self.columns, table.schema.types, strict=True)
            if kind in nullable and table[name].null_count
        }
        frame = table.drop_columns(list(holes)).to_pandas()
        for name, kind in holes.items():
            frame[name] = table[name].to_pandas(types_mapper={kind: nullable[kind]}.get)
        return frame[self.columns]


def polars_frame(table: pa.Table) -> pl.DataFrame:
    """Return a table as a Polars frame, each value as it is."""
    import polars as pl

    frame = pl.from_arrow(_without_offsets(table))
    assert isinstance(frame, pl.DataFrame)
    return frame


def _without_offsets(table: pa.Table) -> pa.Table:
    """Return timestamps of fixed offsets as the same instants in UTC: Polars has no `+05:30`."""
    fields = [
        field.with_type(pa.timestamp(field.type.unit, "UTC"))
        if pa.types.is_timestamp(field.type) and (field.type.tz or "")[:1] in {"+", "-"}
        else field
        for field in table.schema
    ]
    return table.cast(pa.schema(fields))


class ParquetTable(FeatureTable):
    """Rows in Parquet files, read when asked for: what does not fit into memory stays there.

    Parameters
    ----------
    path
        A file, or a folder of `.parquet` files, taken in the order of their names.
    columns
        Only these; all by default.
    within
        Where the path is that of a file in a location.
    """

    __slots__ = ("_rows", "_schema", "_within", "files", "path")

    def __init__(
        self,
        path: Path,
        columns: Sequence[str] | None = None,
        *,
        within: Location | None = None,
    ) -> None:
        if within is not None and within.local is not None:
            path, within = within.local / path, None
        self.path = path
        self._within = within
        found = within is not None or path.is_file()
        self.files = [path] if found else sorted(path.glob("**/*.parquet"))
        if not self.files:
            raise DataError(f"'{path}' is neither a Parquet file nor a folder of them.")
        try:
            footers = [self._opened(file).metadata for file in self.files]
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"'{path}' cannot be read as Parquet: {error}") from None
        self._rows = [footer.num_rows for footer in footers]
        schemas = [footer.schema.to_arrow_schema().remove_metadata() for footer in footers]
        stored = schemas[0]
        for file, other in zip(self.files, schemas, strict=True):
            if other != stored:
                raise DataError(
                    f"The files of '{path}' are not parts of one table: '{file.name}' has other "
                    f"columns than '{self.files[0].name}', or in another order."
                )
        self._schema = (
            stored if columns is None else pa.schema([stored.field(name) for name in columns])
        )

    def __len__(self) -> int:
        return sum(self._rows)

    @property
    def schema(self) -> pa.Schema:
        return self._schema

    def to_arrow(self) -> pa.Table:
        return self.select(self.columns)

    def lazy(self) -> pl.LazyFrame:
        """Return a Polars scan of the files."""
        import polars as pl

        files = self.files if self._within is None else [f"{self._within.uri}/{self.path}"]
        scan = pl.scan_parquet(files, hive_partitioning=False, glob=False)
        return scan.select(self.columns)

    def select(self, columns: Sequence[str]) -> pa.Table:
        """Read some columns of all rows."""
        return pa.concat_tables(
            [self._opened(file).read(columns=list(columns)).select(columns) for file in self.files]
        ).replace_schema_metadata()

    def slice(self, start: int, rows: int) -> pa.Table:
        """Read so many rows from a position on, all columns."""
        parts, end, base = [pa.Table.from_batches([], self._schema)], start + rows, 0
        for path, held in zip(self.files, self._rows, strict=True):
            if max(base, start) < min(base + held, end):
                parts.append(self._part(path, max(0, start - base), min(held, end - base)))
            base += held
        return pa.concat_tables(parts)

    def _part(self, path: Path, start: int, stop: int) -> pa.Table:
        """Read rows of one file, only the row groups that hold them."""
        file = self._opened(path)
        sizes = [file.metadata.row_group(n).num_rows for n in range(file.num_row_groups)]
        ends = list(accumulate(sizes))
        chosen = [n for n, end in enumerate(ends) if end > start and end - sizes[n] < stop]
        table = file.read_row_groups(chosen, columns=self.columns).select(self.columns)
        table = table.replace_schema_metadata()
        skipped = ends[chosen[0]] - sizes[chosen[0]]
        return table.slice(start - skipped, stop - start)

    def _opened(self, path: Path) -> pq.ParquetFile:
        import pyarrow.parquet as pq

        if self._within is not None:
            return pq.ParquetFile(self._within.open(str(path)))
        return pq.ParquetFile(path, memory_map=True)


def write_parquet(path: Path, pieces: Iterator[pa.Table], *, compression: Any) -> ParquetTable:
    """Write pieces of one table, a row group each, to a file that appears once it is whole."""
    import pyarrow.parquet as pq

    if path.is_dir():
        raise DataError(f"'{path}' is a folder: name the file to write.")
    with location(path.parent).create(path.name) as file:
        first = next(pieces)
        with pq.ParquetWriter(file, first.schema, compression=compression) as writer:
            writer.write_table(first)
            for piece in pieces:
                writer.write_table(piece)
    return ParquetTable(path)

"""Reading the Parquet files of a table: scan them, number their rows, gather chosen ones.

Files of older versions may lack features that were added later; those read as null.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    import polars as pl

ROW = "__row"


@dataclass(frozen=True)
class DataFile:
    """A live file of a table version: absolute path, its partition, its rows and their times."""

    path: str
    partition: str
    rows: int
    bytes: int
    first: datetime | None
    last: datetime | None

    def overlaps(self, start: datetime | None, end: datetime | None) -> bool:
        """Tell whether the file can hold rows with start <= event time <= end."""
        before = end is not None and self.first is not None and self.first > end
        after = start is not None and self.last is not None and self.last < start
        return not (before or after)


def polars_type(name: str) -> pl.DataType:
    """Return the Polars type of a declared type name."""
    import polars as pl

    scalars: dict[str, pl.DataType] = {
        "int64": pl.Int64(),
        "float64": pl.Float64(),
        "bool": pl.Boolean(),
        "string": pl.String(),
        "date32": pl.Date(),
        "timestamp[us, UTC]": pl.Datetime("us", "UTC"),
    }
    if name.startswith("list<"):
        return pl.List(scalars[name[5:-1]])
    return scalars[name]


def scan(
    files: Sequence[DataFile], columns: Mapping[str, str], *, numbered: bool = False
) -> pl.LazyFrame:
    """Scan columns (name -> declared type) of files, in the files' order.

    `numbered` adds `__row`, the position of each row counted over all the files.
    """
    import polars as pl

    schema = {name: polars_type(kind) for name, kind in columns.items()}
    if not files:
        empty = pl.LazyFrame(schema=schema)
        return empty.with_row_index(ROW).cast({ROW: pl.Int64}) if numbered else empty
    frame = pl.scan_parquet(
        [file.path for file in files],
        schema=schema,
        missing_columns="insert",
        extra_columns="ignore",
        hive_partitioning=False,
        glob=False,
        row_index_name=ROW if numbered else None,
    )
    return frame.select(*([pl.col(ROW).cast(pl.Int64)] if numbered else []), *schema)


def partitions_of(files: Sequence[DataFile], rows: pl.Series) -> pl.Series:
    """Return the partition of each row, by its number over all the files."""
    import numpy as np
    import polars as pl

    ends = np.cumsum([file.rows for file in files])
    names = pl.Series("partition", [file.partition for file in files], dtype=pl.String)
    return names[np.searchsorted(ends, rows.to_numpy(), side="right")]


def gather(files: Sequence[DataFile], rows: pl.Series, columns: Mapping[str, str]) -> pl.DataFrame:
    """Read chosen rows, one file in memory at a time.

    Parameters
    ----------
    files
        In the order in which `scan(..., numbered=True)` counted their rows.
    rows
        Row numbers, ascending; a number may repeat.
    columns
        The columns to read, name -> declared type.

    Returns
    -------
    One row per number, in their order.
    """
    import polars as pl

    parts = []
    base = 0
    for file in files:
        first, last = rows.search_sorted(base), rows.search_sorted(base + file.rows)
        if last > first:
            # Each number repeats as often as the spine asked for it.
            local = (rows[first:last] - base).to_numpy()
            parts.append(scan([file], columns).collect()[local])
        base += file.rows
    if not parts:
        return scan([], columns).collect()
    return pl.concat(parts)

"""Reading the Parquet files of a table: scan them, number their rows, gather chosen ones.

Files of older versions may lack features that were added later; those read as null.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from feature_store_assets.declaration.instants import instant
from feature_store_assets.declaration.types import polars_type

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    import numpy.typing as npt
    import polars as pl

    from feature_store_assets.storage import Location

    Int64s = npt.NDArray[np.int64]

Done = TypeVar("Done")

ROW = "__row"
# A row group of the files that we write: cutting through one would read it twice.
_CUT = 1 << 20
# Opening a file costs as much as reading some thousand rows.
_TOGETHER = 1 << 17
# How many windows are read at a time.
_AHEAD = 2


@dataclass(frozen=True)
class DataFile:
    """A live file of a table version: its path within the table, its rows and their times.

    `table` is the local path or URL of the table.
    """

    path: str
    partition: str
    rows: int
    bytes: int
    first: datetime | None
    last: datetime | None
    table: str

    @property
    def uri(self) -> str:
        """The local path or URL that reads it."""
        return f"{self.table}/{self.path}"

    def overlaps(self, start: datetime | None, end: datetime | None) -> bool:
        """Tell whether the file can hold rows with start <= event time <= end."""
        before = end is not None and self.first is not None and self.first > end
        after = start is not None and self.last is not None and self.last < start
        return not (before or after)


def times_in(table: Location, path: str, column: str) -> tuple[datetime | None, datetime | None]:
    """Return the first and last instant of a column, by a file's own statistics.

    One that Python does not have becomes the nearest that it has; None where nothing is told.
    """
    import pyarrow.parquet as pq

    try:
        with table.open(path) as file:
            footer = pq.read_metadata(file)
    except FileNotFoundError:
        return None, None
    lows: list[Any] = []
    highs: list[Any] = []
    for number in range(footer.num_row_groups):
        group = footer.row_group(number)
        for at in range(group.num_columns):
            chunk = group.column(at)
            if chunk.path_in_schema == column and chunk.statistics is not None:
                lows.append(chunk.statistics.min_raw)
                highs.append(chunk.statistics.max_raw)
    if len(lows) != footer.num_row_groups or None in (*lows, *highs):
        return None, None
    return instant(min(lows)), instant(max(highs))


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
        [file.uri for file in files],
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
    import polars as pl

    ends = np.cumsum([file.rows for file in files])
    names = pl.Series("partition", [file.partition for file in files], dtype=pl.String)
    return names[np.searchsorted(ends, rows.to_numpy(), side="right")]


@dataclass(frozen=True)
class Window:
    """Some rows of a table: whole files, or a slice of one large file.

    `base` is what the row numbers of a scan of `files` lack to count over all files.
    """

    files: Sequence[DataFile]
    base: int
    rows: int
    offset: int | None = None

    @property
    def first(self) -> int:
        """The number of the window's first row, counted over all files."""
        return self.base + (self.offset or 0)

    def scan(self, columns: Mapping[str, str], *, numbered: bool = False) -> pl.LazyFrame:
        """Scan the window's rows; numbers count from `base` on."""
        frame = scan(self.files, columns, numbered=numbered)
        return frame if self.offset is None else frame.slice(self.offset, self.rows)


def portions(rows: Mapping[str, int], most: int = 1_000_000) -> Iterator[list[str]]:
    """Cut partitions into portions that fit into memory, in their order.

    Parameters
    ----------
    rows
        How many each has.
    most
        How many a portion may have; a larger partition is one by itself.
    """
    portion: list[str] = []
    held = 0
    for partition, count in rows.items():
        if portion and held + count > most:
            yield portion
            portion, held = [], 0
        portion.append(partition)
        held += count
    if portion:
        yield portion


def windows(files: Sequence[DataFile], rows: int, *, cut: int | None = None) -> list[Window]:
    """Cut a table's rows, in the files' order, into windows.

    Parameters
    ----------
    rows
        Small files share a window of at most so many rows.
    cut
        Files of more rows than this are cut; by default of more than `rows`.
    """
    cut = rows if cut is None else cut
    found: list[Window] = []
    batch: list[DataFile] = []
    base = held = 0
    for file in files:
        if batch and held + file.rows > rows:
            found.append(Window(batch, base, held))
            base, held, batch = base + held, 0, []
        if file.rows > cut:
            found += [
                Window([file], base, min(cut, file.rows - offset), offset)
                for offset in range(0, file.rows, cut)
            ]
            base += file.rows
        elif file.rows:
            batch.append(file)
            held += file.rows
    return [*found, Window(batch, base, held)] if batch else found


def gathered(
    files: Sequence[DataFile],
    rows: Int64s,
    columns: Mapping[str, str],
    *,
    cut: int = _CUT,
) -> Iterator[tuple[Window, pl.DataFrame]]:
    """Read chosen rows, a few files (or parts of large ones) in memory at a time.

    Parameters
    ----------
    files
        In the order in which `scan(..., numbered=True)` counted their rows.
    rows
        Row numbers, ascending; a number may repeat.
    columns
        The columns to read, name -> declared type.
    cut
        How many rows of a large file are read at once.

    Yields
    ------
    One row per number, in their order.
    """

    def read(window: Window) -> tuple[Window, pl.DataFrame]:
        return window, window.scan(columns).collect()[wanted(window) - window.first]

    def wanted(window: Window) -> Int64s:
        first, last = np.searchsorted(rows, [window.first, window.first + window.rows])
        return rows[first:last]

    parts = windows(files, min(cut, _TOGETHER), cut=cut)
    yield from ahead(read, [window for window in parts if len(wanted(window))])


def ahead(work: Callable[[Window], Done], parts: Iterable[Window]) -> Iterator[Done]:
    """Do work on windows in order, the next two while the caller is busy with one."""
    with ThreadPoolExecutor(_AHEAD) as pool:
        waiting: deque[Future[Done]] = deque()
        for part in parts:
            waiting.append(pool.submit(work, part))
            if len(waiting) > _AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def gather(files: Sequence[DataFile], rows: pl.Series, columns: Mapping[str, str]) -> pl.DataFrame:
    """Read chosen rows, ascending row numbers, as one frame."""
    import polars as pl

    parts = [frame for _, frame in gathered(files, rows.to_numpy(), columns)]
    return pl.concat(parts) if parts else scan([], columns).collect()

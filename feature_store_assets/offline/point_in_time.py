"""The point-in-time join: each row of a spine gets the features as they were known then.

For a spine row at time t the eligible rows of a group have equal keys (a null key equals
nothing), event time <= t and, with a ttl, t - event time <= ttl, both inclusive and exact to the
microsecond. The winner has the greatest (event time, created time); its whole row counts, nulls
included. With `known="event"` a row also counts only once it was recorded, created time <= t.

The plan: files are pruned by the log's time statistics; keys and times are read and the winners
found (`winners.py`); then just the asked features are gathered, file by file, and handed out in
the spine's order. `Join.table` holds the answer in memory, `Join.pieces` bounds it.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa

from feature_store_assets.declaration.instants import earlier
from feature_store_assets.errors import NaiveTimestamps, SpineError, suggestion
from feature_store_assets.offline.asof_match import NONE, TIME, History, winners
from feature_store_assets.offline.calendar_check import refuse_outside
from feature_store_assets.offline.dataframes import ParquetTable, polars_frame
from feature_store_assets.offline.ordered_take import Held, Spilled, width
from feature_store_assets.offline.scan import gathered
from feature_store_assets.offline.schema import CREATED, UTC_MICROSECONDS, typed_keys
from feature_store_assets.progress import progress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import polars as pl

    from feature_store_assets.offline.asof_match import Int64s
    from feature_store_assets.offline.ordered_take import Source
    from feature_store_assets.offline.scan import DataFile
    from feature_store_assets.offline.table import OfflineTable

Known = Literal["event", "latest"] | datetime
Spine = pa.Table | ParquetTable

# What pieces may take where no limit is set.
_BUDGET = 2 << 30
_PIECE_ROWS, _BATCH_ROWS = 1 << 20, 1 << 21
# Less at a time would cost more than it saves.
_LEAST_ROWS = 1 << 14
# Each is an open file while rows are spilled.
_MOST_PIECES = 256
# Bytes that finding winners takes: per row of the spine, and per stored row of a batch.
_PER_QUESTION, _PER_STORED = 120, 150


@dataclass(frozen=True)
class Lookup:
    """One group's part in a join.

    Parameters
    ----------
    table, version
        Where the rows are; version None means the newest.
    features
        Stored name -> column of the answer.
    ttl
        How old a row may be; None for any age.
    known
        `"latest"`: rows as they stand; `"event"`: as recorded by each spine row's time; an
        instant: as recorded by then.
    """

    table: OfflineTable
    features: dict[str, str]
    ttl: timedelta | None = None
    known: Known = "latest"
    version: int | None = None

    @property
    def types(self) -> dict[str, str]:
        """The asked features' declared types, by stored name."""
        declared = self.table.columns
        return {name: declared[name] for name in self.features}


@dataclass(frozen=True)
class _Resolved:
    """Where a group's answers are: row numbers, ascending, and which of them each spine row gets.

    `index` is a position in `rows`, or that of the null behind them.
    """

    lookup: Lookup
    files: list[DataFile]
    rows: Int64s
    index: Int64s


class Join:
    """Features of several groups, joined to a spine.

    Parameters
    ----------
    spine
        Entity keys, a timestamp with a zone, and anything else.
    lookups
        The groups' parts; their answer columns must not clash.
    timestamp
        The spine's time column.
    parallel
        How many groups are resolved side by side.
    memory
        Bytes that the work may take, roughly; None for as much as it needs.

    Raises
    ------
    SpineError, NaiveTimestamps
        A key or the timestamp is missing, has another type, or a column clashes.
    """

    def __init__(
        self,
        spine: Spine,
        lookups: Sequence[Lookup],
        *,
        timestamp: str,
        parallel: int = 1,
        memory: int | None = None,
    ) -> None:
        _check_columns(spine, lookups, timestamp)
        self._spine = spine
        self._lookups = lookups
        self._timestamp = timestamp
        self._budget = memory or _BUDGET
        needed = max(1, _PER_QUESTION * len(spine))
        self._parallel = max(1, min(parallel, len(lookups), self._budget // needed))
        self._row_bytes = sum(width(kind) for each in lookups for kind in each.types.values())

    @property
    def memory(self) -> int:
        """About how many bytes `table` takes beside the spine: gathered rows, then the answer."""
        return (2 * self._row_bytes + _PER_QUESTION) * len(self._spine)

    def table(self) -> pa.Table:
        """Return the spine's rows in their order with their own columns, then the features."""
        joined = self._spine.slice(0, len(self._spine))
        moments = spine_times(self._spine, self._timestamp)

        def answer(lookup: Lookup) -> pa.Table:
            resolved = self._resolve(lookup, moments, advance)
            held = Held(_gathered(resolved, self._cut(), advance), lookup.types)
            return held.take(resolved.index, lookup.features, last=True)

        with self._progress() as advance, ThreadPoolExecutor(self._parallel) as pool:
            for part in pool.map(answer, self._lookups):
                joined = _beside(joined, part)
        return joined

    def pieces(self, spill: Path | None) -> Iterator[pa.Table]:
        """Hand out the answer piece by piece, in order; at least one.

        Parameters
        ----------
        spill
            A folder for what does not fit into memory meanwhile, made if it is not there; by
            default that of the system for temporary files.
        """
        count = len(self._spine)
        rows = max(self._bounded(_PIECE_ROWS, self._row_bytes), -(-count // _MOST_PIECES))
        moments = spine_times(self._spine, self._timestamp)
        if spill is not None:
            spill.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            advance = stack.enter_context(self._progress())
            pool = stack.enter_context(ThreadPoolExecutor(self._parallel))
            folder = Path(stack.enter_context(TemporaryDirectory(prefix=".spill-", dir=spill)))
            found = list(
                pool.map(lambda each: self._resolve(each, moments, advance), self._lookups)
            )
            fits = sum(
                len(each.rows) * sum(map(width, each.lookup.types.values())) for each in found
            ) < (self._budget // 2)
            sources: list[Source] = []
            for number, each in enumerate(found):
                parts = _gathered(each, self._cut(), advance)
                types = each.lookup.types
                if fits:
                    sources.append(Held(parts, types))
                else:
                    cuts = [each.index[at : at + rows] for at in range(0, max(1, count), rows)]
                    sources.append(
                        Spilled(parts, types, cuts, len(each.rows), folder / str(number))
                    )
            for start in range(0, max(1, count), rows):
                piece = self._spine.slice(start, rows)
                for source, each in zip(sources, found, strict=True):
                    index = each.index[start : start + rows]
                    piece = _beside(piece, source.take(index, each.lookup.features))
                yield piece

    def _progress(self) -> Any:
        def steps() -> int:
            return sum(2 * file.rows for each in self._lookups for file in each.table.files())

        return progress("Point-in-time join", steps)

    def _cut(self) -> int:
        """How many rows of a file are read at once: few where rows are wide."""
        widest = max((sum(map(width, each.types.values())) for each in self._lookups), default=8)
        return self._bounded(_PIECE_ROWS, widest)

    def _bounded(self, most: int, row_bytes: int) -> int:
        """How many rows of a width may be in memory at once for one purpose."""
        return max(_LEAST_ROWS, min(most, self._budget // 8 // max(1, row_bytes)))

    def _resolve(
        self, lookup: Lookup, moments: pa.ChunkedArray[Any], advance: Callable[[int], None]
    ) -> _Resolved:
        table = lookup.table
        questions = _questions(self._spine, moments, table)
        first, last = questions[TIME].min(), questions[TIME].max()
        assert first is None or isinstance(first, datetime)
        assert last is None or isinstance(last, datetime)
        start = None if lookup.ttl is None or first is None else earlier(first, lookup.ttl)
        files = table.files(version=lookup.version, start=start, end=last)
        columns = table.columns
        history = History(
            files,
            {name: columns[name] for name in (*table.keys, table.timestamp, CREATED)},
            table.keys,
            table.timestamp,
            ttl=lookup.ttl,
            bitemporal=lookup.known == "event",
            recorded_by=lookup.known if isinstance(lookup.known, datetime) else None,
        )
        batch = self._bounded(_BATCH_ROWS, _PER_STORED)
        found = winners(questions, history, batch_rows=batch, advance=advance)
        rows, index = np.unique(found, return_inverse=True)
        if rows.size and rows[0] == NONE:
            rows = rows[1:]
            index = np.where(index == 0, len(rows), index - 1)
        return _Resolved(lookup, files, rows, index)


def _beside(table: pa.Table, columns: pa.Table) -> pa.Table:
    for name in columns.column_names:
        table = table.append_column(name, columns[name])
    return table


def _gathered(
    resolved: _Resolved, cut: int, advance: Callable[[int], None]
) -> Iterator[pl.DataFrame]:
    """Read the winning rows file by file."""
    types = resolved.lookup.types
    for window, frame in gathered(resolved.files, resolved.rows, types, cut=cut):
        advance(window.rows)
        yield frame


def _check_columns(spine: Spine, lookups: Sequence[Lookup], timestamp: str) -> None:
    names = spine.schema.names
    if timestamp not in names:
        raise SpineError(
            f"The spine has no column '{timestamp}'. Name its time column: timestamp=..."
            + suggestion(timestamp, names)
        )
    taken = dict.fromkeys(names, "the spine")
    if len(taken) < len(names):
        raise SpineError("The spine has two columns of the same name.")
    empty = pa.Table.from_batches([], spine.schema)
    for each in lookups:
        typed_keys(empty, each.table.schema, "spine")
        for shown in each.features.values():
            if shown in taken:
                raise SpineError(
                    f"'{shown}' of '{each.table.owner}' is also a column of {taken[shown]}. Use "
                    f"full_feature_names=True, or rename one."
                )
            taken[shown] = f"'{each.table.owner}'"


def spine_times(spine: Spine, timestamp: str) -> pa.ChunkedArray[Any]:
    """Return the times of a spine, in microseconds and UTC.

    Raises
    ------
    SpineError, NaiveTimestamps, OutsideCalendar
    """
    kind = spine.schema.field(timestamp).type
    if pa.types.is_timestamp(kind) and kind.tz is None:
        raise NaiveTimestamps("the spine", timestamp)
    if not pa.types.is_timestamp(kind):
        raise SpineError(f"'{timestamp}' of the spine is {kind}, not a timestamp with a time zone.")
    # Sub-microseconds are cut down, never up: nothing later than the moment becomes visible.
    times = spine.select([timestamp])[timestamp]
    refuse_outside(times, owner="the spine", name=timestamp)
    return times.cast(UTC_MICROSECONDS, safe=False)


def _questions(spine: Spine, moments: pa.ChunkedArray[Any], table: OfflineTable) -> pl.DataFrame:
    """Return keys, typed as the table has them, and the moment of each spine row."""
    keys = spine.select([name for name in table.keys if name in spine.schema.names])
    typed = typed_keys(keys, table.schema, "spine").append_column(TIME, moments)
    return polars_frame(typed)

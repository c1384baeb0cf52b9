"""The point-in-time join: each row of a spine gets the features as they were known then.

For a spine row at time t the eligible rows of a group have equal keys (a null key equals
nothing), event time <= t and, with a ttl, t - event time <= ttl, both inclusive and exact to the
microsecond. The winner has the greatest (event time, created time); its whole row counts, nulls
included. With `known="event"` a row also counts only once it was recorded, created time <= t.

The plan reads keys and times first, finds the winners, then gathers just their features, file by
file: memory holds the keys, one file and the answer.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa

from feature_store_assets.errors import NaiveTimestamps, SpineError, suggestion
from feature_store_assets.offline.frames import FeatureTable
from feature_store_assets.offline.reading import ROW, gather, scan
from feature_store_assets.offline.schema import CREATED, UTC_MICROSECONDS, arrow_type, typed_keys

if TYPE_CHECKING:
    from collections.abc import Sequence

    import polars as pl

    from feature_store_assets.offline.delta import OfflineTable

Known = Literal["event", "latest"] | datetime

# Columns of the join itself; Parquet may not be asked for features of these names.
_T, _SPINE, _ON, _EVENT = "__t", "__spine", "__on", "__event"


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


def join(
    spine: pa.Table, lookups: Sequence[Lookup], *, timestamp: str, parallel: int = 1
) -> pa.Table:
    """Join features of several groups to a spine.

    Parameters
    ----------
    spine
        Entity keys, a timestamp with a zone, and anything else.
    lookups
        The groups' parts; their answer columns must not clash.
    timestamp
        The spine's time column.
    parallel
        How many groups are read side by side.

    Returns
    -------
    The spine's rows in their order with their own columns, then the features.

    Raises
    ------
    SpineError
        A key or the timestamp is missing, has another type, or a column clashes.
    """
    _check_columns(spine, lookups, timestamp)
    moments = _moments(spine, timestamp)
    with ThreadPoolExecutor(max_workers=parallel) as pool:
        parts = list(pool.map(lambda each: _lookup(spine, moments, each), lookups))
    joined = spine
    for part in parts:
        for name in part.column_names:
            joined = joined.append_column(name, part[name])
    return joined


def _check_columns(spine: pa.Table, lookups: Sequence[Lookup], timestamp: str) -> None:
    if timestamp not in spine.column_names:
        raise SpineError(
            f"The spine has no column '{timestamp}'. Name its time column: timestamp=..."
            + suggestion(timestamp, spine.column_names)
        )
    taken = dict.fromkeys(spine.column_names, "the spine")
    if len(taken) < len(spine.column_names):
        raise SpineError("The spine has two columns of the same name.")
    for each in lookups:
        typed_keys(spine, each.table.schema, "spine")
        for shown in each.features.values():
            if shown in taken:
                raise SpineError(
                    f"'{shown}' of '{each.table.owner}' is also a column of {taken[shown]}. Use "
                    f"full_feature_names=True, or rename one."
                )
            taken[shown] = f"'{each.table.owner}'"


def _moments(spine: pa.Table, timestamp: str) -> pa.ChunkedArray[Any]:
    kind = spine.schema.field(timestamp).type
    if pa.types.is_timestamp(kind) and kind.tz is None:
        raise NaiveTimestamps("the spine", timestamp)
    if not pa.types.is_timestamp(kind):
        raise SpineError(f"'{timestamp}' of the spine is {kind}, not a timestamp with a time zone.")
    # Sub-microseconds are cut down, never up: nothing later than the moment becomes visible.
    return spine[timestamp].cast(UTC_MICROSECONDS, safe=False)


def _lookup(spine: pa.Table, moments: pa.ChunkedArray[Any], asked: Lookup) -> pa.Table:
    """Return the asked features for each spine row, in the spine's order."""
    import polars as pl

    table = asked.table
    types = table.columns
    shown = asked.features
    wanted = {name: types[name] for name in shown}
    if not spine.num_rows:
        return _named(scan([], wanted).collect(), shown, types)
    questions = _questions(spine, moments, table)
    distinct = questions.select(pl.col(_T).min().alias("first"), pl.col(_T).max().alias("last"))
    first, last = distinct.row(0)
    start = None if asked.ttl is None or first is None else first - asked.ttl
    files = table.files(version=asked.version, start=start, end=last)
    index = scan(
        files,
        {name: types[name] for name in (*table.keys, table.timestamp, CREATED)},
        numbered=True,
    )
    winners = _winners(questions, index, table, asked)
    hits = winners.drop_nulls(ROW).sort(ROW)
    found = gather(files, hits[ROW], wanted).with_columns(hits[_SPINE])
    answer = questions.select(_SPINE).join(found, on=_SPINE, how="left", maintain_order="left")
    return _named(answer, shown, types)


def _questions(spine: pa.Table, moments: pa.ChunkedArray[Any], table: OfflineTable) -> pl.DataFrame:
    """Return keys, moment and position of each spine row, keys typed as the table has them."""
    typed = typed_keys(spine, table.schema, "spine").append_column(_T, moments)
    return FeatureTable(typed).to_polars().with_row_index(_SPINE)


def _winners(
    questions: pl.DataFrame, index: pl.LazyFrame, table: OfflineTable, asked: Lookup
) -> pl.DataFrame:
    """Return, per spine position that can match, the number of the winning row or null."""
    import polars as pl

    keys, event = table.keys, table.timestamp
    if isinstance(asked.known, datetime):
        index = index.filter(pl.col(CREATED) <= asked.known)
    if asked.known == "event":
        # A row counts from the moment that it was both true and recorded; one that arrives when
        # a newer event is known already never wins.
        index = (
            index.with_columns(pl.max_horizontal(event, CREATED).alias(_ON))
            .sort(_ON, event, CREATED, ROW)
            .filter(pl.col(event) >= pl.col(event).cum_max().over(keys))
        )
    else:
        index = index.with_columns(pl.col(event).alias(_ON)).sort(event, CREATED, ROW)
    answered = (
        questions.lazy()
        .drop_nulls([*keys, _T])
        .sort(_T)
        .join_asof(
            index.select(*keys, _ON, pl.col(event).alias(_EVENT), ROW),
            left_on=_T,
            right_on=_ON,
            by=keys,
            strategy="backward",
            check_sortedness=False,
        )
    )
    if asked.ttl is not None:
        fresh = pl.col(_T) - pl.col(_EVENT) <= asked.ttl
        answered = answered.with_columns(pl.when(fresh).then(ROW).alias(ROW))
    return answered.select(_SPINE, ROW).collect(engine="streaming")


def _named(frame: pl.DataFrame, shown: dict[str, str], types: dict[str, str]) -> pa.Table:
    """Return the features under their names in the answer, typed as declared."""
    schema = pa.schema([(name, arrow_type(types[name])) for name in shown])
    return frame.select(*shown).to_arrow().cast(schema).rename_columns(list(shown.values()))

"""A request for historical features: what is asked of which tables, ready to join to any spine."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from feature_store_assets.declaration.instants import utc
from feature_store_assets.declaration.request import compute
from feature_store_assets.declaration.types import arrow_type
from feature_store_assets.errors import (
    AnswerTooLarge,
    DataError,
    SchemaMismatch,
    SpineError,
    suggestion,
)
from feature_store_assets.offline.dataframes import ParquetTable, arrow_table
from feature_store_assets.offline.point_in_time import Join, Known, Lookup, Spine
from feature_store_assets.offline.schema import lossless
from feature_store_assets.offline.sql import is_query

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from feature_store_assets.config import FeatureStoreConfig
    from feature_store_assets.declaration.group import FeatureGroup
    from feature_store_assets.offline.table import OfflineTable
    from feature_store_assets.registry.selection import Asked, Chosen
    from feature_store_assets.snapshots import Snapshots

_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True)
class Options:
    """How historical features are looked up; see `FeatureStore.get_historical_features`."""

    timestamp: str = "event_timestamp"
    ttl: timedelta | None = None
    as_of: str | datetime | None = None
    known: Known | None = None
    full_feature_names: bool = False


def read_spine(spine: Any, sql: Callable[[str], pa.Table]) -> Spine:
    """Return what a caller gives as a spine: a dataframe, a path to Parquet, or a query.

    Parameters
    ----------
    sql
        Answers a query.
    """
    if isinstance(spine, str | Path):
        there = os.path.exists(spine)  # noqa: PTH110  # Path raises where a query is too long for one
        if not there and is_query(str(spine)):
            return sql(str(spine))
        if not there:
            raise SpineError(
                f"There is no '{spine}' to take the spine from. Give a dataframe, the path of a "
                f"Parquet file or a folder of them, or a SELECT."
            )
        return ParquetTable(Path(spine))
    return spine if isinstance(spine, ParquetTable) else arrow_table(spine)


@dataclass(frozen=True)
class Historical:
    """Historical features, ready to join.

    Parameters
    ----------
    asked
        The features.
    lookups
        One per group of `asked`.
    timestamp
        The spine's time column.
    full_feature_names
        Columns are named `group__feature`.
    config
        How much memory and how many threads a join may take.
    """

    asked: Asked
    lookups: tuple[Lookup, ...]
    timestamp: str
    full_feature_names: bool
    config: FeatureStoreConfig

    @property
    def columns(self) -> dict[str, str]:
        """Name of a feature in the answer -> its column."""
        return self.asked.columns(full_names=self.full_feature_names)

    @classmethod
    def of(
        cls,
        asked: Asked,
        options: Options,
        table: Callable[[FeatureGroup], OfflineTable],
        snapshots: Snapshots,
        config: FeatureStoreConfig,
    ) -> Historical:
        """Resolve versions, names and defaults of what is asked.

        Parameters
        ----------
        table
            Returns a group's table, which must hold rows.

        Raises
        ------
        FunctionFailed
            A computed feature's function is gone, or may not run here.
        """
        for feature in asked.computed:
            feature.load()  # what may not run is refused before anything is read
        lookups = [_lookup(part, options, table(part.group), snapshots) for part in asked.parts]
        full_names = options.full_feature_names
        return cls(asked, tuple(lookups), options.timestamp, full_names, config)

    @property
    def feature_columns(self) -> list[str]:
        """The columns that the answer adds to a spine."""
        stored = [
            lookup.features[name]
            for part, lookup in zip(self.asked.parts, self.lookups, strict=True)
            for name, shown in part.features.items()
            if shown in self.asked.shown
        ]
        return stored + [self.columns[each.name] for each in self.asked.computed]

    def table(self, spine: Spine) -> pa.Table:
        """Join to a spine in memory.

        Raises
        ------
        AnswerTooLarge
            The memory limit does not allow it.
        """
        join = self._join(spine)
        limit = self.config.memory_limit
        if limit is not None and join.memory > limit:
            raise AnswerTooLarge(len(spine), join.memory, limit)
        return self._finished(join.table())

    def pieces(self, spine: Spine, spill: Path | None) -> Iterator[pa.Table]:
        """Join to a spine within the memory limit, piece by piece; `spill` as `Join` has it."""
        return map(self._finished, self._join(spine).pieces(spill))

    def _join(self, spine: Spine) -> Join:
        _check_spine(spine.schema, self.asked, self.columns)
        return Join(
            spine,
            self.lookups,
            timestamp=self.timestamp,
            parallel=self.config.max_parallel_operations,
            memory=self.config.memory_limit,
        )

    def _finished(self, joined: pa.Table) -> pa.Table:
        for name, value in self.asked.defaults.items():
            at = joined.column_names.index(self.columns[name])
            kind = joined.schema.field(at)
            filled = pc.fill_null(joined.column(at), pa.scalar(value, kind.type))
            joined = joined.set_column(at, kind, filled)
        return with_computed(joined, self.asked, self.columns) if self.asked.computed else joined

    def fixed(self) -> Historical:
        """Return the same with newest tables pinned at the versions that they have now."""
        lookups = [
            each if each.version is not None else replace(each, version=each.table.version())
            for each in self.lookups
        ]
        return replace(self, lookups=tuple(lookups))

    # What a manifest keeps of the lookups: defaults of a declaration may change.

    def pins(self) -> list[dict[str, Any]]:
        """Return the groups with their versions and rules, as JSON."""
        return [
            {
                "group": part.group.name,
                "group_version": part.group.version,
                "table_version": each.version,
                "ttl_microseconds": None if each.ttl is None else each.ttl // _MICROSECOND,
                "known": each.known.isoformat() if isinstance(each.known, datetime) else each.known,
            }
            for part, each in zip(self.asked.parts, self.lookups, strict=True)
        ]

    def pinned(self, pins: list[dict[str, Any]]) -> Historical:
        """Return the same features looked up by the versions and rules of `pins()`."""
        lookups = []
        for each, pin in zip(self.lookups, pins, strict=True):
            ttl, known = pin["ttl_microseconds"], pin["known"]
            lookups.append(
                replace(
                    each,
                    version=pin["table_version"],
                    ttl=None if ttl is None else ttl * _MICROSECOND,
                    known=known if known in {"event", "latest"} else datetime.fromisoformat(known),
                )
            )
        return replace(self, lookups=tuple(lookups))


def _lookup(part: Chosen, options: Options, table: OfflineTable, snapshots: Snapshots) -> Lookup:
    group, known = part.group, options.known
    if isinstance(known, str) and known not in ("event", "latest"):
        raise DataError(f"known is 'event', 'latest' or an instant, not '{known}'.")
    if known == "event" and group.created is None:
        raise DataError(
            f"'{group.name}' does not say when its rows were recorded, so known='event' would "
            f"hide every backfilled row. Declare created='<column>' on it, or use known='latest'."
        )
    prefix = f"{group.name}__" if options.full_feature_names else ""
    return Lookup(
        table,
        {stored: prefix + shown for stored, shown in part.features.items()},
        group.ttl if options.ttl is None else options.ttl,
        utc(known, "known")
        if isinstance(known, datetime)
        else known or ("latest" if group.created is None else "event"),
        snapshots.version(group, table, options.as_of),
    )


def _check_spine(spine: pa.Schema, asked: Asked, columns: Mapping[str, str]) -> None:
    """Refuse a spine that features cannot be computed on, before anything is read for it.

    Parameters
    ----------
    spine
        The columns of what features will be joined to.
    columns
        Name in the answer -> column of the training set.

    Raises
    ------
    SpineError, NaiveTimestamps
        A request value is missing or has another type, or a column clashes.
    """
    empty = pa.Table.from_batches([], spine)
    for name, kind in asked.request.items():
        if name not in spine.names:
            raise SpineError(
                f"The spine has no column '{name}', a request value ({kind}) of '{asked.owner}'."
                + suggestion(name, spine.names)
            )
        _request_column(empty, name, asked)
    computed = {feature.name for feature in asked.computed}
    taken = {*spine.names, *(columns[name] for name in columns if name not in computed)}
    for name in asked.shown:
        if name in computed and columns[name] in taken:
            raise SpineError(
                f"'{columns[name]}' of '{asked.owner}' is computed, but there is a column of that "
                f"name already. Use full_feature_names=True, or rename one."
            )


def with_computed(table: pa.Table, asked: Asked, columns: Mapping[str, str]) -> pa.Table:
    """Add the computed features to a joined table, or to any slice of its rows.

    Parameters
    ----------
    table
        A spine that `_check_spine` let pass, with the stored features joined to it.
    columns
        Name in the answer -> column of the table.

    Returns
    -------
    The table without features that were joined as inputs only, then the computed ones.

    Raises
    ------
    SpineError
        Values of a request column do not fit their type.
    FunctionFailed
        A function is gone, raised, or returned what it may not.
    """
    import polars as pl

    inputs = {name for feature in asked.computed for name in feature.inputs}
    given = {
        name: pl.Series(
            name,
            _request_column(table, name, asked) if name in asked.request else table[columns[name]],
        )
        for name in inputs
    }
    hidden = [columns[name] for name in columns if name not in asked.shown]
    answer = table.drop_columns(hidden)
    found = compute(asked.computed, given)
    for feature in asked.computed:
        values = found[feature.name].to_arrow().cast(arrow_type(feature.dtype))
        answer = answer.append_column(columns[feature.name], values)
    return answer


def _request_column(table: pa.Table, name: str, asked: Asked) -> pa.ChunkedArray[Any]:
    """Return a request value's column, typed as it is declared."""
    kind = asked.request[name]
    try:
        return lossless(table[name], arrow_type(kind), owner="the spine", name=name, timezone=None)
    except SchemaMismatch:
        raise SpineError(
            f"Request value '{name}' is {table.schema.field(name).type} in the spine; "
            f"'{asked.owner}' declares {kind}. Cast it there."
        ) from None

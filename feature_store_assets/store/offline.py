"""Reading rows offline: ranges, SQL, point-in-time joins, training sets."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from feature_store_assets.declaration.group import FeatureGroup
from feature_store_assets.declaration.instants import bounds
from feature_store_assets.errors import FeatureNotFound
from feature_store_assets.offline.dataframes import (
    FeatureTable,
    arrow_table,
    polars_frame,
    write_parquet,
)
from feature_store_assets.offline.point_in_time import spine_times
from feature_store_assets.offline.schema import typed_keys
from feature_store_assets.offline.sql import query
from feature_store_assets.offline.table import OfflineTable
from feature_store_assets.registry.pins import owner_of
from feature_store_assets.retrieval.historical import Options, read_spine
from feature_store_assets.retrieval.retention_check import RemovedRanges
from feature_store_assets.retrieval.retry import Watched, steady
from feature_store_assets.store.facade import Facade
from feature_store_assets.training.manifest import Recipe

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta

    import polars as pl
    import pyarrow as pa

    from feature_store_assets.offline.point_in_time import Known, Spine
    from feature_store_assets.parts import Parts
    from feature_store_assets.registry.training_sets import Recorded
    from feature_store_assets.training.splitting import Split
    from feature_store_assets.training.stored import TrainingSet


class OfflineVerbs(Facade):
    """Reads rows offline."""

    def read_features(
        self,
        feature_group: str,
        features: Sequence[str] | None = None,
        *,
        start_time: datetime | None = None,
        end_time: datetime | None = None,
        partitions: Sequence[str] | None = None,
        entities: Any = None,
        as_of: str | datetime | None = None,
        limit: int | None = None,
    ) -> FeatureTable:
        """Read stored rows of a group: keys, event timestamp and features.

        Parameters
        ----------
        feature_group, features
            Which columns; all features by default.
        start_time, end_time
            Event times in `[start, end)`; naive ones mean local time.
        partitions, entities, limit
            Partition keys; a frame of entity keys; at most so many rows.
        as_of
            A snapshot's name, or an instant within time travel.

        Returns
        -------
        The newest revision of each (keys, event timestamp).

        Raises
        ------
        OutsideRetention
            Retention removed all that was asked for; if only a part, there is a warning.
        """
        return stored_rows(
            self.parts, feature_group, features, start_time=start_time, end_time=end_time,
            partitions=partitions, entities=entities, as_of=as_of, limit=limit,
        )  # fmt: skip

    def get_historical_features(
        self,
        features: Any,
        spine: Any,
        *,
        timestamp: str = "event_timestamp",
        ttl: timedelta | None = None,
        as_of: str | datetime | None = None,
        known: Known | None = None,
        full_feature_names: bool = False,
        out: str | Path | None = None,
    ) -> FeatureTable:
        """Join features to a spine as they were known at each row's time.

        Parameters
        ----------
        features
            A view (or its name), a group, or a list of `"group.feature"`.
        spine
            Entity keys, a timestamp with a zone, the view's request values, labels and whatever
            else: any dataframe, the path of a Parquet file or a folder of them, or a query as
            `sql` takes it.
        timestamp
            The spine's time column.
        ttl
            How old a value may be; by default what each group declares.
        as_of
            A snapshot's name, or an instant within time travel: the tables as they were then.
        known
            `"event"`: only rows recorded by each spine row's time, so that later corrections
            never leak; the default of groups that declare `created`. `"latest"`: rows as they
            stand; the default of the others. An instant: rows recorded by then.
        full_feature_names
            Name the columns `group__feature`.
        out
            Write the answer to this Parquet file, piece by piece within `memory_limit`, and
            return a handle that reads it when asked. A file of that name is replaced.

        Returns
        -------
        The spine's rows in their order with their own columns, then the features; null where
        nothing was known, or nothing within the ttl.
        """
        options = Options(timestamp, ttl, as_of, known, full_feature_names)
        historical = self.parts.historical(features, options)
        rows = read_spine(spine, self._sql)
        asked = historical.asked
        told = {"features": list(asked.shown), "rows": len(rows)}
        self.audit.add("read", f"training data of {asked.owner}", told)
        used = [(part.group.name, list(part.features)) for part in asked.parts]
        self.usage.add(used, "training", 1, len(rows), self.actor.name)
        path = None if out is None else Path(out)

        def read(watched: Watched) -> FeatureTable:
            for part, lookup in zip(asked.parts, historical.lookups, strict=True):
                check = partial(self._check_times, part.group, rows, timestamp)
                if lookup.version is None:
                    watched.add(lookup.table, check)
                elif not isinstance(as_of, str):
                    check()
            if path is None:
                return FeatureTable(historical.table(rows))
            pieces = historical.pieces(rows, path.parent)
            return write_parquet(path, pieces, compression=self.config.compression)

        return steady(read)

    def _check_times(self, group: FeatureGroup, spine: Spine, timestamp: str) -> None:
        removed = _removed_ranges(self.parts, group, self.parts.filled(group))
        removed.check_times(partial(spine_times, spine, timestamp))

    def sql(self, query: str, *, as_of: str | datetime | None = None) -> FeatureTable:
        """Answer a SELECT over the feature groups, for exploration; nothing can be written.

        Parameters
        ----------
        query
            In the dialect of Polars. Each group is a table of what `read_features` returns.
        as_of
            A snapshot's name, or an instant within time travel.
        """
        return FeatureTable(self._sql(query, as_of))

    def _sql(self, text: str, as_of: str | datetime | None = None) -> pa.Table:
        def scan(watched: Watched, group: FeatureGroup) -> pl.LazyFrame:
            table = self.parts.filled(group)
            version = self.snapshots.version(group, table, as_of)
            if version is None:
                watched.add(table)
            return table.facts(version=version, revised=group.revised)

        def read(watched: Watched) -> pa.Table:
            tables = {group.name: partial(scan, watched, group) for group in self.groups()}
            return query(text, tables)

        return steady(read)

    def create_training_set(
        self,
        features: Any,
        spine: Any,
        name: str,
        *,
        split: Split | None = None,
        split_by: str | Sequence[str] | None = None,
        seed: int = 0,
        label: str | None = None,
        timestamp: str = "event_timestamp",
        ttl: timedelta | None = None,
        as_of: str | datetime | None = None,
        known: Known | None = None,
        full_feature_names: bool = False,
        description: str = "",
        created_by: str = "",
    ) -> TrainingSet:
        """Join features to a spine and keep the rows, with all it takes to make them again.

        Parameters
        ----------
        features, spine, timestamp, ttl, as_of, known, full_feature_names
            As `get_historical_features` takes them. The table versions are pinned.
        name
            Given once: training sets never change.
        split
            Shares drawn at random, `{"train": 0.8, "test": 0.2}`, or the instants before which
            rows lie, `{"train": datetime(...), "test": None}`; by default one part, `"all"`.
        split_by
            Rows equal in these columns stay in one part.
        seed
            Draws the same parts again.
        label
            The spine's column to be learnt.
        description, created_by
            Kept in the manifest; by default whoever acts made it.
        """
        options = Options(timestamp, ttl, as_of, known, full_feature_names)
        return self.parts.training_sets.create(
            name,
            self.parts.historical(features, options),
            read_spine(spine, self._sql),
            Recipe(
                split,
                split_by,
                seed,
                label,
                description,
                created_by or self.actor.name,
                as_of if isinstance(as_of, str) and owner_of(as_of)[0] == "snapshot" else None,
            ),
            self.parts.rejoin,
        )

    def training_set(self, name: str) -> TrainingSet:
        """Return a training set that was created before."""
        return self.parts.training_set(name)

    def training_sets(self) -> list[str]:
        """Return the names of the training sets."""
        return [recorded.name for recorded in self.training_set_records()]

    def training_set_records(self) -> list[Recorded]:
        """Return what is recorded of the training sets."""
        return self.parts.training_sets.table.all()


def stored_rows(
    parts: Parts,
    feature_group: str,
    features: Sequence[str] | None,
    *,
    start_time: datetime | None,
    end_time: datetime | None,
    partitions: Sequence[str] | None = None,
    entities: Any = None,
    as_of: str | datetime | None = None,
    limit: int | None = None,
) -> FeatureTable:
    """Read stored rows of a group; see `read_features`."""
    group = parts.applied.group(feature_group)
    names = group.feature_names if features is None else list(features)
    for name in names:
        if name not in group.feature_names:
            raise FeatureNotFound(name, group.name, group.feature_names)
    table = parts.filled(group)
    version = parts.snapshots.version(group, table, as_of)
    start, end = bounds(start_time=start_time, end_time=end_time)
    keys = None if entities is None else _entities(entities, table)

    def check() -> None:
        _removed_ranges(parts, group, table).check_range(start, end, partitions)

    def read(watched: Watched) -> pa.Table:
        if version is None:
            watched.add(table, check)
        elif not isinstance(as_of, str):
            check()
        facts = table.facts(
            names,
            revised=group.revised,
            start=start,
            end=end,
            partitions=partitions,
            entities=keys,
            version=version,
        ).sort(table.timestamp, *table.keys)
        return table.arrow((facts if limit is None else facts.head(limit)).collect())

    shown = steady(read)
    parts.usage.add([(group.name, names)], "offline", 1, shown.num_rows, parts.database.actor.name)
    return FeatureTable(shown)


def _removed_ranges(parts: Parts, group: FeatureGroup, table: OfflineTable) -> RemovedRanges:
    return RemovedRanges(group, table, parts.removals, parts.snapshots)


def _entities(entities: Any, table: OfflineTable) -> pl.DataFrame:
    """Return entity keys, typed as the table has them."""
    return polars_frame(typed_keys(arrow_table(entities), table.schema, "entities"))

"""`FeatureStore`: the one object that training and serving code hold."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

from feature_store_assets.config import FeatureStoreConfig
from feature_store_assets.declaration.feature import Feature
from feature_store_assets.declaration.group import FeatureGroup
from feature_store_assets.errors import (
    DataError,
    FeatureNotFound,
)
from feature_store_assets.offline.delta import OfflineTable
from feature_store_assets.offline.frames import FeatureTable, arrow_table
from feature_store_assets.offline.point_in_time import Known, Lookup, join
from feature_store_assets.offline.schema import CREATED, TableSchema, typed_keys
from feature_store_assets.online import OnlineStore, open_store
from feature_store_assets.online.publish import Published, publish
from feature_store_assets.online.query import Part, Query
from feature_store_assets.online.row import KeySpace
from feature_store_assets.pushing import (
    FeatureMetadata,
    FeatureType,
    Mode,
    WriteResult,
    push,
    pushed_group,
    register,
)
from feature_store_assets.registry.applied import Applied, Change, Chosen, Declared
from feature_store_assets.registry.database import Database
from feature_store_assets.registry.pins import Pins
from feature_store_assets.snapshots import Snapshots

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta
    from types import TracebackType

    import polars as pl

# How long a prepared online read is used before the registry is asked again.
_PREPARED_SECONDS = 5.0


class FeatureStore:
    """Declared features: written, joined for training, served.

    Parameters
    ----------
    config
        Where it lives; by default what `FEATURE_STORE_*` variables say.

    Examples
    --------
    >>> with FeatureStore(FeatureStoreConfig(storage_path="/tmp/features")) as store:
    ...     store.groups()
    []
    """

    def __init__(self, config: FeatureStoreConfig | None = None) -> None:
        self.config = config or FeatureStoreConfig()
        self._database = Database(self.config.registry)
        self.applied = Applied(self._database)
        self.snapshots = Snapshots(Pins(self._database), self.config.time_travel)
        self._tables: dict[tuple[str, int], tuple[str, OfflineTable]] = {}
        self._prepared: dict[Any, tuple[float, Query]] = {}

    @classmethod
    def from_env(cls) -> Self:
        """Open the store that `FEATURE_STORE_*` variables (or the defaults) point at."""
        return cls(FeatureStoreConfig())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of files and connections."""
        opened = self.__dict__.pop("online", None)
        if opened is not None:
            opened.close()
        self._database.close()

    def __repr__(self) -> str:
        return f"FeatureStore('{self.config.root}')"

    # Declarations

    def apply(self, *declarations: Declared) -> list[Change]:
        """Make declarations known: tables are created or extended, then all are recorded at once.

        Raises
        ------
        BreakingChange
            Stored rows cannot follow a change; nothing was applied.
        """
        changes = self.applied.apply(declarations, prepare=self._prepare_table)
        self._prepared.clear()
        return changes

    def _prepare_table(self, group: FeatureGroup) -> None:
        table = self.table(group)
        # Without declared key types the first rows make the table.
        if table.exists or None not in group.entity.key_types:
            table.ensure()

    def groups(self) -> list[FeatureGroup]:
        """Return the applied groups, the newest version of each, by name."""
        return self.applied.groups()

    def register_feature_group(self, group: FeatureGroup) -> FeatureGroup:
        """Apply one group that is pushed to; without partitions it is cut by event time."""
        if group.function is None and group.partitions is None:
            group = replace(group, partitions=self._pushed(group.name).partitions)
        self.apply(group)
        return self.applied.group(group.name, group.version)

    def register_feature(
        self,
        name: str,
        *,
        feature_group: str,
        data_type: Any,
        description: str = "",
        feature_type: FeatureType | str = FeatureType.NUMERICAL,
        created_by: str = "",
        **bounds: Any,
    ) -> FeatureMetadata:
        """Add a feature to a pushed group; the group comes into being with its first feature.

        Parameters
        ----------
        name, feature_group, description
            The feature, and the group that holds it.
        data_type
            `"integer"`, `"float"`, `"string"`, ... or a Python type.
        feature_type, created_by
            Kept as tags.
        bounds
            Further arguments of `Feature`: ge, le, nullable, one_of, regex, pii, mask, ...
        """
        metadata = register(
            self.applied,
            self._pushed(feature_group),
            Feature(name, data_type, description, **bounds),
            feature_type=feature_type,
            created_by=created_by,
            prepare=self._prepare_table,
        )
        self._prepared.clear()
        return metadata

    def _pushed(self, name: str) -> FeatureGroup:
        return pushed_group(name, self.config.partitioning_columns)

    # Offline

    def table(self, group: FeatureGroup) -> OfflineTable:
        """Return the offline table of a group's version."""
        key = (group.name, group.version)
        cached = self._tables.get(key)
        if cached is not None and cached[0] == group.hash:
            return cached[1]
        path = self.config.root / "offline" / group.name / f"v{group.version}"
        table = OfflineTable(path, TableSchema.of(group), compression=self.config.compression)
        self._tables[key] = (group.hash, table)
        return table

    def write_features(
        self, feature_data: Any, feature_group: str, mode: Mode = "append"
    ) -> WriteResult:
        """Write rows to a pushed group, and publish them.

        Parameters
        ----------
        feature_data
            A pandas, Polars or Arrow table, or a list of dicts: keys, event timestamp, features.
            Columns that are not declared yet become draft features.
        feature_group
            Its name; an unknown one comes into being with entity key `entity_id`.
        mode
            `append` refuses to change stored facts, `upsert` writes newer revisions of them,
            `overwrite` replaces all rows.

        Raises
        ------
        WrittenByDagster, SchemaMismatch, NullKeys, DuplicateRows, NaiveTimestamps, OutOfBounds
            Nothing was written.
        """
        data = arrow_table(feature_data)
        new = self._pushed(feature_group)
        self._reach_online(self.applied.find(feature_group) or new)
        before = self._partitions_before(feature_group) if mode == "overwrite" else ()
        group, result = push(self.applied, self.table, new, data, mode)
        self._prepared.clear()
        if group.online:
            self.publish(group, sorted({*result.partitions, *before}))
        return result

    def _reach_online(self, group: FeatureGroup) -> None:
        """Refuse before anything is written where the rows could not be published."""
        if group.online and not group.materialized:
            self.online.marks(_space(group).prefix)

    def _partitions_before(self, name: str) -> list[str]:
        """The partitions that an overwrite empties: their rows are taken back online."""
        group = self.applied.find(name)
        return [] if group is None else self.table(group).partitions()

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
        """
        group = self.applied.group(feature_group)
        names = group.feature_names if features is None else list(features)
        for name in names:
            if name not in group.feature_names:
                raise FeatureNotFound(name, group.name, group.feature_names)
        table = self._existing(group)
        rows = table.read(
            [*table.keys, table.timestamp, CREATED, *names],
            start=start_time and start_time.astimezone(UTC),
            end=end_time and end_time.astimezone(UTC),
            partitions=partitions,
            entities=None if entities is None else _entities(entities, table),
            version=self.snapshots.version(group, table, as_of),
        )
        frame = FeatureTable(rows).to_polars().sort(CREATED, maintain_order=True)
        newest = frame.unique([*table.keys, table.timestamp], keep="last", maintain_order=True)
        shown = newest.drop(CREATED).sort(table.timestamp, *table.keys)
        wanted = rows.schema.remove(rows.schema.get_field_index(CREATED))
        return FeatureTable(
            shown.head(shown.height if limit is None else limit).to_arrow().cast(wanted)
        )

    def _existing(self, group: FeatureGroup) -> OfflineTable:
        table = self.table(group)
        if not table.exists:
            how = (
                f"`feature-store materialize {group.name}`"
                if group.materialized
                else f"write_features(..., feature_group='{group.name}')"
            )
            raise DataError(f"'{group.name}' holds no rows yet. Fill it with {how}.")
        return table

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
    ) -> FeatureTable:
        """Join features to a spine as they were known at each row's time.

        Parameters
        ----------
        features
            A view (or its name), a group, or a list of `"group.feature"`.
        spine
            Any dataframe: entity keys, a timestamp with a zone, labels and whatever else.
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

        Returns
        -------
        The spine's rows in their order with their own columns, then the features; null where
        nothing was known, or nothing within the ttl.
        """
        lookups = [
            self._lookup(chosen, ttl, as_of, known, full_names=full_feature_names)
            for chosen in self.applied.resolve(features)
        ]
        return FeatureTable(
            join(
                arrow_table(spine),
                lookups,
                timestamp=timestamp,
                parallel=self.config.max_parallel_operations,
            )
        )

    def _lookup(
        self,
        chosen: Chosen,
        ttl: timedelta | None,
        as_of: str | datetime | None,
        known: Known | None,
        *,
        full_names: bool,
    ) -> Lookup:
        group = chosen.group
        table = self._existing(group)
        if isinstance(known, str) and known not in ("event", "latest"):
            raise DataError(f"known is 'event', 'latest' or an instant, not '{known}'.")
        if known == "event" and group.created is None:
            raise DataError(
                f"'{group.name}' does not say when its rows were recorded, so known='event' would "
                f"hide every backfilled row. Declare created='<column>' on it, or use "
                f"known='latest'."
            )
        names = {
            stored: f"{group.name}__{shown}" if full_names else shown
            for stored, shown in chosen.features.items()
        }
        return Lookup(
            table,
            names,
            group.ttl if ttl is None else ttl,
            known.astimezone(UTC)
            if isinstance(known, datetime)
            else known or ("latest" if group.created is None else "event"),
            self.snapshots.version(group, table, as_of),
        )

    def create_snapshot(
        self, features: Any, name: str, *, description: str = "", created_by: str = ""
    ) -> str:
        """Pin the tables of a view, a group or a list of them under a name, for ever.

        Raises
        ------
        NameTaken
            Snapshots never change.
        """
        asked = (
            [features]
            if isinstance(features, str) or not hasattr(features, "__iter__")
            else features
        )
        groups = {
            (chosen.group.name, chosen.group.version): chosen.group
            for each in asked
            for chosen in self.applied.resolve(each)
        }
        self.snapshots.create(
            name,
            [(group, self._existing(group)) for group in groups.values()],
            description=description,
            created_by=created_by,
        )
        return name

    # Online

    @cached_property
    def online(self) -> OnlineStore:
        """The online store, opened on first use."""
        return open_store(self.config.online)

    def publish(
        self,
        group: FeatureGroup,
        partitions: Sequence[str],
        *,
        now: datetime | None = None,
    ) -> Published:
        """Make the online rows of a group follow partitions of its table."""
        table = self._existing(group)
        return publish(table, self.online, _space(group), list(partitions), now=now)

    def get_online_features(
        self,
        feature_group: Any,
        entity_ids: Sequence[Any],
        features: Sequence[str] | None = None,
        *,
        at: datetime | None = None,
        include_status: bool = False,
    ) -> Any:
        """Read the newest features of entities.

        Parameters
        ----------
        feature_group
            A view or group, by name or as declared, or a list of `"group.feature"`.
        entity_ids
            Values of the one join key; tuples of several; or dicts by join key, as a view over
            groups with different keys needs them.
        features
            Only these.
        at
            Count ages from this instant instead of now; it does not travel in time.
        include_status
            Tell `{"values", "status", "event_timestamp"}` of each entity; status is `present`,
            `missing` or `expired`.

        Returns
        -------
        `{entity: {feature: value}}`, or a list in the order asked where the entities are dicts.
        A missing or expired feature is None.
        """
        query = self._query(feature_group, features)
        return query.ask(self.online, entity_ids, at, status=include_status)

    def _query(self, what: Any, features: Sequence[str] | None) -> Query:
        key = (tuple(what) if isinstance(what, list) else what, features and tuple(features))
        prepared = self._prepared.get(key)
        if prepared is not None and prepared[0] > time.monotonic():
            return prepared[1]
        chosen = self.applied.resolve(what, features)
        for each in chosen:
            if not each.group.online:
                raise DataError(f"'{each.group.name}' is not served: declare online=True on it.")
        owner = what if isinstance(what, str) else getattr(what, "name", "this list of features")
        query = Query(owner, [_part(each) for each in chosen])
        self._prepared[key] = (time.monotonic() + _PREPARED_SECONDS, query)
        return query


def _entities(entities: Any, table: OfflineTable) -> pl.DataFrame:
    """Return entity keys, typed as the table has them."""
    return FeatureTable(typed_keys(arrow_table(entities), table.schema, "entities")).to_polars()


def _space(group: FeatureGroup) -> KeySpace:
    return KeySpace(group.name, group.version, 0)


def _part(chosen: Chosen) -> Part:
    group = chosen.group
    return Part(
        _space(group),
        group.entity.join_keys,
        tuple((feature.name, feature.dtype) for feature in group.features),
        chosen.features,
        group.ttl,
    )

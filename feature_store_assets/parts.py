"""The parts of a store, put together once: settings, registry, tables, connections.

Rooms above take what they need from here; none of them puts a part together by itself.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from feature_store_assets.errors import DataError
from feature_store_assets.ingestion.push import pushed_group
from feature_store_assets.lineage.queries import Lineage
from feature_store_assets.offline.schema import TableSchema
from feature_store_assets.offline.table import OfflineTable
from feature_store_assets.registry.alerts import Alerts
from feature_store_assets.registry.audit import Audit
from feature_store_assets.registry.database import Database
from feature_store_assets.registry.declarations import Applied
from feature_store_assets.registry.holds import Holds
from feature_store_assets.registry.leases import Leases
from feature_store_assets.registry.lifecycle import Stages
from feature_store_assets.registry.pins import Pins
from feature_store_assets.registry.removed_partitions import Removals
from feature_store_assets.registry.snapshots import SnapshotTable
from feature_store_assets.registry.tokens import Tokens
from feature_store_assets.registry.training_sets import TrainingSetTable
from feature_store_assets.registry.usage import Usage
from feature_store_assets.retrieval.historical import Historical, Options
from feature_store_assets.retrieval.online import Serving
from feature_store_assets.snapshots import Snapshots
from feature_store_assets.storage import Location, location
from feature_store_assets.training.sets import TrainingSets

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    import polars as pl

    from feature_store_assets.config import FeatureStoreConfig
    from feature_store_assets.declaration.group import FeatureGroup
    from feature_store_assets.declaration.view import FeatureView
    from feature_store_assets.ingestion.revalidation import Review
    from feature_store_assets.online.publish import Published
    from feature_store_assets.registry.actor import Actor
    from feature_store_assets.training.stored import TrainingSet


@dataclass(frozen=True)
class Parts:
    """What a store is made of.

    Attributes
    ----------
    database
        The registry's, in which the one who acts writes.
    location
        Where tables and all other files lie.
    usage, serving, tables
        Shared by all who act on one store: they count, and hold connections.
    """

    config: FeatureStoreConfig
    database: Database
    location: Location
    usage: Usage
    serving: Serving
    tables: dict[tuple[str, int], tuple[object, OfflineTable]] = field(default_factory=dict)

    @classmethod
    def of(cls, config: FeatureStoreConfig, actor: Actor | str | None = None) -> Parts:
        """Put a store together; nothing connects before its first use."""
        database = Database(config.registry, actor)
        applied, usage = Applied(database, config.request_modules), Usage(database)
        serving = Serving(config, applied, Stages(database), usage)
        return cls(config, database, location(config.root), usage, serving)

    def acting_as(self, actor: Actor) -> Parts:
        """Return the same parts, over the same connections, by which somebody else acts."""
        return replace(self, database=self.database.acting_as(actor))

    def close(self) -> None:
        """Let go of files and connections."""
        self.serving.close()
        self.usage.flush()
        self.database.close()

    async def aclose(self) -> None:
        """Let go of files and connections, with those of the running event loop."""
        await self.serving.aclose()
        self.usage.flush()
        self.database.close()

    # The registry

    @cached_property
    def applied(self) -> Applied:
        """What is declared."""
        return Applied(self.database, self.config.request_modules)

    @cached_property
    def stages(self) -> Stages:
        """How far each declaration is in its life."""
        return Stages(self.database)

    @cached_property
    def holds(self) -> Holds:
        """Legal holds."""
        return Holds(self.database)

    @cached_property
    def removals(self) -> Removals:
        """What retention removed."""
        return Removals(self.database)

    @cached_property
    def snapshots(self) -> Snapshots:
        """Pinned tables."""
        pinned = SnapshotTable(self.database), Pins(self.database)
        return Snapshots(*pinned, self.holds, self.config.time_travel)

    @cached_property
    def tokens(self) -> Tokens:
        """Tokens of the HTTP server."""
        return Tokens(self.database)

    @cached_property
    def alerts(self) -> Alerts:
        """Alerts on their way."""
        return Alerts(self.database)

    @cached_property
    def audit(self) -> Audit:
        """The audit log."""
        return Audit(self.database)

    # Rows

    def table(self, group: FeatureGroup) -> OfflineTable:
        """Return the offline table of a group's version."""
        key, declared = (group.name, group.version), (group.hash, group.slots)
        cached = self.tables.get(key)
        if cached is not None and cached[0] == declared:
            return cached[1]
        table = OfflineTable(
            self.location.at(f"offline/{group.name}/v{group.version}"),
            TableSchema.of(group),
            compression=self.config.compression,
            removed=partial(self._removed, *key),
        )
        self.tables[key] = (declared, table)
        return table

    def _removed(self, name: str, version: int, table_version: int) -> set[str]:
        """The partitions that retention took from a version; a pinned one is whole."""
        pins = self.snapshots.pins.of_group(name, version)
        if any(pin.table_version == table_version for pin in pins):
            return set()
        return {
            each.partition
            for each in self.removals.of(name, version)
            if each.table_version is None or each.table_version > table_version
        }

    def filled(self, group: FeatureGroup) -> OfflineTable:
        """Return the table of a group that holds rows.

        Raises
        ------
        DataError
            Nothing was written to it yet.
        """
        table = self.table(group)
        if not table.exists:
            how = (
                f"`feature-store materialize {group.name}`"
                if group.materialized
                else f"write_features(..., feature_group='{group.name}')"
            )
            raise DataError(f"'{group.name}' holds no rows yet. Fill it with {how}.")
        return table

    def prepare_table(self, group: FeatureGroup) -> None:
        """Make a group's table, or extend it, where its columns are known."""
        table = self.table(group)
        # Without declared key types the first rows make the table.
        if table.exists or None not in group.entity.key_types:
            table.ensure()

    def pushed(self, name: str) -> FeatureGroup:
        """Return what a pushed group is that nobody declared."""
        return pushed_group(name, self.config.partitioning_columns)

    def publish(
        self,
        group: FeatureGroup,
        partitions: Sequence[str],
        *,
        now: datetime | None = None,
        told: Callable[[int], None] = lambda _: None,
    ) -> Published:
        """Make the online rows of a group follow partitions of its table."""
        return self.serving.publish(group, self.filled(group), partitions, now=now, told=told)

    @cached_property
    def review(self) -> Review:
        """Statistics, quarantine and the gate."""
        from feature_store_assets.ingestion.revalidation import Review

        def pinned(group: FeatureGroup, snapshot: str) -> pl.DataFrame:
            table = self.filled(group)
            version = self.snapshots.version(group, table, snapshot)
            return table.facts(revised=group.revised, version=version).collect()

        return Review(
            self.database,
            self.location.at("quarantine"),
            pinned=pinned,
            training_set=self.training_set,
        )

    # What is made of rows

    def historical(self, features: Any, options: Options) -> Historical:
        """Return a join of features, ready to be asked."""
        asked = self.applied.resolve(features)
        return Historical.of(asked, options, self.filled, self.snapshots, self.config)

    @cached_property
    def training_sets(self) -> TrainingSets:
        """Rows that models learnt from."""
        return TrainingSets(
            self.location.at("training"),
            TrainingSetTable(self.database),
            self.snapshots.pins,
            Leases(self.database),
            self.config.compression,
        )

    def training_set(self, name: str) -> TrainingSet:
        """Return a training set that was created before."""
        return self.training_sets.get(name, self.rejoin)

    def rejoin(self, view: FeatureView, manifest: Mapping[str, Any]) -> Historical:
        """Return the join of a training set, at the versions that its manifest names."""
        options = Options(manifest["timestamp"], full_feature_names=manifest["full_feature_names"])
        return self.historical(view, options).pinned(manifest["groups"])

    @cached_property
    def lineage(self) -> Lineage:
        """What comes from what."""
        return Lineage(self.config, self.database, lambda name: self.training_set(name).manifest)

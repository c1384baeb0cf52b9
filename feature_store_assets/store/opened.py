"""What every part of the store holds: settings, registry, tables, connections."""

from __future__ import annotations

from copy import copy
from functools import partial
from typing import TYPE_CHECKING, Self

from feature_store_assets.config import FeatureStoreConfig
from feature_store_assets.declaration.group import FeatureGroup
from feature_store_assets.errors import DataError
from feature_store_assets.offline.delta import OfflineTable
from feature_store_assets.offline.schema import TableSchema
from feature_store_assets.registry.actor import Actor
from feature_store_assets.registry.alerts import Alerts
from feature_store_assets.registry.applied import Applied
from feature_store_assets.registry.audit import Audit
from feature_store_assets.registry.database import Database
from feature_store_assets.registry.holds import Holds
from feature_store_assets.registry.pins import Pins
from feature_store_assets.registry.removals import Removals
from feature_store_assets.registry.snapshots import SnapshotTable
from feature_store_assets.registry.stages import Stages
from feature_store_assets.registry.tokens import Tokens
from feature_store_assets.registry.usage import Usage
from feature_store_assets.retrieval.serving import Serving
from feature_store_assets.snapshots import Snapshots

if TYPE_CHECKING:
    from types import TracebackType


class Opened:
    """The settings, registry, tables and connections of a store."""

    def __init__(
        self, config: FeatureStoreConfig | None = None, *, actor: Actor | None = None
    ) -> None:
        self.config = config or FeatureStoreConfig()
        self._tables: dict[tuple[str, int], tuple[object, OfflineTable]] = {}
        self._open(Database(self.config.registry, actor))
        self.usage = Usage(self._database)
        self.serving = Serving(self.config, self.applied, self.stages, self.usage)

    def _open(self, database: Database) -> None:
        self._database = database
        self.applied = Applied(database, self.config.request_modules)
        self.holds = Holds(database)
        self.removals = Removals(database)
        self.snapshots = Snapshots(
            SnapshotTable(database), Pins(database), self.holds, self.config.time_travel
        )
        self.tokens = Tokens(database)
        self.alerts = Alerts(database)
        self.audit = Audit(database)
        self.stages = Stages(database)

    def acting_as(self, actor: Actor | str) -> Self:
        """Return the same store, over the same connections, in which somebody else acts.

        Parameters
        ----------
        actor
            Who, or a name, which counts as asserted. Whoever closes one of the two closes both.
        """
        other = copy(self)
        for name in ("review", "lineage"):  # made anew by whoever asks
            other.__dict__.pop(name, None)
        other._open(  # noqa: SLF001
            self._database.acting_as(Actor(actor) if isinstance(actor, str) else actor)
        )
        return other

    @property
    def actor(self) -> Actor:
        """Who acts: it stands in the audit log, in counts of reads, and in `created_by`."""
        return self._database.actor

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
        self.serving.close()
        self.usage.flush()
        self._database.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Let go of files and connections, with those of the running event loop."""
        await self.serving.aclose()
        self.usage.flush()
        self._database.close()

    def __repr__(self) -> str:
        return f"FeatureStore('{self.config.root}')"

    def groups(self) -> list[FeatureGroup]:
        """Return the applied groups, the newest version of each, by name."""
        return self.applied.groups()

    def sizes(self) -> dict[str, int]:
        """Return the bytes that each group's newest rows take, by name."""
        tables = {group.name: self.table(group) for group in self.groups()}
        return {name: table.size() for name, table in tables.items() if table.exists}

    def table(self, group: FeatureGroup) -> OfflineTable:
        """Return the offline table of a group's version."""
        key, declared = (group.name, group.version), (group.hash, group.slots)
        cached = self._tables.get(key)
        if cached is not None and cached[0] == declared:
            return cached[1]
        path = self.config.root / "offline" / group.name / f"v{group.version}"
        table = OfflineTable(
            path,
            TableSchema.of(group),
            compression=self.config.compression,
            removed=partial(self._removed, group.name, group.version),
        )
        self._tables[key] = (declared, table)
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

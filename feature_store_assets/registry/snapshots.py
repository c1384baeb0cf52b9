"""Which snapshots there are, and what each holds."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from feature_store_assets.declaration.canonical import canonical
from feature_store_assets.errors import SnapshotNotFound, VersionExpired
from feature_store_assets.registry.audit import append
from feature_store_assets.registry.database import snapshots
from feature_store_assets.registry.pins import pin, release
from feature_store_assets.registry.removed_partitions import floor_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from feature_store_assets.registry.database import Database


@dataclass(frozen=True)
class Snapshot:
    """One snapshot; `digest` is the SHA-256 of its manifest."""

    name: str
    digest: str
    tags: dict[str, str]
    description: str
    created_by: str
    created_at: datetime


class SnapshotTable:
    """The table of snapshots.

    Parameters
    ----------
    database
        The registry's database.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, manifest: Mapping[str, Any]) -> Snapshot:
        """Record a snapshot, and pin the table versions that its manifest names.

        Raises
        ------
        NameTaken
            Snapshots are immutable.
        VersionExpired
            Retention has begun to remove files of such a version.
        """
        text = canonical(manifest)
        name, groups = manifest["name"], manifest["groups"]
        made = Snapshot(
            name,
            hashlib.sha256(text.encode()).hexdigest(),
            manifest["tags"],
            manifest["description"],
            manifest["created_by"],
            datetime.fromisoformat(manifest["created_at"]),
        )
        versions = [(each["group"], each["version"], each["table_version"]) for each in groups]
        with self._database.write() as connection:
            for group, version, table_version in versions:
                if table_version < floor_of(connection, group, version):
                    raise VersionExpired(group, table_version)
            pin(
                connection,
                name,
                versions,
                description=made.description,
                created_by=made.created_by,
            )
            row = {**vars(made), "tags": json.dumps(made.tags), "manifest": text}
            connection.execute(sa.insert(snapshots).values(row))
        return made

    def all(self) -> list[Snapshot]:
        """Return every snapshot, the oldest first."""
        shown = [snapshots.c[name] for name in Snapshot.__dataclass_fields__]
        query = sa.select(*shown).order_by(snapshots.c.created_at, snapshots.c.name)
        rows = self._database.rows(query)
        return [Snapshot(**{**row, "tags": json.loads(row["tags"])}) for row in rows]

    def get(self, name: str) -> Snapshot:
        """Return one snapshot."""
        every = {each.name: each for each in self.all()}
        if name not in every:
            raise SnapshotNotFound(name, every)
        return every[name]

    def manifest(self, name: str) -> dict[str, Any]:
        """Return what a snapshot holds."""
        found = self.get(name)
        with self._database.read() as connection:
            query = sa.select(snapshots.c.manifest).where(snapshots.c.name == found.name)
            manifest: dict[str, Any] = json.loads(connection.execute(query).scalar_one())
        return manifest

    def remove(self, name: str) -> None:
        """Forget a snapshot and let go of what it pins."""
        with self._database.write() as connection:
            append(connection, "delete", f"snapshot {name}")
            release(connection, name, "snapshot")
            connection.execute(sa.delete(snapshots).where(snapshots.c.name == name))

"""Pins: which table versions a snapshot holds."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import sqlalchemy as sa

from feature_store_assets.errors import NameTaken, SnapshotNotFound
from feature_store_assets.registry.audit import append
from feature_store_assets.registry.database import pins

if TYPE_CHECKING:
    from collections.abc import Sequence

    from feature_store_assets.registry.database import Database


# Other pins than snapshots: the names of these hold no colon.
_TRAINING_SET = "training-set:"


def training_pin(name: str) -> str:
    """Return the name under which a training set's tables are pinned."""
    return f"{_TRAINING_SET}{name}"


@dataclass(frozen=True)
class Pin:
    """One group as a snapshot holds it; or a training set, or an export or backup under way."""

    snapshot: str
    feature_group: str
    group_version: int
    table_version: int
    description: str
    created_by: str
    created_at: datetime

    @property
    def of_snapshot(self) -> bool:
        return ":" not in self.snapshot

    @property
    def training_set(self) -> str | None:
        """The training set that holds it; None if that is a snapshot."""
        name = self.snapshot.removeprefix(_TRAINING_SET)
        return None if name == self.snapshot else name


class Pins:
    """The table of pins.

    Parameters
    ----------
    database
        The registry's database.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(
        self,
        snapshot: str,
        versions: Sequence[tuple[str, int, int]],
        *,
        description: str,
        created_by: str,
    ) -> None:
        """Pin groups under a new name, all of them or none.

        Parameters
        ----------
        versions
            (group, its version, table version) of each.

        Raises
        ------
        NameTaken
            Snapshots are immutable.
        """
        with self._database.write() as connection:
            pin(connection, snapshot, versions, description=description, created_by=created_by)

    def remove(self, snapshot: str) -> None:
        """Let go of what a name pins; nothing happens if it pins nothing."""
        with self._database.write() as connection:
            append(connection, "unpin", f"snapshot {snapshot}")
            connection.execute(sa.delete(pins).where(pins.c.snapshot == snapshot))

    def all(self) -> list[Pin]:
        """Return every pin, oldest first."""
        if not self._database.exists:
            return []
        query = sa.select(pins).order_by(pins.c.created_at, pins.c.snapshot, pins.c.feature_group)
        with self._database.read() as connection:
            return [Pin(**row) for row in connection.execute(query).mappings()]

    def of(self, snapshot: str) -> list[Pin]:
        """Return the pins of one snapshot."""
        every = self.all()
        found = [pin for pin in every if pin.snapshot == snapshot]
        if not found:
            raise SnapshotNotFound(snapshot, {pin.snapshot for pin in every})
        return found

    def of_group(self, group: str, version: int) -> list[Pin]:
        """Return every pin of one version of a group."""
        return [
            pin for pin in self.all() if (pin.feature_group, pin.group_version) == (group, version)
        ]


def pin(
    connection: sa.Connection,
    snapshot: str,
    versions: Sequence[tuple[str, int, int]],
    *,
    description: str,
    created_by: str,
) -> None:
    """Pin groups within a transaction, as `Pins.add` does."""
    taken = sa.select(pins.c.snapshot).where(pins.c.snapshot == snapshot).limit(1)
    if connection.execute(taken).first():
        raise NameTaken(snapshot)
    tables = {f"{group} v{number}": version for group, number, version in versions}
    append(connection, "pin", f"snapshot {snapshot}", tables)
    now = datetime.now(UTC)
    for group, group_version, table_version in versions:
        connection.execute(
            sa.insert(pins).values(
                snapshot=snapshot,
                feature_group=group,
                group_version=group_version,
                table_version=table_version,
                description=description,
                created_by=created_by,
                created_at=now,
            )
        )

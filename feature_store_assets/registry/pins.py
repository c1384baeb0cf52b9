"""Pins: which table versions a snapshot, a training set, an export or a backup holds."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

import sqlalchemy as sa

from feature_store_assets.errors import NameTaken, SnapshotNotFound
from feature_store_assets.registry.audit import append
from feature_store_assets.registry.database import pins

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from feature_store_assets.registry.database import Database


OwnerKind = Literal["snapshot", "training_set", "export", "backup"]

# How an owner that is no snapshot is named in `as_of`; before schema 0010 also in the table.
_PREFIXES: Mapping[str, OwnerKind] = {
    "training-set": "training_set",
    "export": "export",
    "backup": "backup",
}


def training_pin(name: str) -> str:
    """Return the name by which `as_of` takes the tables that a training set pins."""
    return f"training-set:{name}"


def owner_of(name: str) -> tuple[OwnerKind, str]:
    """Return the kind and the own name of what `as_of` names.

    Examples
    --------
    >>> owner_of("churn-2024"), owner_of("training-set:churn")
    (('snapshot', 'churn-2024'), ('training_set', 'churn'))
    """
    prefix, _, owner = name.partition(":")
    kind = _PREFIXES.get(prefix)
    return ("snapshot", name) if kind is None or not owner else (kind, owner)


@dataclass(frozen=True)
class Pin:
    """One group as a snapshot or training set holds it; or an export or backup under way."""

    owner_kind: OwnerKind
    owner: str
    feature_group: str
    group_version: int
    table_version: int
    description: str
    created_by: str
    created_at: datetime

    @property
    def of_snapshot(self) -> bool:
        return self.owner_kind == "snapshot"

    @property
    def lasting(self) -> bool:
        """Whether it is a snapshot's or training set's: `as_of` takes its name."""
        return self.owner_kind in {"snapshot", "training_set"}

    @property
    def name(self) -> str:
        """The name by which `as_of` takes it."""
        return training_pin(self.owner) if self.owner_kind == "training_set" else self.owner


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
        owner: str,
        versions: Sequence[tuple[str, int, int]],
        *,
        kind: OwnerKind = "snapshot",
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
        told = {"description": description, "created_by": created_by}
        with self._database.write() as connection:
            pin(connection, owner, versions, kind=kind, **told)

    def remove(self, owner: str, kind: OwnerKind = "snapshot") -> None:
        """Let go of what an owner pins; nothing happens if it pins nothing."""
        with self._database.write() as connection:
            unpin(connection, owner, kind)

    def all(self) -> list[Pin]:
        """Return every pin, oldest first."""
        query = sa.select(pins).order_by(pins.c.created_at, pins.c.owner, pins.c.feature_group)
        return [Pin(**row) for row in self._database.rows(query)]

    def of(self, name: str) -> list[Pin]:
        """Return the pins of one owner, named as `as_of` takes it."""
        every = self.all()
        found = [pin for pin in every if (pin.owner_kind, pin.owner) == owner_of(name)]
        if not found:
            raise SnapshotNotFound(name, {pin.name for pin in every if pin.lasting})
        return found

    def of_group(self, group: str, version: int) -> list[Pin]:
        """Return every pin of one version of a group."""
        return [
            pin for pin in self.all() if (pin.feature_group, pin.group_version) == (group, version)
        ]


def pin(
    connection: sa.Connection,
    owner: str,
    versions: Sequence[tuple[str, int, int]],
    *,
    kind: OwnerKind = "snapshot",
    description: str,
    created_by: str,
) -> None:
    """Pin groups within a transaction, as `Pins.add` does."""
    taken = sa.select(pins.c.owner).where(*_of(owner, kind)).limit(1)
    if connection.execute(taken).first():
        raise NameTaken(owner, kind.replace("_", " "))
    tables = {f"{group} v{number}": version for group, number, version in versions}
    append(connection, "pin", _shown(owner, kind), tables)
    now = datetime.now(UTC)
    for group, group_version, table_version in versions:
        made = Pin(
            kind, owner, group, group_version, table_version, description, created_by, now
        )  # fmt: skip
        connection.execute(sa.insert(pins).values(asdict(made)))


def unpin(connection: sa.Connection, owner: str, kind: OwnerKind) -> None:
    """Let go of what an owner pins, within a transaction."""
    append(connection, "unpin", _shown(owner, kind))
    release(connection, owner, kind)


def release(connection: sa.Connection, owner: str, kind: OwnerKind) -> int:
    """Take out the pins of an owner; return how many there were.

    The audit log is told of what the caller does.
    """
    return connection.execute(sa.delete(pins).where(*_of(owner, kind))).rowcount


def _of(owner: str, kind: OwnerKind) -> tuple[sa.ColumnElement[bool], ...]:
    return pins.c.owner_kind == kind, pins.c.owner == owner


def _shown(owner: str, kind: OwnerKind) -> str:
    return f"{kind.replace('_', ' ')} {owner}"

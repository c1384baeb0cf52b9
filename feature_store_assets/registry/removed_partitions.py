"""What retention removed: so that a read says so, and a killed removal is taken up again."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import sqlalchemy as sa

from feature_store_assets.registry.audit import append
from feature_store_assets.registry.database import floors, pins, removals

if TYPE_CHECKING:
    from collections.abc import Sequence

    from feature_store_assets.registry.database import Database


@dataclass(frozen=True)
class Removal:
    """A partition that is outside retention.

    Attributes
    ----------
    first, last
        The event times that it held; both included.
    rows, bytes
        Of its newest version.
    table_version
        Of the commit that removed it; None where that has not happened, or is not known to have.
    freed_at
        When its files were gone from disk, but for those that a snapshot pins.
    """

    feature_group: str
    group_version: int
    partition: str
    first: datetime | None
    last: datetime | None
    rows: int
    bytes: int
    removed_at: datetime
    table_version: int | None = None
    freed_at: datetime | None = None


class Removals:
    """The table of removed partitions.

    Parameters
    ----------
    database
        The registry's database.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def intend(self, planned: Sequence[Removal]) -> None:
        """Record what is about to be removed, before anything is."""
        if not planned:
            return
        named = planned[0]
        told = {
            "version": named.group_version,
            "partitions": len(planned),
            "rows": sum(each.rows for each in planned),
        }
        with self._database.write() as connection:
            append(connection, "retain", f"group {named.feature_group}", told)
            for each in planned:
                connection.execute(sa.delete(removals).where(*_this(each)))
            connection.execute(sa.insert(removals), [asdict(each) for each in planned])

    def committed(self, removed: Sequence[Removal], table_version: int) -> None:
        """Record the commit that removed partitions: whatever is pinned later is no older."""
        group, version = removed[0].feature_group, removed[0].group_version
        with self._database.write() as connection:
            for each in removed:
                changed = sa.update(removals).where(*_this(each))
                connection.execute(changed.values(table_version=table_version))
            _raise_floor(connection, group, version, table_version)

    def raise_floor(self, feature_group: str, version: int, table_version: int) -> list[int]:
        """Let no snapshot pin an older version from now on; return those that are pinned."""
        with self._database.write() as connection:
            return _raise_floor(connection, feature_group, version, table_version)

    def freed(self, removed: Sequence[Removal]) -> None:
        """Record that the files are gone."""
        with self._database.write() as connection:
            for each in removed:
                changed = sa.update(removals).where(*_this(each))
                connection.execute(changed.values(freed_at=datetime.now(UTC)))

    def of(self, feature_group: str, version: int) -> list[Removal]:
        """Return what was removed of a group, by partition."""
        query = sa.select(removals).where(
            removals.c.feature_group == feature_group, removals.c.group_version == version
        )
        rows = self._database.rows(query.order_by(removals.c.partition))
        return [Removal(**row) for row in rows]


def floor_of(connection: sa.Connection, feature_group: str, version: int) -> int:
    """Return the oldest table version that may still be pinned."""
    query = sa.select(floors.c.table_version).where(
        floors.c.feature_group == feature_group, floors.c.group_version == version
    )
    return connection.execute(query).scalar() or 0


def _raise_floor(
    connection: sa.Connection, feature_group: str, version: int, table_version: int
) -> list[int]:
    this = (floors.c.feature_group == feature_group, floors.c.group_version == version)
    if table_version > floor_of(connection, feature_group, version):
        connection.execute(sa.delete(floors).where(*this))
        connection.execute(
            sa.insert(floors).values(
                feature_group=feature_group, group_version=version, table_version=table_version
            )
        )
    pinned = sa.select(pins.c.table_version).where(
        pins.c.feature_group == feature_group, pins.c.group_version == version
    )
    return sorted(set(connection.execute(pinned).scalars()))


def _this(removal: Removal) -> tuple[sa.ColumnElement[bool], ...]:
    return (
        removals.c.feature_group == removal.feature_group,
        removals.c.group_version == removal.group_version,
        removals.c.partition == removal.partition,
    )

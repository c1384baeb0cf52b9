"""Snapshots: table versions under a name, readable for ever.

A snapshot copies nothing. Retention and vacuum keep the files that a pinned version needs.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from feature_store_assets.declaration.group import FeatureGroup
from feature_store_assets.errors import DataError, SnapshotNotFound, VersionExpired
from feature_store_assets.offline.delta import OfflineTable
from feature_store_assets.registry.pins import Pin, Pins

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,127}")


@dataclass(frozen=True)
class Snapshots:
    """The snapshots of a store.

    Parameters
    ----------
    pins
        Where they are recorded.
    time_travel
        How long unpinned versions stay readable by date.
    """

    pins: Pins
    time_travel: timedelta

    def create(
        self,
        name: str,
        tables: Sequence[tuple[FeatureGroup, OfflineTable]],
        *,
        description: str = "",
        created_by: str = "",
    ) -> list[Pin]:
        """Pin tables at their newest versions.

        Raises
        ------
        NameTaken
            A snapshot of that name exists.
        """
        name = _checked(name)
        versions = [(group.name, group.version, table.version()) for group, table in tables]
        self.pins.add(name, versions, description=description, created_by=created_by)
        return self.pins.of(name)

    def version(
        self, group: FeatureGroup, table: OfflineTable, as_of: str | datetime | None
    ) -> int | None:
        """Return the table version that a snapshot's name or an instant means, None for newest.

        Raises
        ------
        SnapshotNotFound
            No snapshot has that name, or it does not hold the group.
        VersionExpired
            The instant is further back than time travel reaches.
        """
        if as_of is None:
            return None
        if isinstance(as_of, datetime):
            as_of = as_of.astimezone(UTC)
            if datetime.now(UTC) - as_of > self.time_travel:
                raise VersionExpired(group.name, as_of, self._nearest(group, as_of))
            return table.version_at(as_of)
        for pin in self.pins.of(as_of):
            if (pin.feature_group, pin.group_version) == (group.name, group.version):
                return pin.table_version
        holders = {pin.snapshot for pin in self.pins.of_group(group.name, group.version)}
        raise SnapshotNotFound(f"{as_of}' with '{group.name}", holders)

    def _nearest(self, group: FeatureGroup, moment: datetime) -> str | None:
        held = self.pins.of_group(group.name, group.version)
        near = min(held, key=lambda pin: abs(pin.created_at - moment), default=None)
        return None if near is None else near.snapshot


def _checked(name: str) -> str:
    """Snapshot names may hold dots and dashes, as in churn-2024-06."""
    if not _NAME.fullmatch(name):
        raise DataError(
            f"'{name}' cannot name a snapshot: use up to 128 letters, digits, '_', '-' and '.', "
            f"starting with a letter."
        )
    return name

"""Snapshots: table versions under a name, readable for ever.

A snapshot copies nothing. Retention, compaction and vacuum keep the files that it pins.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from feature_store_assets.declaration.feature import checked_label
from feature_store_assets.declaration.instants import utc
from feature_store_assets.errors import (
    SnapshotDamaged,
    SnapshotNeeded,
    SnapshotNotFound,
    VersionExpired,
    WriteConflict,
)
from feature_store_assets.snapshots.manifest import About, digests, held, manifest_of, problems

if TYPE_CHECKING:
    from feature_store_assets.declaration.group import FeatureGroup
    from feature_store_assets.offline.table import OfflineTable
    from feature_store_assets.registry.holds import Holds
    from feature_store_assets.registry.pins import Pin, Pins
    from feature_store_assets.registry.snapshots import Snapshot, SnapshotTable
    from feature_store_assets.snapshots.manifest import Describe

_ATTEMPTS = 5
_KEEP = "keep"


@dataclass(frozen=True)
class Snapshots:
    """The snapshots of a store.

    Parameters
    ----------
    table, pins, holds
        Where they, the versions that they need, and what must stay are recorded.
    time_travel
        How long unpinned versions stay readable by date.
    """

    table: SnapshotTable
    pins: Pins
    holds: Holds
    time_travel: timedelta

    def create(
        self,
        about: About,
        tables: Sequence[tuple[FeatureGroup, OfflineTable]],
        describe: Describe = lambda _group, _partitions: {},
    ) -> Snapshot:
        """Pin tables at their newest versions.

        Parameters
        ----------
        describe
            Returns the statistics that the manifest keeps.

        Raises
        ------
        NameTaken
            A snapshot of that name exists.
        WriteConflict
            Retention removed partitions at each attempt.
        """
        checked_label(about.name, "snapshot", 128)
        known = [self._known(group) for group, _ in tables]
        for _ in range(_ATTEMPTS):
            try:
                groups = [
                    held(group, table, describe, digested)
                    for (group, table), digested in zip(tables, known, strict=True)
                ]
                return self.table.add(manifest_of(about, groups))
            except (FileNotFoundError, VersionExpired):
                continue  # the newest version is another one by now
        raise WriteConflict(tables[0][0].name, _ATTEMPTS)

    def _known(self, group: FeatureGroup) -> dict[str, tuple[int, str]]:
        """The digests that the newest snapshot of a group holds."""
        recorded = {each.name for each in self.table.all()}
        pins = self.pins.of_group(group.name, group.version)
        newest = [pin.owner for pin in pins if pin.of_snapshot and pin.owner in recorded][-1:]
        return digests(self.of_group(newest[0], group)) if newest else {}

    def of_group(self, name: str, group: FeatureGroup) -> dict[str, Any]:
        """Return what the manifest of a snapshot says of a group.

        Raises
        ------
        SnapshotNotFound
            No snapshot has that name, or it does not hold the group.
        """
        for each in self.table.manifest(name)["groups"]:
            if (each["group"], each["version"]) == (group.name, group.version):
                found: dict[str, Any] = each
                return found
        raise self._lacking(name, group)

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
            as_of = utc(as_of, "as_of")
            if datetime.now(UTC) - as_of > self.time_travel:
                raise VersionExpired(group.name, as_of, self._nearest(group, as_of))
            return table.version_at(as_of)
        for pin in self.pins.of(as_of):
            if (pin.feature_group, pin.group_version) == (group.name, group.version):
                return pin.table_version
        raise self._lacking(as_of, group)

    def _lacking(self, name: str, group: FeatureGroup) -> SnapshotNotFound:
        return SnapshotNotFound(f"{name}' with '{group.name}", self.holding(group))

    def holding(self, group: FeatureGroup) -> list[str]:
        """Return the snapshots and training sets that pin a group, the oldest first."""
        return [pin.name for pin in self._lasting(group)]

    def _lasting(self, group: FeatureGroup) -> list[Pin]:
        return [pin for pin in self.pins.of_group(group.name, group.version) if pin.lasting]

    def _nearest(self, group: FeatureGroup, moment: datetime) -> str | None:
        pinned = self._lasting(group)
        near = min(pinned, key=lambda pin: abs(pin.created_at - moment), default=None)
        return None if near is None else near.name

    def verify(self, name: str, tables: Mapping[tuple[str, int], OfflineTable]) -> int:
        """Compare each file that a snapshot pins with its digest; return how many there are.

        Parameters
        ----------
        tables
            The tables of its groups, by name and version.

        Raises
        ------
        SnapshotDamaged
            Files are gone or changed.
        """
        manifest = self.table.manifest(name)
        found: list[str] = []
        for each in manifest["groups"]:
            place = (each["group"], each["version"])
            found += [f"{each['group']}: {what}" for what in problems(each, tables[place])]
        if found:
            raise SnapshotDamaged(name, found)
        return sum(len(each["files"] or ()) for each in manifest["groups"])

    def delete(self, name: str) -> None:
        """Forget a snapshot; retention may remove what it alone pinned.

        Raises
        ------
        SnapshotNeeded
            A legal hold is on it, or on one of its groups; nothing was changed.
        """
        self.check_unneeded(name)
        self.table.remove(name)

    def check_unneeded(self, name: str, by: Sequence[str] = ()) -> None:
        """Refuse to go on where something needs a snapshot.

        Parameters
        ----------
        by
            What needs it beside legal holds: models.
        """
        manifest = self.table.manifest(name)
        named = [("snapshot", name), *(("group", each["group"]) for each in manifest["groups"])]
        held = [
            f"the legal hold on {hold.kind} '{hold.name}' ({hold.reason})"
            for hold in self.holds.all()
            if (hold.kind, hold.name) in named
        ]
        if by or held:
            raise SnapshotNeeded(name, [*by, *held])

    def outdated(self, now: datetime, *, days: float | None, last: int | None) -> list[Snapshot]:
        """Return the snapshots that need not be kept, the oldest first.

        Parameters
        ----------
        days
            Younger ones are kept; None for no limit.
        last
            The newest so many of each group are kept; None if their number does not count.
        """
        if days is None and last is None:
            return []
        every = self.table.all()
        newest = set[str]()
        if last is not None:
            by_group: dict[tuple[str, int], list[str]] = {}
            names = {each.name for each in every}
            for pin in self.pins.all():
                if pin.of_snapshot and pin.owner in names:
                    place = (pin.feature_group, pin.group_version)
                    by_group.setdefault(place, []).append(pin.owner)
            newest = {name for held_by in by_group.values() for name in held_by[-last:]}
        oldest = None if days is None else now - timedelta(days=days)
        return [
            each
            for each in every
            if each.name not in newest
            and _KEEP not in each.tags
            and (oldest is None or each.created_at < oldest)
        ]

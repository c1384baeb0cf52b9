"""Retention: what is older than its group keeps goes, and nothing that is needed.

A partition goes in steps, each of which may be the last before a kill: it is recorded as about to
go; one commit takes it out of the table and rewrites nothing; readers of the version before have
their time; its files go, but for those that a snapshot pins. The next run takes up what was left,
and what a snapshot held that is deleted by then.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from feature_store_assets.declaration.instants import earlier
from feature_store_assets.offline.vacuum import Freed
from feature_store_assets.registry.removed_partitions import Removal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from feature_store_assets.declaration.group import FeatureGroup
    from feature_store_assets.offline.scan import DataFile
    from feature_store_assets.offline.table import OfflineTable
    from feature_store_assets.parts import Parts

_log = logging.getLogger(__name__)

# Superseded files stay at least so long, even without time travel.
_LEAST = timedelta(hours=1)


@dataclass(frozen=True)
class Plan:
    """What retention would do to one group.

    Attributes
    ----------
    removals
        The partitions that go.
    unfinished
        Those that a run began to remove which was killed.
    needed_online
        Partitions that are old enough, but hold the newest rows of so many entities that are
        still served.
    hold
        The reason of the legal hold by which all stays; empty without one.
    """

    group: FeatureGroup
    removals: tuple[Removal, ...] = ()
    unfinished: tuple[Removal, ...] = ()
    needed_online: Mapping[str, int] = field(default_factory=dict)
    hold: str = ""


@dataclass(frozen=True)
class Retained:
    """What retention did to one group, or would do.

    Attributes
    ----------
    partitions, rows, bytes
        What was removed from the newest version.
    files, bytes_freed
        What is gone from disk, superseded files included; zero in a dry run, but for the latter.
    files_left
        Files of removed partitions that a listing afterwards still finds: those that snapshots pin.
    needed_online, hold
        As in `Plan`.
    pinned_by
        The snapshots and training sets that hold versions of the table.
    online_rows_expired
        Online rows that were older than the group's ttl by a day; a dry run does not count them.
    """

    feature_group: str
    dry_run: bool
    partitions: tuple[str, ...]
    rows: int
    bytes: int
    files: int
    bytes_freed: int
    files_left: int
    needed_online: Mapping[str, int]
    hold: str
    pinned_by: tuple[str, ...]
    online_rows_expired: int = 0


@dataclass(frozen=True)
class Retention:
    """Removes what groups need not keep, offline and online."""

    parts: Parts

    def run(
        self, groups: Sequence[FeatureGroup], now: datetime, *, dry_run: bool
    ) -> list[Retained]:
        """Remove what is older than each group keeps, or only say what would go."""
        plans = [self.plan(each, now) for each in groups]
        if dry_run:
            return [
                self._done(plan, self._sweep(plan.group, dry_run=True), dry_run=True)
                for plan in plans
            ]
        removed = [(plan, self._remove(plan)) for plan in plans]
        if any(going for _, going in removed):
            grace = self.parts.config.removal_grace_seconds
            _log.info("Waiting %g s for those who still read the versions before.", grace)
            time.sleep(grace)
        return [
            self._done(
                plan,
                self._free(plan, going),
                self._sweep(plan.group, dry_run=False),
                dry_run=False,
                expired=self._expire(plan.group, now),
            )
            for plan, going in removed
        ]

    def plan(self, group: FeatureGroup, now: datetime) -> Plan:
        """Return what is older than a group keeps."""
        table = self.parts.table(group)
        if not table.exists:
            return Plan(group)
        hold = self.parts.holds.of("group", group.name)
        if hold is not None:
            return Plan(group, hold=hold.reason)
        here = _contents(group, table, now)
        live = {each.partition for each in here}
        unfinished = tuple(
            each
            for each in self.parts.removals.of(group.name, group.version)
            if each.freed_at is None and each.partition not in live
        )
        days = self.parts.config.retention_days
        keep = group.retention or (timedelta(days=days) if days else None)
        if keep is None:
            return Plan(group, unfinished=unfinished)
        least = earlier(now, keep)
        old = [each for each in here if each.last is not None and each.last < least]
        needed = _needed_online(group, table, old, now)
        going = tuple(each for each in old if each.partition not in needed)
        return Plan(group, going, unfinished, needed)

    def _remove(self, plan: Plan) -> tuple[Removal, ...]:
        """Take partitions out of the table; return them and what a killed run left."""
        going = (*plan.removals, *plan.unfinished)
        if not going:
            return ()
        group, removals = plan.group, self.parts.removals
        removals.intend(plan.removals)
        version = self.parts.table(group).remove([each.partition for each in plan.removals])
        removals.committed(going, version)
        _log.info("'%s': removed %d partitions.", group.name, len(going))
        if group.online:
            self.parts.publish(group, [each.partition for each in going])
        return tuple(replace(each, table_version=version) for each in going)

    def _free(self, plan: Plan, going: Sequence[Removal]) -> Freed:
        """Remove files of removed partitions, also of those whose snapshot is gone since."""
        group, removals = plan.group, self.parts.removals
        past = [] if plan.hold else removals.of(group.name, group.version)
        known = (*(each for each in past if each.freed_at is not None), *going)
        freed = Freed(0, 0)
        if until := {each.partition: each.table_version or 0 for each in known}:
            freed = self.parts.table(group).free(until, keep_versions=self._pinned(group))
        if going:
            removals.freed(going)
        return freed

    def _pinned(self, group: FeatureGroup) -> list[int]:
        pins = self.parts.snapshots.pins.of_group(group.name, group.version)
        return sorted({pin.table_version for pin in pins})

    def _sweep(self, group: FeatureGroup, *, dry_run: bool) -> Freed:
        """Remove superseded files that neither time travel nor a snapshot needs."""
        table = self.parts.table(group)
        if not table.exists or self.parts.holds.of("group", group.name) is not None:
            return Freed(0, 0)
        reach = max(self.parts.snapshots.time_travel, _LEAST)
        oldest = table.version_at(earlier(datetime.now(UTC), reach))
        pinned = (
            self._pinned(group)
            if dry_run
            else self.parts.removals.raise_floor(group.name, group.version, oldest)
        )
        return table.sweep(oldest=oldest, keep_versions=pinned, dry_run=dry_run)

    def _expire(self, group: FeatureGroup, now: datetime) -> int:
        """Remove online rows that are older than the group's ttl by a day."""
        return self.parts.serving.expire(group, now) if group.online else 0

    def _done(self, plan: Plan, *freed: Freed, dry_run: bool, expired: int = 0) -> Retained:
        return Retained(
            plan.group.name,
            dry_run,
            tuple(each.partition for each in plan.removals),
            sum(each.rows for each in plan.removals),
            sum(each.bytes for each in plan.removals),
            sum(each.files for each in freed),
            sum(each.bytes for each in freed),
            sum(each.left for each in freed),
            plan.needed_online,
            plan.hold,
            tuple(dict.fromkeys(self.parts.snapshots.holding(plan.group))),
            expired,
        )


def _contents(group: FeatureGroup, table: OfflineTable, now: datetime) -> list[Removal]:
    """Return what each partition holds, by the log's statistics alone."""
    by_partition: dict[str, list[DataFile]] = {}
    for file in table.files():
        by_partition.setdefault(file.partition, []).append(file)
    return [
        Removal(
            group.name,
            group.version,
            partition,
            min((file.first for file in files if file.first is not None), default=None),
            max((file.last for file in files if file.last is not None), default=None),
            sum(file.rows for file in files),
            sum(file.bytes for file in files),
            now,
        )
        for partition, files in by_partition.items()
    ]


def _needed_online(
    group: FeatureGroup, table: OfflineTable, old: Sequence[Removal], now: datetime
) -> dict[str, int]:
    """Return how many entities' newest rows lie in old partitions and are still served."""
    if not group.online or not old:
        return {}
    if group.ttl is not None:
        served = earlier(now, group.ttl)
        old = [each for each in old if each.last is not None and each.last >= served]
    if not old:
        return {}
    import pyarrow.compute as pc

    version = table.version()
    partitions = [each.partition for each in old]
    keys = table.rows(version=version, partitions=partitions, columns=table.keys)
    newest = table.newest(version=version, until=now, keys=keys, columns=[])
    if group.ttl is not None:
        newest = newest.filter(pc.field(table.timestamp) >= earlier(now, group.ttl))
    counts = Counter(newest["partition"].to_pylist())
    return {partition: counts[partition] for partition in partitions if counts[partition]}

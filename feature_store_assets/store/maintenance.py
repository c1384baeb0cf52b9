"""Maintenance of what is stored: legal holds, retention, compaction."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

from feature_store_assets.errors import SnapshotNeeded
from feature_store_assets.maintenance.compaction import FILES, Compacted, compact
from feature_store_assets.maintenance.retention import Retained, Retention
from feature_store_assets.store.facade import Facade
from feature_store_assets.store.snapshots import check_unneeded, delete

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from feature_store_assets.declaration.group import FeatureGroup
    from feature_store_assets.registry.holds import Held, Hold


@dataclass(frozen=True)
class Forgotten:
    """What was too old to keep: names of snapshots, and how many of the others."""

    snapshots: tuple[str, ...]
    quarantined: int
    statistics: int
    usage: int


class MaintenanceVerbs(Facade):
    """Keeps what is stored, and no longer than it should be."""

    # Legal holds

    def hold(self, kind: Held, name: str, reason: str) -> Hold:
        """Keep a group from retention, or a snapshot from being deleted, until the hold is lifted.

        Parameters
        ----------
        kind, name
            `"group"` or `"snapshot"`, and its name.
        reason
            Told to whoever would remove it.
        """
        if kind == "group":
            self.applied.group(name)
        else:
            self.snapshots.table.get(name)
        return self.holds.place(kind, name, reason)

    def lift_hold(self, kind: Held, name: str) -> None:
        """Lift a legal hold."""
        self.holds.lift(kind, name)

    # Retention and compaction

    def retain(
        self,
        feature_groups: Sequence[str] | None = None,
        *,
        dry_run: bool = True,
        now: datetime | None = None,
    ) -> list[Retained]:
        """Remove partitions older than their group keeps, and files that nothing needs any more.

        What goes: by event time, whole partitions; never the newest row of an entity that is
        still served, never what a snapshot or legal hold pins. A kept file is never rewritten.
        Online rows that are older than their ttl by a day go as well.

        Parameters
        ----------
        feature_groups
            Their names; all by default.
        dry_run
            Only say what would go.
        now
            The instant from which ages count.
        """
        groups = self._chosen(feature_groups)
        return Retention(self.parts).run(groups, now or datetime.now(UTC), dry_run=dry_run)

    def _chosen(self, names: Sequence[str] | None) -> list[FeatureGroup]:
        return self.groups() if names is None else [self.applied.group(name) for name in names]

    def forget_outdated(self, *, dry_run: bool = True, now: datetime | None = None) -> Forgotten:
        """Remove snapshots, quarantined partitions, statistics and usage as old as settings say.

        Parameters
        ----------
        dry_run
            Only say what would go.
        now
            The instant from which ages count.
        """
        now, config = now or datetime.now(UTC), self.config
        outdated = self.snapshots.outdated(
            now, days=config.snapshot_keep_days, last=config.snapshot_keep_last
        )
        snapshots = []
        for each in outdated:
            with suppress(SnapshotNeeded):
                if dry_run:
                    check_unneeded(self.parts, each.name)
                else:
                    delete(self.parts, each.name)
                snapshots.append(each.name)
        statistics = 0
        if (before := _before(now, config.statistics_retention_days)) is not None:
            for group in self.groups():
                live = self.table(group).partitions()
                statistics += self.review.statistics.forget(
                    group.name, group.version, live, before, dry_run=dry_run
                )
        quarantine = usage = 0
        if (before := _before(now, config.quarantine_retention_days)) is not None:
            quarantine = self.review.quarantine.forget(before, dry_run=dry_run)
        if (before := _before(now, config.usage_retention_days)) is not None:
            usage = self.usage.forget(before, dry_run=dry_run)
        return Forgotten(tuple(snapshots), quarantine, statistics, usage)

    def compact(
        self,
        feature_groups: Sequence[str] | None = None,
        *,
        at_least: int = FILES,
        told: Callable[[str], object] = lambda _: None,
    ) -> list[Compacted]:
        """Write partitions that lie in many small files into one file each, with equal rows.

        Parameters
        ----------
        feature_groups
            Their names; all by default.
        at_least
            How many small files a partition has to have.
        told
            Hears of each portion that was committed.
        """
        tables = {each.name: self.table(each) for each in self._chosen(feature_groups)}
        done = partial(compact, at_least=at_least, told=told)
        return [done(name, table) for name, table in tables.items() if table.exists]


def _before(now: datetime, days: int | None) -> datetime | None:
    return None if days is None else now - timedelta(days=days)

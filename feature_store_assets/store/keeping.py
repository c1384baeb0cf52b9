"""Keeping what is stored: snapshots, legal holds, retention, compaction."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from feature_store_assets.errors import SnapshotNeeded
from feature_store_assets.maintenance.compaction import FILES, Compacted, compact
from feature_store_assets.maintenance.retention import Retained, Retention
from feature_store_assets.snapshots.difference import Sides, difference
from feature_store_assets.snapshots.manifest import About
from feature_store_assets.store.facade import Facade

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from feature_store_assets.declaration.group import FeatureGroup
    from feature_store_assets.registry.holds import Held, Hold
    from feature_store_assets.registry.pins import Pin
    from feature_store_assets.registry.snapshots import Snapshot


@dataclass(frozen=True)
class Forgotten:
    """What was too old to keep: names of snapshots, and how many of the others."""

    snapshots: tuple[str, ...]
    quarantined: int
    statistics: int
    usage: int


class Keeping(Facade):
    """Keeps what is stored, and no longer than it should be."""

    # Snapshots

    def create_snapshot(
        self,
        features: Any,
        name: str,
        *,
        description: str = "",
        created_by: str = "",
        tags: Mapping[str, str] | None = None,
    ) -> str:
        """Pin the tables of a view, a group or a list of them under a name, for ever.

        Nothing is copied. The manifest keeps the digest of each file, the definitions and the
        statistics.

        Parameters
        ----------
        tags
            With a tag `keep` the snapshot outlives `snapshot_keep_days` and `snapshot_keep_last`.

        Raises
        ------
        NameTaken
            Snapshots never change.
        """
        made = self.pin(features, name, description=description, created_by=created_by, tags=tags)
        self.lineage.report_snapshot(made)
        return name

    def create_feature_snapshot(
        self, feature_group: str, snapshot_name: str, *, description: str = "", created_by: str = ""
    ) -> str:
        """Pin one group's table under a name, for ever, as `create_snapshot` does."""
        return self.create_snapshot(
            feature_group, snapshot_name, description=description, created_by=created_by
        )

    def pin(
        self,
        features: Any,
        name: str,
        *,
        description: str = "",
        created_by: str = "",
        tags: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """Create a snapshot of which the caller tells Dagster; return its manifest."""
        asked = (
            [features]
            if isinstance(features, str) or not hasattr(features, "__iter__")
            else features
        )
        resolved = [self.applied.resolve(each) for each in asked]
        groups = {
            (chosen.group.name, chosen.group.version): chosen.group
            for each in resolved
            for chosen in each.parts
        }
        view = resolved[0].view if len(resolved) == 1 else None
        shown = None if view is None else view.to_json()
        self.snapshots.create(
            About(name, description, created_by or self.actor.name, tags, shown),
            [(group, self.parts.filled(group)) for group in groups.values()],
            self.review.summary,
        )
        return self.snapshot_manifest(name)

    def list_snapshots(self) -> list[Snapshot]:
        """Return the snapshots, the oldest first."""
        return self.snapshots.table.all()

    def snapshot_manifest(self, name: str) -> dict[str, Any]:
        """Return what a snapshot holds: groups, definitions, statistics, digests of files."""
        return self.snapshots.table.manifest(name)

    def pins(self) -> list[Pin]:
        """Return the table versions that snapshots and training sets hold, the oldest first."""
        return self.snapshots.pins.all()

    def verify_snapshot(self, name: str) -> int:
        """Compare each file of a snapshot with the digest that it had; return how many there are.

        Raises
        ------
        SnapshotDamaged
            Naming the files that are gone or changed.
        """
        groups = self._pinned(name)
        return self.snapshots.verify(name, {key: self.table(each) for key, each in groups.items()})

    def compare_snapshots(self, before: str, after: str) -> dict[str, Any]:
        """Return what differs between two snapshots.

        Returns
        -------
        `{"before", "after", "groups", "only_before", "only_after"}`. Of each group that both hold:
        `{"group", "version", "table_versions", "rows": {"before", "after", "added", "removed",
        "changed"}, "changed": {feature: rows}, "partitions", "shift": {feature: {metric: value}}}`.
        A row is a fact, keys and event time; a metric is one of `Drift`.
        """
        one, other = self._pinned(before), self._pinned(after)
        shared = []
        for key in sorted({*one} & {*other}):
            group = self.applied.group(*key)
            table = self.parts.filled(group)
            versions = (self._version(each, group) for each in (before, after))
            shared.append(difference(Sides(group, table, *versions), self.review.shift))
        return {
            "before": before,
            "after": after,
            "groups": shared,
            "only_before": sorted(f"{name} v{number}" for name, number in {*one} - {*other}),
            "only_after": sorted(f"{name} v{number}" for name, number in {*other} - {*one}),
        }

    def _version(self, snapshot: str, group: FeatureGroup) -> int:
        found: int = self.snapshots.of_group(snapshot, group)["table_version"]
        return found

    def _pinned(self, name: str) -> dict[tuple[str, int], FeatureGroup]:
        held = self.snapshots.table.manifest(name)["groups"]
        places = [(each["group"], each["version"]) for each in held]
        return {place: self.applied.group(*place) for place in places}

    def delete_snapshot(self, name: str) -> None:
        """Forget a snapshot; retention removes the files that nothing else needs.

        Raises
        ------
        SnapshotNeeded
            A logged model was trained on it, or a legal hold is on it or on one of its groups.
        """
        self._check_unneeded(name)
        manifest = self.snapshot_manifest(name)
        self.snapshots.delete(name)
        self.lineage.report_snapshot(manifest, deleted=True)

    def _check_unneeded(self, name: str) -> None:
        models = [
            f"model '{model.name}'"
            for model in self.lineage.models.all()
            if self.parts.training_set(model.training_set).manifest.get("snapshot") == name
        ]
        self.snapshots.check_unneeded(name, models)

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
                    self._check_unneeded(each.name)
                else:
                    self.delete_snapshot(each.name)
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

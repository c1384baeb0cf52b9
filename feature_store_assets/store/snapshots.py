"""Snapshots: pin tables, verify, compare and delete what is pinned."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from feature_store_assets.snapshots.difference import Sides, difference
from feature_store_assets.snapshots.manifest import About
from feature_store_assets.store.facade import Facade

if TYPE_CHECKING:
    from collections.abc import Mapping

    from feature_store_assets.declaration.group import FeatureGroup
    from feature_store_assets.parts import Parts
    from feature_store_assets.registry.pins import Pin
    from feature_store_assets.registry.snapshots import Snapshot


class SnapshotVerbs(Facade):
    """Pins tables under a name."""

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
        delete(self.parts, name)


def delete(parts: Parts, name: str) -> None:
    """Forget a snapshot that nothing needs, and tell Dagster of it."""
    check_unneeded(parts, name)
    manifest = parts.snapshots.table.manifest(name)
    parts.snapshots.delete(name)
    parts.lineage.report_snapshot(manifest, deleted=True)


def check_unneeded(parts: Parts, name: str) -> None:
    """Refuse to go on where a model, or a legal hold, needs a snapshot."""
    models = [
        f"model '{model.name}'"
        for model in parts.lineage.models.all()
        if parts.training_set(model.training_set).manifest.get("snapshot") == name
    ]
    parts.snapshots.check_unneeded(name, models)

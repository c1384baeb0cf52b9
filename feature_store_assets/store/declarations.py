"""Declarations: apply them, plan, find, describe, move on in life."""

from __future__ import annotations

from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from feature_store_assets.dagster_io.freshness import freshness
from feature_store_assets.declaration.feature import Feature
from feature_store_assets.declaration.group import FeatureGroup
from feature_store_assets.ingestion.push import (
    FeatureMetadata,
    FeatureType,
    drop,
    pushed_group,
    register,
)
from feature_store_assets.registry.declarations import Change, Declared
from feature_store_assets.registry.lifecycle import Stage, Standing
from feature_store_assets.registry.planning import Planned, plan
from feature_store_assets.registry.search import Filters, Freshness, Hit, search
from feature_store_assets.registry.summaries import (
    Card,
    FeatureSummary,
    GroupSummary,
    ViewSummary,
    changes,
    numbers,
)
from feature_store_assets.store.facade import Facade
from feature_store_assets.transfer.registry_state import (
    Imported,
    OnConflict,
    export_state,
    import_state,
)

if TYPE_CHECKING:
    from collections.abc import Mapping


class DeclarationVerbs(Facade):
    """Keeps what is declared."""

    def apply(self, *declarations: Declared) -> list[Change]:
        """Make declarations known: tables are created or extended, then all are recorded at once.

        Raises
        ------
        BreakingChange
            Stored rows cannot follow a change; nothing was applied.
        """
        changes = self.applied.apply(declarations, prepare=self.parts.prepare_table)
        self.serving.forget()
        return changes

    def plan(self, *declarations: Declared) -> list[Planned]:
        """Return what `apply` would change and what that touches; nothing is written."""
        return plan(self.applied, declarations, self.lineage.dependents())

    def search(
        self, text: str, filters: Filters | None = None, *, limit: int | None = None
    ) -> list[Hit]:
        """Find groups, features and views in which every word is found, the best first.

        Parameters
        ----------
        text
            Words, or how they begin; names, tags, owners and descriptions are searched.
        filters
            What else must be so.
        limit
            The best so many; all by default.
        """
        return search(
            self.parts.database,
            text,
            self.stages.reader(),
            filters or Filters(),
            freshness=self.freshness,
            limit=limit,
        )

    def usage_statistics(
        self, feature_group: str | None = None, *, days: int = 30
    ) -> list[dict[str, Any]]:
        """Return who read which features of late, the most read first.

        Parameters
        ----------
        feature_group
            Only its features.
        days
            Of the last so many days, today included.

        Returns
        -------
        `{"feature", "consumer", "path", "reads", "rows", "last_day"}`; a path is `online`, `http`,
        `training` or `offline`.
        """
        return [asdict(each) for each in self.usage.recent(feature_group, days=days)]

    def export_registry(self) -> dict[str, Any]:
        """Return the registry's state as JSON holds it: declarations, stages, pins, models, ...

        No tokens; the audit log is in it to be read.
        """
        self.usage.flush()
        return export_state(self.parts.database)

    def import_registry(
        self,
        state: Mapping[str, Any],
        *,
        on_conflict: OnConflict = "refuse",
        trust_code: bool = False,
    ) -> Imported:
        """Bring a state that was exported into this registry, all of it or nothing.

        Tables are created; rows do not come with it.

        Parameters
        ----------
        on_conflict
            What happens to things that are here under the same name, but otherwise: `"refuse"` the
            import, `"keep"` what is here, or `"replace"` it.
        trust_code
            Whether reads may run the functions by which the state's views compute features.
            Without it a state with functions that this store does not know is refused.

        Raises
        ------
        DataError
            The state is not what was exported.
        CodeNotTrusted
            Views name functions that this store does not know; nothing was written.
        ImportConflict
            Naming all that is here otherwise.
        """
        done = import_state(
            self.parts.database,
            state,
            on_conflict,
            prepare=self.parts.prepare_table,
            modules=self.config.request_modules,
            trust_code=trust_code,
        )
        self.serving.forget()
        return done

    def freshness(self, group: FeatureGroup) -> Freshness:
        """Tell whether a group is as young as it promises, by what its table holds.

        Of a group that promises nothing, or whose partitions have come to their end, it is
        unknown. Alerts go by the same rule, and by what Dagster heard of.
        """
        table, now = self.table(group), datetime.now(UTC)
        found = freshness(group, now, table.partitions, table.last_write)
        if found is not None and found.state != "fresh":
            # Partitions may have been written without a row, or be gone by retention.
            noted = self.review.statistics.partitions(group.name, group.version)
            gone = [each.partition for each in self.parts.removals.of(group.name, group.version)]
            every = {*table.partitions(), *noted, *gone}
            found = freshness(group, now, lambda: every, table.last_write)
        if found is None:
            return "unknown"
        return "stale" if found.state == "stale" else "fresh"

    def card(self, name: str) -> Card:
        """Return what there is to know of a group, a feature (`"group.feature"`) or a view."""
        stages, dependents = self.stages.reader(), self.lineage.dependents()
        owner, _, own = name.rpartition(".")
        group = self.applied.group(owner) if owner else self.applied.find(name)
        if group is None:
            self.applied.resolve(name)  # says what there is
            view = next(each for each in dependents.views if each.name == name)
            history, users = self.applied.history(name), dependents.of_view(name)
            return Card("view", ViewSummary.of(view, stages), users, changes(history))
        feature = own if owner else None
        whole = GroupSummary.of(group, stages)
        return Card(
            "feature" if owner else "group",
            FeatureSummary.of(group, group.feature(own), stages) if owner else whole,
            dependents.of_group(group.name, group.version, feature),
            () if owner else changes(self.applied.history(name)),
            whole if owner else None,
            self.freshness(group),
            tuple(
                repr(each)
                for each in group.all_expectations
                if feature is None or feature in each.columns
            ),
            numbers(group, self.review.statistics.of(group.name, group.version), feature),
            tuple(
                each
                for each in self.usage.recent(group.name)
                if feature is None or each.feature == name
            ),
        )

    def standing(self, name: str) -> Standing:
        """Return the stage of a group, a feature (`"group.feature"`) or a view."""
        return self.stages.of(self.applied.unmoved(name))

    def set_stage(self, name: str, stage: Stage, *, successor: str = "") -> Standing:
        """Move a group, a feature (`"group.feature"`) or a view on in its life.

        Parameters
        ----------
        stage
            draft -> active -> deprecated -> retired. A draft is served online only where it is
            named; what is deprecated is served with a warning; what is retired is not served, and
            its rows are kept until retention.
        successor
            What to use instead: named in the warning.

        Raises
        ------
        StageRefused
            No way leads there from where it stands.
        """
        moved = self.stages.move(self.applied.unmoved(name), stage, successor=successor)
        self.serving.forget()
        return moved

    def register_feature_group(self, group: FeatureGroup) -> FeatureGroup:
        """Apply one group that is pushed to; without partitions it is cut by event time."""
        if group.function is None and group.partitions is None:
            group = replace(group, partitions=self.parts.pushed(group.name).partitions)
        self.apply(group)
        return self.applied.group(group.name, group.version)

    def register_feature(
        self,
        name: str,
        *,
        feature_group: str,
        data_type: Any,
        description: str = "",
        feature_type: FeatureType | str = FeatureType.NUMERICAL,
        created_by: str = "",
        **bounds: Any,
    ) -> FeatureMetadata:
        """Add a feature to a pushed group; the group comes into being with its first feature.

        Parameters
        ----------
        name, feature_group, description
            The feature, and the group that holds it.
        data_type
            `"integer"`, `"float"`, `"string"`, ... or a Python type.
        feature_type, created_by
            Kept as tags.
        bounds
            Further arguments of `Feature`: ge, le, nullable, one_of, regex, pii, mask, ...
        """
        metadata = register(
            self.applied,
            self.parts.pushed(feature_group),
            Feature(name, data_type, description, **bounds),
            feature_type=feature_type,
            created_by=created_by,
            prepare=self.parts.prepare_table,
        )
        self.serving.forget()
        return metadata

    def drop_feature(self, name: str) -> FeatureGroup:
        """Take a draft or retired feature (`"group.feature"`) of a pushed group out for good.

        Its values cannot be read any more, and its name is free for another feature, also of
        another type. For a computed group take the feature out of the code, then `apply`.

        Returns
        -------
        The group as it is applied now.

        Raises
        ------
        FeatureNeeded
            The feature is active, or a view names it.
        """
        group = drop(self.applied, name, prepare=self.parts.prepare_table)
        self.serving.forget()
        return group

    def _pushed(self, name: str) -> FeatureGroup:
        return pushed_group(name, self.config.partitioning_columns)

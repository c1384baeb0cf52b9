"""What there is to know of a group, a feature or a view, as the CLI, HTTP and pages show it.

A summary holds what is declared, and the stage. A card adds what the store knows beside: users,
reads, changes, statistics.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, Self

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import timedelta

    from feature_store_assets.declaration.feature import Feature
    from feature_store_assets.declaration.group import FeatureGroup
    from feature_store_assets.declaration.view import FeatureView
    from feature_store_assets.quality.statistics import Profile
    from feature_store_assets.registry.declarations import Edit
    from feature_store_assets.registry.dependents import User
    from feature_store_assets.registry.lifecycle import Standings
    from feature_store_assets.registry.usage import Reads

_PARTITIONS = 10


@dataclass(frozen=True)
class FeatureSummary:
    """One feature of a group; its owners are the group's where it names none."""

    name: str
    type: str
    stage: str
    description: str
    pii: bool
    derived_from: tuple[str, ...]
    owners: tuple[str, ...]
    tags: dict[str, str]

    @classmethod
    def of(cls, group: FeatureGroup, feature: Feature, stages: Standings) -> Self:
        return cls(
            feature.name,
            feature.dtype,
            stages.feature(group, feature.name),
            feature.description,
            feature.pii,
            feature.derived_from,
            (feature.owner,) if feature.owner else group.owners,
            dict(feature.tags),
        )


@dataclass(frozen=True)
class GroupSummary:
    """One feature group in one version.

    Attributes
    ----------
    join_keys
        The entity's keys with their types, where these are declared.
    partitions
        How its table is cut: `daily`, `static`, ...; "" where it is not.
    reads
        The assets that its function reads.
    written_by
        `Dagster` or `pushes`.
    """

    name: str
    version: int
    stage: str
    description: str
    entity: str
    join_keys: dict[str, str | None]
    timestamp: str
    partitions: str
    reads: tuple[str, ...]
    written_by: str
    online: bool
    ttl_seconds: float | None
    freshness_seconds: float | None
    retention_seconds: float | None
    owners: tuple[str, ...]
    tags: dict[str, str]
    features: tuple[FeatureSummary, ...]

    @classmethod
    def of(cls, group: FeatureGroup, stages: Standings) -> Self:
        entity = group.entity
        return cls(
            group.name,
            group.version,
            stages.group(group),
            group.description,
            entity.name,
            dict(zip(entity.join_keys, entity.key_types, strict=True)),
            group.timestamp,
            group.partitions.kind if group.partitions else "",
            group.upstream,
            "Dagster" if group.materialized else "pushes",
            group.online,
            _seconds(group.ttl),
            _seconds(group.freshness),
            _seconds(group.retention),
            group.owners,
            dict(group.tags),
            tuple(FeatureSummary.of(group, each, stages) for each in group.features),
        )


@dataclass(frozen=True)
class ViewFeature:
    """A feature as a view names it, and the stored one, or `computed at request`."""

    name: str
    source: str


@dataclass(frozen=True)
class ViewSummary:
    """One view."""

    name: str
    stage: str
    description: str
    precompute: bool
    owners: tuple[str, ...]
    tags: dict[str, str]
    features: tuple[ViewFeature, ...]

    @classmethod
    def of(cls, view: FeatureView, stages: Standings) -> Self:
        stored = (
            ViewFeature(shown, f"{selection.group}.{name}")
            for selection in view.selections
            for name, shown in selection.features
        )
        computed = (ViewFeature(each.name, "computed at request") for each in view.computed)
        return cls(
            view.name,
            stages.view(view),
            view.description,
            view.precompute,
            view.owners,
            dict(view.tags),
            (*stored, *computed),
        )


@dataclass(frozen=True)
class Numbers:
    """Statistics of a feature in a partition; of personal ones only what is counted."""

    feature: str
    partition: str
    rows: int
    missing: float
    distinct: int | None
    mean: float | None = None
    minimum: float | None = None
    maximum: float | None = None

    @classmethod
    def of(cls, feature: Feature, partition: str, profile: Profile) -> Self:
        counts = profile.count, profile.missing_share, profile.distinct
        if feature.pii:  # by now; when it was counted it may not have been
            return cls(feature.name, partition, *counts)
        values = profile.mean, profile.minimum, profile.maximum
        return cls(feature.name, partition, *counts, *values)


@dataclass(frozen=True)
class Changed:
    """A change of a declaration."""

    when: str
    who: str
    change: str
    version: int


@dataclass(frozen=True)
class Card:
    """A group, a feature or a view with all that its users want to know of it.

    Attributes
    ----------
    group
        Of a feature: the group that it is in.
    freshness
        `fresh`, `stale` or `unknown`; "" of a view.
    expectations
        What its values must keep to.
    statistics
        Of a group's features in the newest partition; of a feature in the newest ones.
    """

    kind: Literal["group", "feature", "view"]
    summary: GroupSummary | FeatureSummary | ViewSummary
    used_by: tuple[User, ...]
    changes: tuple[Changed, ...] = ()
    group: GroupSummary | None = None
    freshness: str = ""
    expectations: tuple[str, ...] = ()
    statistics: tuple[Numbers, ...] = ()
    read_by: tuple[Reads, ...] = ()

    @property
    def name(self) -> str:
        """The name, of a feature `group.feature`."""
        of = f"{self.group.name}." if self.kind == "feature" and self.group else ""
        return of + self.summary.name

    @property
    def newest_partition(self) -> str | None:
        """The newest partition of which statistics are kept."""
        return self.statistics[-1].partition if self.statistics else None

    def to_json(self) -> dict[str, Any]:
        """Return all of it in one object; a user is a text, such as `view churn`."""
        rest = asdict(self)
        own, group = rest.pop("summary"), rest.pop("group")
        shown = {"kind": rest.pop("kind"), **own, "name": self.name}
        if group:
            shown |= {"version": group["version"], "entity": group["entity"]}
        return shown | rest | {"used_by": [str(each) for each in self.used_by]}


def numbers(
    group: FeatureGroup, kept: Mapping[str, Mapping[str, Profile]], feature: str | None = None
) -> tuple[Numbers, ...]:
    """Return statistics as a card shows them.

    Parameters
    ----------
    kept
        Profiles by partition, in order, and feature.
    feature
        In the newest partitions; by default all features in the newest one.
    """
    names = group.feature_names if feature is None else (feature,)
    most = 1 if feature is None else _PARTITIONS
    return tuple(
        Numbers.of(group.feature(name), partition, profiles[name])
        for partition, profiles in list(kept.items())[-most:]
        for name in names
        if name in profiles
    )


def changes(edits: Sequence[Edit]) -> tuple[Changed, ...]:
    """Return what a card shows of a declaration's history."""
    return tuple(
        Changed(edit.changed_at.isoformat(), edit.changed_by, edit.action, edit.version)
        for edit in edits
    )


def _seconds(span: timedelta | None) -> float | None:
    return None if span is None else span.total_seconds()

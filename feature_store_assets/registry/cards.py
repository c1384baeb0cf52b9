"""What is told of one group, feature or view: all that its users want to know of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from feature_store_assets.declaration.feature import Feature
    from feature_store_assets.declaration.group import FeatureGroup
    from feature_store_assets.declaration.view import FeatureView
    from feature_store_assets.quality.statistics import Profile
    from feature_store_assets.registry.applied import Edit
    from feature_store_assets.registry.stages import Standings


def group_card(
    group: FeatureGroup,
    stages: Standings,
    newest: tuple[str, Mapping[str, Profile]] | None,
    edits: Sequence[Edit],
    used_by: Sequence[str],
) -> dict[str, Any]:
    """Return the card of a group.

    Parameters
    ----------
    newest
        The newest partition whose statistics are kept, and they, by feature.
    edits
        Its changes, the first one first.
    used_by
        Views, snapshots, training sets and models: `view churn`.
    """
    partition, profiles = newest or (None, {})
    return {
        "kind": "group",
        "name": group.name,
        "version": group.version,
        "description": group.description,
        "stage": stages.group(group),
        "entity": group.entity.name,
        "join_keys": list(group.entity.join_keys),
        "timestamp": group.timestamp,
        "written_by": "Dagster" if group.materialized else "pushes",
        "reads": list(group.upstream),
        "online": group.online,
        "ttl": None if group.ttl is None else str(group.ttl),
        "freshness": None if group.freshness is None else str(group.freshness),
        "retention": None if group.retention is None else str(group.retention),
        "owners": list(group.owners),
        "tags": dict(group.tags),
        "newest_partition": partition,
        "features": [
            {
                "name": feature.name,
                "type": feature.dtype,
                "stage": stages.feature(group, feature.name),
                **_numbers(profiles.get(feature.name), personal=feature.pii),
                "description": feature.description,
            }
            for feature in group.features
        ],
        "expectations": [repr(each) for each in group.all_expectations],
        "used_by": list(used_by),
        "changes": _changes(edits),
    }


def feature_card(
    group: FeatureGroup,
    feature: Feature,
    stages: Standings,
    history: Mapping[str, Profile],
    used_by: Sequence[str],
) -> dict[str, Any]:
    """Return the card of a feature.

    Parameters
    ----------
    history
        Its statistics by partition, in order.
    """
    return {
        "kind": "feature",
        "name": f"{group.name}.{feature.name}",
        "version": group.version,
        "description": feature.description,
        "stage": stages.feature(group, feature.name),
        "type": feature.dtype,
        "entity": group.entity.name,
        "owners": [feature.owner] if feature.owner else list(group.owners),
        "tags": dict(feature.tags),
        "personal": feature.pii,
        "derived_from": list(feature.derived_from),
        "expectations": [
            repr(each) for each in group.all_expectations if feature.name in each.columns
        ],
        "used_by": list(used_by),
        "statistics": [
            {
                "partition": partition,
                "rows": profile.count,
                **_numbers(profile, personal=feature.pii),
            }
            for partition, profile in list(history.items())[-_PARTITIONS:]
        ],
    }


def view_card(
    view: FeatureView, stages: Standings, edits: Sequence[Edit], used_by: Sequence[str]
) -> dict[str, Any]:
    """Return the card of a view."""
    return {
        "kind": "view",
        "name": view.name,
        "description": view.description,
        "stage": stages.view(view),
        "precompute": view.precompute,
        "owners": list(view.owners),
        "tags": dict(view.tags),
        "features": [
            {"name": shown, "from": f"{selection.group}.{stored}"}
            for selection in view.selections
            for stored, shown in selection.features
        ]
        + [{"name": each.name, "from": "computed at request"} for each in view.computed],
        "used_by": list(used_by),
        "changes": _changes(edits),
    }


_PARTITIONS = 10


def _numbers(profile: Profile | None, *, personal: bool) -> dict[str, Any]:
    if profile is None:
        return {}
    counts = {"missing": profile.missing_share, "distinct": profile.distinct}
    if personal:  # by now; when it was counted it may not have been
        return counts
    return {
        **counts,
        "mean": profile.mean,
        "minimum": profile.minimum,
        "maximum": profile.maximum,
    }


def _changes(edits: Sequence[Edit]) -> list[dict[str, Any]]:
    return [
        {"when": edit.changed_at.isoformat(), "who": edit.changed_by, "change": edit.action,
         "version": edit.version}
        for edit in edits
    ]  # fmt: skip

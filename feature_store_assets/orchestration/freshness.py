"""Freshness: Dagster's policy for the state, our look at partitions for the truth."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

import dagster as dg

from feature_store_assets.declaration.group import FeatureGroup
from feature_store_assets.orchestration.partitioning import dagster_partitions, gap_free_end

State = Literal["fresh", "warning", "stale"]


@dataclass(frozen=True)
class Freshness:
    """How fresh a group is, why, and when it turns stale (or did); None if it never had rows."""

    state: State
    reason: str
    deadline: datetime | None


def freshness_policy(group: FeatureGroup, now: datetime | None = None) -> dg.FreshnessPolicy | None:
    """Return Dagster's policy for a group, none where nothing new is due any more."""
    if group.freshness is None or ended(group, now or datetime.now(UTC)):
        return None
    return dg.FreshnessPolicy.time_window(
        fail_window=group.freshness, warn_window=group.freshness_warning
    )


def ended(group: FeatureGroup, now: datetime) -> bool:
    """Tell whether the group's partitions have come to their end."""
    partitions = group.partitions
    return partitions is not None and partitions.end is not None and partitions.end <= now


def freshness(instance: dg.DagsterInstance, group: FeatureGroup, now: datetime) -> Freshness | None:
    """Return how fresh a group is; None if it declares nothing, or nothing new is due any more.

    Dagster's policy is content with any recent materialization, a backfill of an old day too: so
    here age counts from the end of the newest partition before which none is missing.
    """
    if group.freshness is None or ended(group, now):
        return None
    newest, reason = _newest(instance, group, now)
    if newest is None:
        return Freshness("stale", reason, None)
    age, warning = now - newest, group.freshness_warning
    state: State = "fresh"
    if age > group.freshness:
        state = "stale"
    elif warning is not None and age > warning:
        state = "warning"
    return Freshness(state, reason, newest + group.freshness)


def _newest(
    instance: dg.DagsterInstance, group: FeatureGroup, now: datetime
) -> tuple[datetime | None, str]:
    """Return up to when a group is complete, and what to say of it."""
    key = dg.AssetKey([group.name])
    definition = dagster_partitions(group.partitions)
    if isinstance(definition, dg.TimeWindowPartitionsDefinition):
        newest = gap_free_end(definition, instance.get_materialized_partitions(key), now)
        if newest is None:
            return definition.start.astimezone(UTC), "its first partition is missing"
        return newest, f"no partition after {newest.isoformat()} is complete"
    event = instance.get_latest_materialization_event(key)
    if event is None:
        return None, "it was never materialized"
    written = datetime.fromtimestamp(event.timestamp, tz=UTC)
    return written, f"it was last written {written.isoformat()}"

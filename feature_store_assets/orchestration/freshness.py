"""Freshness as Dagster knows it: its policy, and what it heard of partitions."""

from datetime import UTC, datetime

import dagster as dg

from feature_store_assets.dagster_io.freshness import Freshness, ended, freshness
from feature_store_assets.declaration.group import FeatureGroup


def freshness_policy(group: FeatureGroup, now: datetime | None = None) -> dg.FreshnessPolicy | None:
    """Return Dagster's policy for a group, none where nothing new is due any more."""
    if group.freshness is None or ended(group, now or datetime.now(UTC)):
        return None
    return dg.FreshnessPolicy.time_window(
        fail_window=group.freshness, warn_window=group.freshness_warning
    )


def materialized_freshness(
    instance: dg.DagsterInstance, group: FeatureGroup, now: datetime
) -> Freshness | None:
    """Return how fresh a group is by what an instance heard of it."""
    key = dg.AssetKey([group.name])

    def written() -> datetime | None:
        event = instance.get_latest_materialization_event(key)
        return None if event is None else datetime.fromtimestamp(event.timestamp, tz=UTC)

    return freshness(group, now, lambda: instance.get_materialized_partitions(key), written)

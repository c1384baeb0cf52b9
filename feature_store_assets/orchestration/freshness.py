"""Freshness: Dagster's policy for the state, our look at partitions for the truth, one alert."""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

import apprise
import dagster as dg

from feature_store_assets.declaration.group import FeatureGroup
from feature_store_assets.orchestration.partitioning import dagster_partitions, gap_free_end
from feature_store_assets.store import FeatureStore


def freshness_policy(group: FeatureGroup, now: datetime | None = None) -> dg.FreshnessPolicy | None:
    """Return Dagster's policy for a group, none where nothing new is due any more."""
    if group.freshness is None or ended(group, now or datetime.now(UTC)):
        return None
    return dg.FreshnessPolicy.time_window(fail_window=group.freshness)


def ended(group: FeatureGroup, now: datetime) -> bool:
    """Tell whether the group's partitions have come to their end."""
    partitions = group.partitions
    return partitions is not None and partitions.end is not None and partitions.end <= now


def late(instance: dg.DagsterInstance, group: FeatureGroup, now: datetime) -> str | None:
    """Return why a group is late, or None.

    Dagster's policy is content with any recent materialization, a backfill of an old day too: so
    the newest partition before which none is missing must also have ended recently.
    """
    if group.freshness is None or ended(group, now):
        return None
    key = dg.AssetKey([group.name])
    definition = dagster_partitions(group.partitions)
    if isinstance(definition, dg.TimeWindowPartitionsDefinition):
        newest = gap_free_end(definition, instance.get_materialized_partitions(key), now)
        if newest is None:
            return "its first partition is missing"
        if now - newest > group.freshness:
            return f"no partition after {newest.isoformat()} is complete"
        return None
    event = instance.get_latest_materialization_event(key)
    if event is None:
        return "it was never materialized"
    written = datetime.fromtimestamp(event.timestamp, tz=UTC)
    return None if now - written <= group.freshness else f"it was last written {written}"


def freshness_alerts(
    groups: Sequence[FeatureGroup],
    open_store: Callable[[], FeatureStore],
    *,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> dg.SensorDefinition:
    """Return the sensor that tells each change between fresh and late, once."""

    @dg.sensor(
        name="freshness_alerts",
        minimum_interval_seconds=60,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Tells when a feature group becomes late, and when it is fresh again.",
    )
    def watch(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        before: Mapping[str, str | None] = json.loads(context.cursor or "{}")
        states = {group.name: late(context.instance, group, now()) for group in groups}
        news = [
            f"{name} is late: {why}." if why else f"{name} is fresh again."
            for name, why in states.items()
            if bool(why) != bool(before.get(name))
        ]
        if news:
            with open_store() as store:
                notify(store, "Feature freshness", "\n".join(news))
            context.log.warning("; ".join(news))
        context.update_cursor(json.dumps(states))
        return dg.SkipReason("; ".join(news) or "Nothing changed.")

    return watch


def notify(store: FeatureStore, title: str, body: str) -> None:
    """Send a message to the places that the settings name; without any, to none."""
    sender = apprise.Apprise()
    for url in store.config.notify:
        sender.add(url.get_secret_value())
    if len(sender):
        sender.notify(title=title, body=body)

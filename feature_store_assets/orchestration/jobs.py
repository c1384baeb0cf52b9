"""Jobs for the Launchpad and for schedules: snapshots and retention."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
from pydantic import Field

from feature_store_assets.declaration.group import FeatureGroup
from feature_store_assets.errors import GroupNotFound
from feature_store_assets.orchestration.partitioning import dagster_partitions
from feature_store_assets.store import FeatureStore

OpenStore = Callable[[], FeatureStore]


class SnapshotConfig(dg.Config):
    """What to pin, and under which name."""

    features: list[str] = Field(
        default=[], description="Views and groups to pin; every group that holds rows by default."
    )
    name: str = Field(
        default="", description="The snapshot's name; by default snapshot-<date and time>."
    )
    description: str = ""


class RetentionConfig(dg.Config):
    """Which groups to clean, and whether to do it."""

    groups: list[str] = Field(default=[], description="Feature groups; all by default.")
    dry_run: bool = Field(default=True, description="Only say what would be removed.")


def snapshot_job(open_store: OpenStore) -> dg.JobDefinition:
    """Return the job that pins tables under a name."""

    @dg.op(name="snapshot")
    def snapshot(context: dg.OpExecutionContext, config: SnapshotConfig) -> None:
        name = config.name or f"snapshot-{datetime.now(UTC):%Y-%m-%d-%H%M%S}"
        with open_store() as store:
            filled = [group.name for group in store.groups() if store.table(group).exists]
            store.create_snapshot(
                config.features or filled,
                name,
                description=config.description,
                created_by="snapshot_job",
            )
            pins = store.snapshots.pins.of(name)
        for pin in pins:
            context.log.info(f"{name}: {pin.feature_group} at version {pin.table_version}.")
            context.log_event(
                dg.AssetObservation(
                    dg.AssetKey([pin.feature_group]),
                    metadata={"snapshot": name, "table_version": pin.table_version},
                )
            )

    @dg.job(
        name="snapshot_job",
        description="Pin feature groups at their newest versions under a name, for ever.",
        config=dg.RunConfig(ops={"snapshot": SnapshotConfig()}),
    )
    def job() -> None:
        snapshot()

    return job


def retention_job(groups: Sequence[FeatureGroup], open_store: OpenStore) -> dg.JobDefinition:
    """Return the job that removes what groups need not keep, offline and online."""

    @dg.op(name="retain")
    def retain(context: dg.OpExecutionContext, config: RetentionConfig) -> None:
        known = {group.name: group for group in groups}
        for name in config.groups:
            if name not in known:
                raise GroupNotFound(name, known)
        with open_store() as store:
            for name in config.groups or known:
                now = datetime.now(UTC)
                done = _retain(store, known[name], now, dry_run=config.dry_run)
                expired = _expire(store, known[name], now, dry_run=config.dry_run)
                if expired is not None:
                    context.log.info(f"{name}: removed {expired} expired row(s) online.")
                    context.log_event(
                        dg.AssetObservation(
                            dg.AssetKey([name]), metadata={"online_rows_expired": expired}
                        )
                    )
                if done is None:
                    context.log.info(f"{name} keeps everything.")
                    continue
                verb = "would remove" if config.dry_run else "removed"
                context.log.info(
                    f"{name}: {verb} {len(done['partitions'])} partition(s), {done['rows']} rows, "
                    f"{done['files']} files, {done['bytes']} bytes."
                )
                context.log_event(
                    dg.AssetObservation(
                        dg.AssetKey([name]), metadata={"retention": dg.MetadataValue.json(done)}
                    )
                )

    @dg.job(
        name="retention_job",
        description="Remove partitions older than their group's retention, and online rows older "
        "than its ttl by a day. A dry run by default, which does not count the latter.",
        config=dg.RunConfig(ops={"retain": RetentionConfig()}),
    )
    def job() -> None:
        retain()

    return job


def _retain(
    store: FeatureStore, group: FeatureGroup, now: datetime, *, dry_run: bool
) -> dict[str, Any] | None:
    """Remove what one group need not keep; return what went, or None if it keeps all."""
    days = store.config.retention_days
    keep = group.retention or (timedelta(days=days) if days else None)
    definition = dagster_partitions(group.partitions)
    table = store.table(group)
    if keep is None or not table.exists:
        return None
    if not isinstance(definition, dg.TimeWindowPartitionsDefinition):
        return None
    old = [
        key
        for key in table.partitions()
        if definition.time_window_for_partition_key(key).end < now - keep
    ]
    pins = store.snapshots.pins.of_group(group.name, group.version)
    versions = [pin.table_version for pin in pins]
    dropped = table.drop(old, keep_versions=versions, dry_run=dry_run)
    swept = table.sweep(
        older_than=store.config.time_travel, keep_versions=versions, dry_run=dry_run
    )
    if old and not dry_run and group.online:
        store.publish(store.applied.group(group.name, group.version), old)
    return {
        "dry_run": dry_run,
        "partitions": list(dropped.partitions),
        "rows": dropped.rows,
        "files": dropped.files,
        "bytes": dropped.bytes,
        "superseded_files": swept,
        "pinned_by": sorted({pin.snapshot for pin in pins}),
    }


def _expire(
    store: FeatureStore, group: FeatureGroup, now: datetime, *, dry_run: bool
) -> int | None:
    """Remove online rows that are served no more; None where that does not apply.

    A dry run does not count them: it would read the whole online store.
    """
    if dry_run or not group.online or group.ttl is None:
        return None
    return store.serving.expire(store.applied.group(group.name, group.version), now)


def retention_schedule(job: dg.JobDefinition) -> dg.ScheduleDefinition:
    """Return a nightly dry run: it shows what would go, and removes nothing."""
    return dg.ScheduleDefinition(
        name="retention_dry_run",
        job=job,
        cron_schedule="0 3 * * *",
        default_status=dg.DefaultScheduleStatus.STOPPED,
        run_config=dg.RunConfig(ops={"retain": RetentionConfig(dry_run=True)}),
    )

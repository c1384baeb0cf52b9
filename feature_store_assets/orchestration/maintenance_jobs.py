"""Upkeep as jobs for the Launchpad and for schedules: snapshots, retention, compaction."""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import dagster as dg
from pydantic import Field

from feature_store_assets.dagster_io.reports import snapshot_events
from feature_store_assets.maintenance.compaction import FILES
from feature_store_assets.maintenance.retention import Retained
from feature_store_assets.orchestration.assets import OpenStore


def job_of(
    op: dg.OpDefinition, name: str, description: str, config: dg.Config | None = None
) -> dg.JobDefinition:
    """Return a job of one op; the Launchpad begins with the config, if there is one."""
    shown = None if config is None else dg.RunConfig(ops={op.name: config})
    return dg.GraphDefinition(name, node_defs=[op]).to_job(description=description, config=shown)


class SnapshotConfig(dg.Config):
    """What to pin, and under which name."""

    features: list[str] = Field(
        default=[], description="Views and groups to pin; every group that holds rows by default."
    )
    name: str = Field(
        default="", description="The snapshot's name; by default snapshot-<date and time>."
    )
    description: str = ""
    tags: dict[str, str] = Field(
        default={}, description="With a tag 'keep' it is kept for ever, whatever the settings say."
    )


class RetentionConfig(dg.Config):
    """Which groups to clean, and whether to do it."""

    groups: list[str] = Field(default=[], description="Feature groups; all by default.")
    dry_run: bool = Field(default=True, description="Only say what would be removed.")


class CompactionConfig(dg.Config):
    """Which groups to compact."""

    groups: list[str] = Field(default=[], description="Feature groups; all by default.")
    at_least: int = Field(
        default=FILES, description="How many small files a partition has to have."
    )


def snapshot_job(open_store: OpenStore) -> dg.JobDefinition:
    """Return the job that pins tables under a name."""

    @dg.op
    def snapshot(context: dg.OpExecutionContext, config: SnapshotConfig) -> None:
        name = config.name or f"snapshot-{datetime.now(UTC):%Y-%m-%d-%H%M%S}"
        with open_store() as store:
            filled = [group.name for group in store.groups() if store.table(group).exists]
            made = store.pin(
                config.features or filled,
                name,
                description=config.description,
                created_by="snapshot_job",
                tags=config.tags,
            )
        for group in made["groups"]:
            context.log.info(
                f"{name}: {group['group']} at version {group['table_version']}, {group['rows']} "
                f"rows in {len(group['files'])} files."
            )
            context.log_event(
                dg.AssetObservation(
                    dg.AssetKey([group["group"]]),
                    metadata={"snapshot": name, "table_version": group["table_version"]},
                )
            )
        for event in snapshot_events(context.instance, made):
            context.log_event(event)

    return job_of(
        snapshot,
        "snapshot_job",
        "Pin feature groups at their newest versions under a name, for ever.",
        SnapshotConfig(),
    )


def retention_job(open_store: OpenStore) -> dg.JobDefinition:
    """Return the job that removes what need not be kept, offline and online."""

    @dg.op
    def retain(context: dg.OpExecutionContext, config: RetentionConfig) -> None:
        with open_store() as store:
            names = config.groups or [group.name for group in store.groups()]
            if not config.groups:
                outdated = store.forget_outdated(dry_run=config.dry_run)
                context.log.info(f"{_verb(config)} by age: {asdict(outdated)}.")
            for done in store.retain(names, dry_run=config.dry_run):
                _tell(context, done)

    return job_of(
        retain,
        "retention_job",
        "Remove partitions older than their group's retention, files that nothing "
        "needs any more, and online rows older than their ttl by a day. A dry run by default, "
        "which does not count the latter.",
        RetentionConfig(),
    )


def _verb(config: RetentionConfig) -> str:
    return "Would remove" if config.dry_run else "Removed"


def _tell(context: dg.OpExecutionContext, done: Retained) -> None:
    """Log what retention did to a group; a removed partition shows it, too."""
    verb = "would remove" if done.dry_run else "removed"
    held = f" A legal hold keeps it: {done.hold}." if done.hold else ""
    context.log.info(
        f"{done.feature_group}: {verb} {len(done.partitions)} partition(s), {done.rows} rows, "
        f"{done.bytes} bytes; {done.files} file(s) of {done.bytes_freed} bytes from disk; "
        f"{done.online_rows_expired} expired row(s) online.{held}"
    )
    key = dg.AssetKey([done.feature_group])
    report = {**asdict(done), "partitions": list(done.partitions)}
    metadata: dict[str, dg.MetadataValue[Any]] = {"retention": dg.MetadataValue.json(report)}
    if done.online_rows_expired:
        metadata["online_rows_expired"] = dg.MetadataValue.int(done.online_rows_expired)
    context.log_event(dg.AssetObservation(key, metadata=metadata))
    # Dagster goes on to call these materialized: what is observed last says otherwise.
    for partition in () if done.dry_run else done.partitions:
        context.log_event(
            dg.AssetObservation(
                key,
                partition=partition,
                description="Outside retention: the rows were removed. Materialize it again to "
                "have them.",
                metadata={"retention": "removed"},
            )
        )


def compact_job(open_store: OpenStore) -> dg.JobDefinition:
    """Return the job that writes many small files into one."""

    @dg.op
    def compact(context: dg.OpExecutionContext, config: CompactionConfig) -> None:
        with open_store() as store:
            done = store.compact(
                config.groups or None, at_least=config.at_least, told=context.log.info
            )
        for each in done:
            if each.partitions:
                report: dict[str, Any] = {**asdict(each), "partitions": list(each.partitions)}
                context.log_event(
                    dg.AssetObservation(
                        dg.AssetKey([each.feature_group]),
                        metadata={"compaction": dg.MetadataValue.json(report)},
                    )
                )

    return job_of(
        compact,
        "compact_job",
        "Write partitions that lie in many small files into one file each.",
        CompactionConfig(),
    )


def upkeep_schedules(
    snapshot: dg.JobDefinition,
    retain: dg.JobDefinition,
    compact: dg.JobDefinition,
    backup: dg.JobDefinition,
) -> list[dg.ScheduleDefinition]:
    """Return the schedules of upkeep: the dry run of retention runs, the others are off."""
    return [
        dg.ScheduleDefinition(
            name="retention_dry_run",
            job=retain,
            cron_schedule="0 3 * * *",
            default_status=dg.DefaultScheduleStatus.RUNNING,
            run_config=dg.RunConfig(ops={"retain": RetentionConfig(dry_run=True)}),
            description="Shows every night what retention would remove.",
        ),
        dg.ScheduleDefinition(
            name="retention",
            job=retain,
            cron_schedule="30 3 * * *",
            run_config=dg.RunConfig(ops={"retain": RetentionConfig(dry_run=False)}),
            description="Removes every night what need not be kept.",
        ),
        dg.ScheduleDefinition(
            name="weekly_snapshot",
            job=snapshot,
            cron_schedule="0 4 * * 0",
            description="Pins every group on Sundays.",
        ),
        dg.ScheduleDefinition(
            name="compaction",
            job=compact,
            cron_schedule="0 5 * * 0",
            description="Writes small files together on Sundays.",
        ),
        dg.ScheduleDefinition(
            name="nightly_backup",
            job=backup,
            cron_schedule="0 2 * * *",
            run_config={"ops": {"backup": {"config": {"keep": 14}}}},
            description="Backs the store up every night to FEATURE_STORE_BACKUP_TARGET; keeps 14.",
        ),
    ]

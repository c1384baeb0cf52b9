"""Backups as a job for the Launchpad and for a schedule."""

from dataclasses import asdict

import dagster as dg
from pydantic import Field

from feature_store_assets.orchestration.assets import OpenStore
from feature_store_assets.orchestration.maintenance_jobs import job_of
from feature_store_assets.storage import location


class BackupConfig(dg.Config):
    """Where to, and how many stay."""

    target: str = Field(
        default="",
        description="A folder outside the data root, or a URL such as s3://bucket/folder; by "
        "default what FEATURE_STORE_BACKUP_TARGET says, else the folder <data root>-backups.",
    )
    keep: int = Field(
        default=0, ge=0, description="How many backups stay at the target; 0 keeps all."
    )


def backup_job(open_store: OpenStore) -> dg.JobDefinition:
    """Return the job that backs the whole store up."""

    @dg.op
    def backup(context: dg.OpExecutionContext, config: BackupConfig) -> dg.Output[str]:
        with open_store() as store:
            root = store.config.root
            beside = root.with_name(f"{root.name}-backups")
            target = config.target or store.config.backup_target or beside
            done = store.backup(target, keep=config.keep or None, told=context.log.info)
        for file in done.lost:
            context.log.warning(f"The store itself is damaged: {file}.")
        for file in done.mended:
            context.log.warning(f"It was damaged at the target and is copied again: {file}.")
        context.log.info(
            f"Backup {done.id}: {done.files} files of {done.bytes} bytes, {done.copied} of them "
            f"new, {done.bytes_copied} bytes."
        )
        told = {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(done).items()
        }
        told["created_at"] = dg.MetadataValue.timestamp(done.created_at)
        told["target"] = location(target).shown
        return dg.Output(done.id, metadata=told)

    return job_of(
        backup,
        "backup_job",
        "Copy all that the store is to another place: tables, training sets, "
        "registry, online store. Only what is new is copied, and nobody has to wait.",
        BackupConfig(),
    )

"""Archives as jobs for the Launchpad: `export_job` and `import_job`."""

from collections.abc import Iterator
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import Field

from feature_store_assets.dagster_io.names import ALL
from feature_store_assets.dagster_io.reports import snapshot_events
from feature_store_assets.errors import DataError
from feature_store_assets.orchestration.assets import OpenStore
from feature_store_assets.orchestration.maintenance_jobs import job_of
from feature_store_assets.store import FeatureStore
from feature_store_assets.transfer.archive_import import Filled


class ExportConfig(dg.Config):
    """What to export, and where to."""

    target: str = Field(description="The archive's folder: new, or with this export unfinished.")
    features: list[str] = Field(
        default=[], description="Groups and views; every version of every group by default."
    )
    snapshot: str = Field(default="", description="A snapshot, instead of groups and views.")
    start: str = Field(default="", description="Event times from this ISO time on.")
    end: str = Field(default="", description="Event times before this ISO time.")


class Conflict(Enum):
    """What happens where partitions hold rows already."""

    refuse = "refuse"
    keep = "keep"
    replace = "replace"


class ImportConfig(dg.Config):
    """Which archive to import, and how."""

    source: str = Field(description="The archive's folder.")
    on_conflict: Conflict = Field(
        default=Conflict.refuse,
        description="Where partitions hold rows already: refuse all, keep these, or replace them.",
    )
    trust_code: bool = Field(
        default=False,
        description="Let reads run the functions that the archive's views name, even if this store "
        "does not know them.",
    )


def export_job(open_store: OpenStore) -> dg.JobDefinition:
    """Return the job that writes groups into an archive."""

    @dg.op
    def export(context: dg.OpExecutionContext, config: ExportConfig) -> None:
        with open_store() as store:
            done = store.export_archive(
                Path(config.target),
                config.features or None,
                snapshot=config.snapshot or None,
                start_time=_instant(config.start),
                end_time=_instant(config.end),
                told=context.log.info,
            )
        context.log.info(f"{config.target} is archive {done.digest}.")
        for each in done.groups:
            told: dict[str, Any] = {
                "archive": done.digest,
                "group_version": each.version,
                "partitions": each.partitions,
                "rows": each.rows,
                "bytes": each.bytes,
            }
            context.log_event(dg.AssetObservation(dg.AssetKey([each.feature_group]), metadata=told))

    return job_of(
        export,
        "export_job",
        "Write groups, with their declarations, into a folder that any tool reads. "
        "An export that was killed goes on where it was if it is asked for again.",
    )


def import_job(open_store: OpenStore) -> dg.JobDefinition:
    """Return the job that brings an archive in."""

    @dg.op
    def import_(context: dg.OpExecutionContext, config: ImportConfig) -> None:
        with open_store() as store:
            done = store.import_archive(
                Path(config.source),
                on_conflict=config.on_conflict.value,
                trust_code=config.trust_code,
                told=context.log.info,
            )
            for note in done.notes:
                context.log.warning(note)
            for each in done.groups:
                context.log.info(
                    f"{each.feature_group}: {len(each.rows)} partition(s) hold the archive's rows, "
                    f"{len(each.kept)} kept others."
                )
                for event in _imported(store, each, done.digest):
                    context.log_event(event)
            manifest = store.snapshot_manifest(done.snapshot) if done.snapshot else None
        for made in () if manifest is None else snapshot_events(context.instance, manifest):
            context.log_event(made)

    return job_of(
        import_,
        "import_job",
        "Bring an archive into the store: declarations, rows, statistics. It is "
        "verified first; an import that was killed goes on where it was if it is run again.",
    )


def _imported(
    store: FeatureStore, filled: Filled, digest: str
) -> Iterator[dg.AssetMaterialization]:
    """Make partitions materialized, as they are now: also for an instance that made none."""
    group = store.applied.group(filled.feature_group)
    if group.version != filled.version or not filled.rows:
        return  # an older version is no asset
    told: dict[str, Any] = {"archive": digest, "table_version": store.table(group).version()}
    if not group.materialized:  # no partitions in Dagster
        rows = sum(filled.rows.values())
        shown = {**told, "partitions": list(filled.rows), "dagster/row_count": rows}
        yield dg.AssetMaterialization([group.name], metadata=shown)
        return
    keys = [[group.name], *([["online", group.name]] if group.online else [])]
    for partition, rows in filled.rows.items():
        for key in keys:
            yield dg.AssetMaterialization(
                key,
                partition=None if partition == ALL else partition,
                metadata={**told, "dagster/partition_row_count": rows, "rows": rows},
            )


def _instant(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text) if text else None
    except ValueError:
        raise DataError(f"'{text}' is no ISO date or time, such as 2024-01-31.") from None

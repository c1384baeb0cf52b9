"""What an instance is told of things that were done outside of its runs."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg

from feature_store_assets.dagster_io.names import snapshot_partitions


def report_materialization(
    home: Path, key: list[str], metadata: Mapping[str, Any], description: str = ""
) -> None:
    """Tell the instance of a home folder that an asset was written."""
    with dg.DagsterInstance.from_config(str(home)) as instance:
        instance.report_runless_asset_event(
            dg.AssetMaterialization(key, description=description or None, metadata=metadata)
        )


def report_snapshot(home: Path, manifest: Mapping[str, Any]) -> None:
    """Tell the instance of a home folder of a snapshot that was made."""
    with dg.DagsterInstance.from_config(str(home)) as instance:
        for event in snapshot_events(instance, manifest):
            instance.report_runless_asset_event(event)


def report_snapshot_deleted(home: Path, manifest: Mapping[str, Any]) -> None:
    """Tell the instance of a home folder of a snapshot that is gone."""
    with dg.DagsterInstance.from_config(str(home)) as instance:
        for group in manifest["groups"]:
            name = group["group"]
            instance.delete_dynamic_partition(snapshot_partitions(name), manifest["name"])
            instance.report_runless_asset_event(
                dg.AssetObservation(["snapshots", name], metadata={"deleted": manifest["name"]})
            )


def snapshot_events(
    instance: dg.DagsterInstance, manifest: Mapping[str, Any]
) -> Iterator[dg.AssetMaterialization]:
    """Make a snapshot a partition of `snapshots/<group>` for each of its groups."""
    for group in manifest["groups"]:
        instance.add_dynamic_partitions(snapshot_partitions(group["group"]), [manifest["name"]])
        yield dg.AssetMaterialization(
            ["snapshots", group["group"]],
            partition=manifest["name"],
            description=manifest["description"] or None,
            metadata={
                "dagster/row_count": group["rows"],
                "table_version": group["table_version"],
                "group_version": group["version"],
                "files": len(group["files"]),
                "bytes": group["bytes"],
                "created_by": manifest["created_by"],
                "tags": manifest["tags"],
            },
        )

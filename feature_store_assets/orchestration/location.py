"""Declared groups become a code location: `build_definitions`."""

from collections.abc import Sequence
from typing import Any

import dagster as dg

from feature_store_assets.config import FeatureStoreConfig
from feature_store_assets.declaration.group import FeatureGroup
from feature_store_assets.declaration.view import FeatureView
from feature_store_assets.orchestration.assets import group_asset, online_asset
from feature_store_assets.orchestration.freshness import freshness_alerts
from feature_store_assets.orchestration.jobs import (
    retention_job,
    retention_schedule,
    snapshot_job,
)
from feature_store_assets.orchestration.table_io import TableIOManager
from feature_store_assets.store import FeatureStore

DECLARATIONS = "feature_store_declarations"


def build_definitions(
    groups: Sequence[FeatureGroup],
    *,
    views: Sequence[FeatureView] = (),
    assets: Sequence[Any] = (),
    config: FeatureStoreConfig | None = None,
) -> dg.Definitions:
    """Build Dagster definitions from declared groups; merge them with your own.

    Parameters
    ----------
    groups, views
        What is declared.
    assets
        The source assets that groups read; those with `io_manager_key="table_io"` are stored in
        the store's own tables.
    config
        The store; by default what `FEATURE_STORE_*` variables say when a run starts.

    Returns
    -------
    Assets for each group and its online copy, jobs, sensors, schedules and the IO manager.
    Nothing is written: `feature-store apply` does that.
    """
    settings = config

    def open_store() -> FeatureStore:
        return FeatureStore(settings or FeatureStoreConfig())

    columns = _known_columns(groups, assets)
    root = (settings or FeatureStoreConfig()).root
    computed = [group for group in groups if group.materialized]
    built = [
        group_asset(
            group,
            open_store,
            columns=columns,
            uri=str(root / "offline" / group.name / f"v{group.version}"),
        )
        for group in computed
    ]
    served = [online_asset(group, open_store) for group in computed if group.online]
    pushed = [
        dg.AssetSpec(group.name, description=group.description, owners=list(group.owners))
        for group in groups
        if not group.materialized
    ]
    retain = retention_job(computed, open_store)
    by_name = {group.name: group for group in groups}
    # The declarations travel with the location: `feature-store apply` reads them there.
    return dg.Definitions(
        assets=[*assets, *built, *served, *pushed],
        jobs=[snapshot_job(open_store), retain],
        schedules=[retention_schedule(retain)],
        sensors=[freshness_alerts(computed, open_store)],
        resources={"table_io": TableIOManager(by_name, open_store)},
        executor=dg.in_process_executor,
        metadata={
            DECLARATIONS: dg.MetadataValue.json(
                {
                    "groups": [group.to_json() for group in groups],
                    "views": [view.to_json() for view in views],
                }
            )
        },
    )


def declarations(definitions: dg.Definitions) -> list[FeatureGroup | FeatureView]:
    """Return the groups and views that a code location was built from."""
    found: Any = (definitions.metadata or {}).get(DECLARATIONS)
    value = {"groups": [], "views": []} if found is None else found.value
    return [
        *(FeatureGroup.from_json(each) for each in value["groups"]),
        *(FeatureView.from_json(each) for each in value["views"]),
    ]


def _known_columns(groups: Sequence[FeatureGroup], assets: Sequence[Any]) -> dict[str, set[str]]:
    """Return the columns of assets that say them."""
    known = {group.name: {*group.entity.join_keys, *group.feature_names} for group in groups}
    for asset in assets:
        for spec in getattr(asset, "specs", ()):
            schema = spec.metadata.get("dagster/column_schema")
            if schema is not None:
                table = getattr(schema, "schema", schema)
                known[spec.key.to_user_string()] = {column.name for column in table.columns}
    return known

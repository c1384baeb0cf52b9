"""Declared groups become a code location: `build_definitions`."""

import warnings
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import dagster as dg

from feature_store_assets.config import FeatureStoreConfig
from feature_store_assets.dagster_io.names import DECLARATIONS
from feature_store_assets.declaration.group import FeatureGroup
from feature_store_assets.declaration.view import FeatureView
from feature_store_assets.orchestration.alert_sensor import alert_sensor
from feature_store_assets.orchestration.archive_jobs import export_job, import_job
from feature_store_assets.orchestration.assets import OpenStore, group_asset, online_asset
from feature_store_assets.orchestration.backup_job import backup_job
from feature_store_assets.orchestration.external_assets import pushed_asset, recorded_assets
from feature_store_assets.orchestration.maintenance_jobs import (
    compact_job,
    retention_job,
    snapshot_job,
    upkeep_schedules,
)
from feature_store_assets.orchestration.partition_sensor import partition_sensor
from feature_store_assets.orchestration.table_io import TableIOManager
from feature_store_assets.orchestration.validation_job import (
    pushed_checks,
    validate_job,
    validate_schedule,
)
from feature_store_assets.registry.actor import Actor
from feature_store_assets.store import FeatureStore


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
    Assets for each group and its online copy, and for the snapshots, training sets, models and
    pushed groups in the registry; jobs, sensors, schedules and the IO manager. Nothing is written:
    `feature-store apply` does that.
    """

    def open_store() -> FeatureStore:
        return FeatureStore(config or FeatureStoreConfig(), actor=_actor())

    with warnings.catch_warnings():
        # Used on purpose: single-run backfills, and checks by partition.
        warnings.simplefilter("ignore", dg.BetaWarning)
        warnings.simplefilter("ignore", dg.PreviewWarning)
        return _built(groups, views, assets, config or FeatureStoreConfig(), open_store)


def _actor() -> Actor:
    """Return who has a run of Dagster do what: the run's tag `user` says so, if it has one."""
    name = Actor.of_process().name
    with suppress(dg.DagsterInvariantViolationError):  # in a sensor, or between two steps
        name = dg.OpExecutionContext.get().run.tags.get("user", name)
    return Actor(name, source="dagster")


def _built(
    groups: Sequence[FeatureGroup],
    views: Sequence[FeatureView],
    assets: Sequence[Any],
    settings: FeatureStoreConfig,
    open_store: OpenStore,
) -> dg.Definitions:
    columns = _known_columns(groups, assets)
    computed = [group for group in groups if group.materialized]
    built = [
        group_asset(
            group,
            open_store,
            columns=columns,
            uri=str(settings.root / "offline" / group.name / f"v{group.version}"),
        )
        for group in computed
    ]
    served = [online_asset(group, open_store) for group in computed if group.online]
    pushed = [pushed_asset(group) for group in groups if not group.materialized]
    recorded = recorded_assets(settings, _keys(assets), [group.name for group in groups])
    snapshot, retain = snapshot_job(open_store), retention_job(open_store)
    compact, backup = compact_job(open_store), backup_job(open_store)
    validate = validate_job(groups, open_store)
    by_name = {group.name: group for group in groups}
    # The declarations travel with the location: `feature-store apply` reads them there.
    return dg.Definitions(
        assets=[*assets, *built, *served, *pushed, *recorded],
        asset_checks=[pushed_checks(each, open_store) for each in groups if not each.materialized],
        jobs=[
            snapshot,
            retain,
            compact,
            backup,
            validate,
            export_job(open_store),
            import_job(open_store),
        ],
        schedules=[
            *upkeep_schedules(snapshot, retain, compact, backup),
            validate_schedule(validate),
        ],
        sensors=[alert_sensor(computed, open_store), partition_sensor(computed)],
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


def _keys(assets: Sequence[Any]) -> set[str]:
    """Return the keys of assets, `a/b`."""
    specs = [spec for asset in assets for spec in getattr(asset, "specs", [asset])]
    return {spec.key.to_user_string() for spec in specs if hasattr(spec, "key")}


def _known_columns(groups: Sequence[FeatureGroup], assets: Sequence[Any]) -> dict[str, set[str]]:
    """Return the columns of assets that say them."""
    known = {group.name: {*group.entity.join_keys, *group.feature_names} for group in groups}
    for asset in assets:
        for spec in getattr(asset, "specs", ()):
            schema: Any = spec.metadata.get("dagster/column_schema")
            if schema is not None:
                known[spec.key.to_user_string()] = {column.name for column in schema.columns}
    return known

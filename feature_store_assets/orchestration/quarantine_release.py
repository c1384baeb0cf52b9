"""A partition leaves quarantine, and Dagster hears of it."""

import dagster as dg

from feature_store_assets.dagster_io.names import ALL
from feature_store_assets.ingestion.gate import Admitted
from feature_store_assets.orchestration.checks import evaluations
from feature_store_assets.orchestration.metadata import partition_metadata
from feature_store_assets.store import FeatureStore


def release(store: FeatureStore, group: str, partition: str) -> Admitted:
    """Judge a quarantined partition again and store it; record that where there is an instance.

    Raises
    ------
    NotQuarantined, StillRejected
        Nothing was changed.
    """
    done = store.release(group, partition)
    home = store.config.dagster_home
    if home is not None:
        with dg.DagsterInstance.from_config(str(home)) as instance:
            record(instance, store, group, partition, done)
    return done


def record(
    instance: dg.DagsterInstance, store: FeatureStore, name: str, partition: str, done: Admitted
) -> None:
    """Report the partition to Dagster as materialized, with its checks."""
    group = store.applied.group(name)
    key, judged = dg.AssetKey([name]), done.judged
    shown = partition_metadata(
        judged.rows, group, judged.profiles[partition], judged.references.get(partition)
    )
    recorded = None if partition == ALL else partition
    for check, given in evaluations(group, judged, partition):
        instance.report_runless_asset_event(
            dg.AssetCheckEvaluation(asset_key=key, check_name=check, partition=recorded, **given)
        )
    instance.report_runless_asset_event(
        dg.AssetMaterialization(
            key,
            partition=recorded,
            metadata={**shown, "table_version": done.version, "released": True},
        )
    )

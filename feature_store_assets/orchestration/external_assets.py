"""What the registry records, as Dagster assets: snapshots, training sets, models, pushed groups."""

from collections.abc import Collection
from typing import Any

import dagster as dg

from feature_store_assets.config import FeatureStoreConfig
from feature_store_assets.dagster_io.names import RECORDED, snapshot_partitions
from feature_store_assets.declaration.group import FeatureGroup
from feature_store_assets.errors import FeatureStoreError
from feature_store_assets.registry.models import Model
from feature_store_assets.store import FeatureStore


def recorded_assets(
    config: FeatureStoreConfig, taken: Collection[str], declared: Collection[str]
) -> list[dg.AssetSpec]:
    """Return an asset for each thing in the registry.

    A registry that cannot be read is no reason not to load: then there are none.

    Parameters
    ----------
    taken
        Assets of the location, by key: none is emitted twice.
    declared
        Its groups.
    """
    if not config.enable_lineage:
        return []
    try:
        with FeatureStore(config) as store:
            pushed = [group for group in store.groups() if not group.materialized]
            specs = [
                *(pushed_asset(each) for each in pushed if each.name not in declared),
                *_pinned(store),
                *(_model(model) for model in store.models()),
            ]
    except FeatureStoreError as error:
        dg.get_dagster_logger().warning(f"Lineage lacks what the registry records. {error}")
        return []
    return [spec for spec in specs if spec.key.to_user_string() not in taken]


def pushed_asset(group: FeatureGroup) -> dg.AssetSpec:
    """Return the asset of a group that Dagster does not compute."""
    return dg.AssetSpec(group.name, description=group.description, owners=list(group.owners))


def _pinned(store: FeatureStore) -> list[dg.AssetSpec]:
    """Return an asset for the snapshots of each group, and one for each training set."""
    held: dict[str, list[str]] = {}
    specs: dict[str, dg.AssetSpec] = {}
    for pin in store.pins():
        group = pin.feature_group
        if pin.owner_kind == "training_set":
            held.setdefault(pin.owner, []).append(group)
        elif pin.of_snapshot:
            specs[group] = _spec(
                "snapshots", group, [group], f"What snapshots pin of {group}, one partition each.",
                partitions=dg.DynamicPartitionsDefinition(name=snapshot_partitions(group)),
            )  # fmt: skip
    about = {each.name: each.description for each in store.training_set_records()}
    sets = [
        _spec("training_sets", name, _read_by(store, name, groups), about[name])
        for name, groups in held.items()
        if name in about
    ]
    return [*specs.values(), *sets]


def _read_by(store: FeatureStore, training_set: str, groups: list[str]) -> list[str]:
    """What a training set was read from: its groups, or a snapshot of them."""
    try:
        snapshot = store.training_set(training_set).manifest.get("snapshot")
    except FeatureStoreError:  # its files are gone
        snapshot = None
    return [f"snapshots/{group}" for group in groups] if snapshot else groups


def _model(model: Model) -> dg.AssetSpec:
    return _spec(
        "models",
        model.name,
        [f"training_sets/{model.training_set}"],
        model.description,
        owners=list(model.owners),
        metadata={"endpoint": model.endpoint},
    )


def _spec(
    folder: str,
    name: str,
    deps: list[str],
    description: str,
    *,
    owners: list[str] | None = None,
    metadata: dict[str, Any] | None = None,
    partitions: dg.PartitionsDefinition[str] | None = None,
) -> dg.AssetSpec:
    return dg.AssetSpec(
        [folder, name],
        deps=[dg.AssetKey.from_user_string(each) for each in deps],
        description=description or None,
        group_name=folder,
        owners=owners,
        metadata={RECORDED: True, **(metadata or {})},
        partitions_def=partitions,
    )

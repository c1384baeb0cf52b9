"""What the registry records, as Dagster assets: snapshots, training sets, models, pushed groups."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import dagster as dg

from feature_store_assets.config import FeatureStoreConfig
from feature_store_assets.declaration.group import FeatureGroup
from feature_store_assets.errors import FeatureStoreError
from feature_store_assets.registry.models import Model
from feature_store_assets.store import FeatureStore

# Says of an asset that it stands for something in the registry.
RECORDED = "feature_store/recorded"
_SETS = "training-set:"


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
    """Return snapshots and training sets: each depends on the groups that it pins."""
    held: dict[str, list[str]] = {}
    about: dict[str, str] = {}
    for pin in store.snapshots.pins.all():
        held.setdefault(pin.snapshot, []).append(pin.feature_group)
        about[pin.snapshot] = pin.description
    sets = set(store.training_sets())
    specs = []
    for name, groups in held.items():
        learnt = name.removeprefix(_SETS)
        if learnt == name:
            specs.append(_spec("snapshots", name, groups, about[name]))
        elif learnt in sets:
            specs.append(_spec("training_sets", learnt, groups, about[name]))
    return specs


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
) -> dg.AssetSpec:
    return dg.AssetSpec(
        [folder, name],
        deps=[dg.AssetKey.from_user_string(each) for each in deps],
        description=description or None,
        group_name=folder,
        owners=owners,
        metadata={RECORDED: True, **(metadata or {})},
    )


def report(home: Path, model: Model) -> None:
    """Tell the Dagster instance of a home folder that a model was trained."""
    with dg.DagsterInstance.from_config(str(home)) as instance:
        instance.report_runless_asset_event(
            dg.AssetMaterialization(
                ["models", model.name],
                description=model.description or None,
                metadata={
                    "training_set": model.training_set,
                    "features": list(model.features),
                    "endpoint": model.endpoint,
                    "logged_by": model.logged_by,
                },
            )
        )

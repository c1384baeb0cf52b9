"""A feature store that is a Dagster project.

Names resolve on first use, so that reading features loads neither Dagster nor Great Expectations.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from feature_store_assets.client import FeatureStoreClient as FeatureStoreClient
    from feature_store_assets.config import FeatureStoreConfig as FeatureStoreConfig
    from feature_store_assets.declaration.drift import Drift as Drift
    from feature_store_assets.declaration.expect import Expectation as Expectation, expect as expect
    from feature_store_assets.declaration.feature import Entity as Entity, Feature as Feature
    from feature_store_assets.declaration.group import (
        FeatureGroup as FeatureGroup,
        Window as Window,
        feature_group as feature_group,
    )
    from feature_store_assets.declaration.request import RequestFeature as RequestFeature
    from feature_store_assets.declaration.view import FeatureView as FeatureView
    from feature_store_assets.errors.base import FeatureStoreError as FeatureStoreError
    from feature_store_assets.ingestion.push import FeatureType as FeatureType
    from feature_store_assets.offline.dataframes import FeatureTable as FeatureTable
    from feature_store_assets.orchestration.component import (
        FeatureGroupComponent as FeatureGroupComponent,
    )
    from feature_store_assets.orchestration.definitions import (
        build_definitions as build_definitions,
    )
    from feature_store_assets.registry.actor import Actor as Actor
    from feature_store_assets.registry.search import Filters as Filters
    from feature_store_assets.server.metrics import metric as metric
    from feature_store_assets.store import FeatureStore as FeatureStore
    from feature_store_assets.training.stored import TrainingSet as TrainingSet

_HOME = {
    "Actor": "registry.actor",
    "build_definitions": "orchestration.definitions",
    "Drift": "declaration.drift",
    "Entity": "declaration.feature",
    "Expectation": "declaration.expect",
    "Feature": "declaration.feature",
    "FeatureGroup": "declaration.group",
    "FeatureGroupComponent": "orchestration.component",
    "FeatureStore": "store",
    "FeatureStoreClient": "client",
    "FeatureStoreConfig": "config",
    "FeatureStoreError": "errors.base",
    "FeatureTable": "offline.dataframes",
    "FeatureType": "ingestion.push",
    "FeatureView": "declaration.view",
    "Filters": "registry.search",
    "RequestFeature": "declaration.request",
    "TrainingSet": "training.stored",
    "Window": "declaration.group",
    "expect": "declaration.expect",
    "feature_group": "declaration.group",
    "metric": "server.metrics",
}

__all__ = sorted(_HOME, key=str.casefold)  # noqa: PLE0605  # a list, made from the one table


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__

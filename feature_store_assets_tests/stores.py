"""Small stores for tests: a fresh data root each, and the rows that go into them."""

import shutil
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache, wraps
from pathlib import Path
from typing import Any

from feature_store_assets.config import FeatureStoreConfig
from feature_store_assets.declaration.feature import Entity, Feature
from feature_store_assets.declaration.group import FeatureGroup
from feature_store_assets.declaration.partitions import Partitions
from feature_store_assets.offline.table import OfflineTable
from feature_store_assets.store import FeatureStore
from feature_store_assets.training.stored import TrainingSet

T0 = datetime(2024, 1, 15, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
kept_in: Path | None = None  # the folder for what is copied; `conftest.py` makes it


def new_store(root: Path, **settings: Any) -> FeatureStore:
    given = {"removal_grace_seconds": 0, **settings}
    return FeatureStore(FeatureStoreConfig(storage_path=root / "store", **given))


def copied_store(filled: Path, root: Path, **settings: Any) -> FeatureStore:
    """A store with the rows of another, which was made in a folder, and closed."""
    shutil.copytree(filled / "store", root / "store")
    return new_store(root, **settings)


def once(fill: Callable[[FeatureStore], FeatureStore]) -> Callable[[FeatureStore], FeatureStore]:
    """Fill new stores alike: one as `fill` does, and all by copying it."""

    @wraps(fill)
    def filled(store: FeatureStore) -> FeatureStore:
        shutil.copytree(_kept(fill), store.config.root)
        return store

    return filled


@cache
def _kept(fill: Callable[[FeatureStore], FeatureStore]) -> Path:
    """The data root of a store that was filled, among the folders of this run."""
    with new_store(Path(tempfile.mkdtemp(dir=kept_in))) as store:
        fill(store)
        return store.config.root


def folder_of(stored: OfflineTable | TrainingSet) -> Path:
    """Where a table or a training set lies on this disk."""
    return Path(stored.location.uri)


def at(hours: float) -> datetime:
    """The instant so many hours after T0."""
    return T0 + hours * HOUR


def row(entity: object, hours: float, **features: object) -> dict[str, Any]:
    return {"entity_id": entity, "event_timestamp": at(hours), **features}


def pushed(name: str, *features: Feature, **given: Any) -> FeatureGroup:
    """A group that is pushed to, by month."""
    return FeatureGroup(
        name,
        **{
            "entity": Entity("user", ["entity_id"]),
            "features": features,
            "partitions": Partitions.calendar(["year", "month"]),
            "online": True,
            **given,
        },
    )


def traces(store: FeatureStore) -> tuple[object, ...]:
    """All that a refused call must leave as it was: tables, registry rows, online keys."""
    logs = sorted((store.config.root / "offline").glob("*/*/_delta_log/*.json"))
    applied = [*store.groups(), *store.applied.views()]
    online = sorted(key for chunk in store.online.scan(b"") for key in chunk)
    return logs, applied, online

"""Each test types its commands in a project's folder of its own."""

import shutil
import sys
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import pytest

from feature_store_assets import (
    Entity,
    Feature,
    FeatureStore,
    FeatureStoreConfig,
    FeatureView,
)
from feature_store_assets_tests.cli.commands import BAKERY
from feature_store_assets_tests.stores import T0, new_store, pushed, row


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of its own, as a project's root."""
    (tmp_path / "workspace.yaml").write_text(f"load_from:\n  - python_file: {BAKERY}\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    monkeypatch.setattr(sys, "path", sys.path.copy())  # loading definitions adds folders
    return tmp_path


@pytest.fixture(scope="session")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stock")
    with new_store(folder) as store:
        spend = pushed("spend", Feature("x", "float64"), Feature("tags", "list<string>"))
        route = pushed(
            "route",
            Feature("delay", "int64"),
            entity=Entity("route", {"origin": "string", "dest": "string"}),
        )
        visit = pushed(
            "visit",
            Feature("pages", "int64"),
            entity=Entity(
                "visit",
                {"member": "bool", "day": "date32", "since": "datetime", "shop_id": "int64"},
            ),
            ttl=timedelta(days=1),
        )
        store.apply(spend, route, visit, FeatureView("trip", [spend["x"], route]))
        rows = [row(f"u{n:02}", n, x=n / 3, tags=["a", "b"]) for n in range(25)]
        store.write_features([*rows, row("u00", 30, x=None, tags=None)], "spend")
        store.write_features(
            [
                {"origin": "JFK", "dest": "LAX", "event_timestamp": T0, "delay": 9},
                {"origin": "A,B", "dest": "C=D", "event_timestamp": T0, "delay": 1},
            ],
            "route",
        )
        key = {"member": True, "day": date(2024, 1, 2), "since": T0, "shop_id": 7}
        store.write_features([{**key, "event_timestamp": T0, "pages": 3}], "visit")
        store.create_snapshot("spend", "before")
        store.write_features([row("late", 40, x=1.0, tags=[])], "spend")
    return folder


@pytest.fixture
def stocked(stock: Path, project: Path) -> Iterator[FeatureStore]:
    """A project with rows: 25 users, and one of each kind of key."""
    shutil.copytree(stock / "store", project / "data" / "feature_store")
    with FeatureStore(FeatureStoreConfig()) as store:
        yield store

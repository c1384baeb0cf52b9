"""What is loaded when: serving code pays for nothing that it does not use."""

import subprocess
import sys
from pathlib import Path

import pytest

from feature_store_assets.declaration.feature import Feature
from feature_store_assets.declaration.request import RequestFeature
from feature_store_assets.declaration.view import FeatureView
from feature_store_assets_tests import functions
from feature_store_assets_tests.stores import new_store, pushed, row

NEVER = {"dagster", "great_expectations", "pandas", "pyspark", "torch"}
ENGINES = {"polars", "deltalake", "redis", "lmdb"}

OPEN = """
from datetime import UTC, datetime, timedelta
from feature_store_assets import FeatureStore, FeatureStoreConfig
T = datetime(2024, 1, 16, tzinfo=UTC)
SPINE = [{"entity_id": "u", "event_timestamp": T, "label": 1}]
store = FeatureStore(FeatureStoreConfig(storage_path=%r))
"""


def loaded(code: str) -> set[str]:
    """The heavy packages that a fresh interpreter has loaded after the code."""
    heavy = NEVER | ENGINES | {"pyarrow", "sqlalchemy", "alembic"}
    ending = f"\nimport sys\nprint('LOADED', *({heavy!r} & sys.modules.keys()))"
    child = subprocess.run(
        [sys.executable, "-c", code + ending], capture_output=True, text=True, check=False
    )
    assert child.returncode == 0, child.stderr
    return set(child.stdout.rpartition("LOADED")[2].split())


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A data root with rows in the group 'g', its view 'v', and a snapshot."""
    folder = tmp_path_factory.mktemp("weight")
    with new_store(folder) as store:
        group = pushed("g", Feature("x", "int64"))
        size = RequestFeature("size", "int64", functions.letters)
        computing = FeatureView("c", [group], request={"text": "string"}, computed=[size])
        store.apply(group, FeatureView("v", [group]), computing)
        store.write_features([row("u", 0, x=1)], "g")
        store.create_snapshot("v", "s")
        return str(store.config.root)


def test_importing_the_package_loads_nothing_heavy() -> None:
    assert loaded("import feature_store_assets") == set()


def test_importing_the_store_loads_no_engine() -> None:
    assert not loaded("from feature_store_assets import FeatureStore") & (NEVER | ENGINES)


def test_declaring_loads_neither_dagster_nor_an_engine() -> None:
    names = (
        "Entity, Feature, FeatureGroup, FeatureView, RequestFeature, Window, expect, feature_group"
    )
    assert loaded(f"from feature_store_assets import {names}") == set()


OFFLINE = [
    "store.read_features('g').to_polars()",
    "store.read_features('g', entities=[{'entity_id': 'u'}], as_of='s', limit=1).to_arrow()",
    "store.get_historical_features('v', SPINE).to_polars()",
    "store.get_historical_features(['g.x'], SPINE, as_of='s', ttl=timedelta(9)).to_arrow()",
]
ONLINE = [
    "store.get_online_features('g', ['u'])['u'] == {'x': 1}",
    "store.get_online_features('c', ['u'], ['x'])['u'] == {'x': 1}",
    "store.get_online_features('v', ['u'], include_status=True)['u']['values'] == {'x': 1}",
]


def test_reading_offline_loads_neither_dagster_nor_great_expectations_nor_pandas(root: str) -> None:
    reads = "".join(f"assert len({read}) == 1\n" for read in OFFLINE)
    assert not loaded(f"{OPEN % root}{reads}") & NEVER


def test_reading_online_loads_no_offline_engine_either(root: str) -> None:
    reads = "".join(f"assert {read}\n" for read in ONLINE)
    unneeded = NEVER | {"polars", "deltalake", "redis", "alembic"}
    assert not loaded(f"{OPEN % root}{reads}") & unneeded


def test_a_push_loads_neither_dagster_nor_great_expectations_nor_pandas(tmp_path: Path) -> None:
    checked = """
from feature_store_assets import Entity, Feature, FeatureGroup, expect
from feature_store_assets.declaration.partitions import Partitions
store.apply(FeatureGroup(
    "p", entity=Entity("user", ["entity_id"]), online=True,
    features=[Feature("x", "int64", ge=0, unique=True), Feature("c", "string", regex="^a"),
              Feature("tags", "list<string>"), Feature("on", "bool"), Feature("day", "date32")],
    partitions=Partitions.calendar(["year", "month"]),
    expectations=[expect.column_values_to_match_strftime_format("c", strftime_format="a%Y"),
                  expect.column_pair_values_to_be_equal("x", "x"),
                  expect.column_mean_to_be_between("x", max_value=9)],
))
row = {"event_timestamp": T, "c": "a2024", "tags": ["b", None]}
for x, mode in enumerate(("append", "upsert", "overwrite")):
    assert store.write_features([{**row, "entity_id": "u", "x": x}], "p", mode).rows_written == 1
    assert store.write_features([{**row, "entity_id": mode, "x": 9}], "p").rows_written == 1
"""
    assert not loaded(f"{OPEN % str(tmp_path / 'pushed')}{checked}") & NEVER

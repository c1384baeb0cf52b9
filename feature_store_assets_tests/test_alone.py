"""Tests see neither the checkout that they stand in nor the settings of whoever runs them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from feature_store_assets.config import FeatureStoreConfig

CHECKOUT = Path(__file__).parents[1]
LOOK = """
from feature_store_assets.config import FeatureStoreConfig
config = FeatureStoreConfig()
print(config.root, config.dagster_home)
"""


@pytest.fixture(scope="module")
def of_the_module() -> FeatureStoreConfig:
    config = FeatureStoreConfig()
    assert config.project == Path.cwd()
    return config


def test_the_project_of_a_test_is_its_own_folder(
    of_the_module: FeatureStoreConfig, tmp_path: Path
) -> None:
    config = FeatureStoreConfig()
    assert config.root == tmp_path / "data" / "feature_store"
    assert config.dagster_home is None
    assert CHECKOUT not in of_the_module.root.parents
    assert of_the_module.root != config.root


def test_a_process_of_a_test_sees_no_more(tmp_path: Path) -> None:
    told = subprocess.run(
        [sys.executable, "-c", LOOK], capture_output=True, text=True, check=True
    ).stdout
    assert told == f"{tmp_path / 'data' / 'feature_store'} None\n"


def test_no_setting_is_given() -> None:
    assert [name for name in os.environ if name.startswith("FEATURE_STORE_")] == []

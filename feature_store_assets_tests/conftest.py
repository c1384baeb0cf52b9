"""A fresh embedded store for each test that asks for one."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from feature_store_assets.store import FeatureStore
from feature_store_assets_tests.stores import new_store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[FeatureStore]:
    with new_store(tmp_path) as opened:
        yield opened

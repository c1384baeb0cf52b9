"""What all tests share: a fresh embedded store for each that asks, and patience under load."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from feature_store_assets.store import FeatureStore
from feature_store_assets_tests.stores import new_store

# Not the instance of whoever runs the tests: a write would be reported to it.
os.environ["DAGSTER_HOME"] = "/nowhere"
# A busy machine is no defect of the code.
settings.register_profile(
    "busy", max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("busy")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[FeatureStore]:
    with new_store(tmp_path) as opened:
        yield opened

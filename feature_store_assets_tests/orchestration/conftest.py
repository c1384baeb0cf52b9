from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from feature_store_assets_tests.orchestration.shop import Shop


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture
def shop(tmp_path: Path, instance: dg.DagsterInstance) -> Shop:
    return Shop(tmp_path / "store", instance)

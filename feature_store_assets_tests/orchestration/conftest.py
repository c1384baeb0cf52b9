from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from feature_store_assets_tests.orchestration.shop import Shop, copied


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture
def shop(tmp_path: Path, instance: dg.DagsterInstance) -> Shop:
    return Shop(tmp_path / "store", instance)


@pytest.fixture
def filled(once_filled: Shop, tmp_path: Path) -> Iterator[Shop]:
    """A copy of the shop that a module filled once."""
    with copied(once_filled, tmp_path / "store") as shop:
        yield shop

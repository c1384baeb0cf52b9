"""A store with rows, an archive of all of it, and an empty store."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from feature_store_assets.store import FeatureStore
from feature_store_assets_tests.registry.conftest import database, postgres, schema, url
from feature_store_assets_tests.stores import new_store
from feature_store_assets_tests.transfer.archives import fill

__all__ = ["database", "postgres", "schema", "url"]


@pytest.fixture(scope="session")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made once; tests get copies of it."""
    folder = tmp_path_factory.mktemp("original")
    with new_store(folder / "source") as store:
        fill(store)
        store.export_archive(folder / "archive")
    return folder


@pytest.fixture
def source(original: Path, tmp_path: Path) -> Iterator[FeatureStore]:
    """Groups 'a' and 'b' in the view 'both', as `fill` fills them."""
    shutil.copytree(original / "source", tmp_path / "source")
    with new_store(tmp_path / "source") as store:
        yield store


@pytest.fixture
def archive(original: Path, tmp_path: Path) -> Path:
    """All of the source."""
    return Path(shutil.copytree(original / "archive", tmp_path / "archive"))


@pytest.fixture
def target(tmp_path: Path) -> Iterator[FeatureStore]:
    with new_store(tmp_path / "target") as store:
        yield store

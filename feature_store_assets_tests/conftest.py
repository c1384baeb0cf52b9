"""What all tests share: a place of their own, quick new stores, and patience under load."""

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from feature_store_assets.store import FeatureStore
from feature_store_assets_tests import stores
from feature_store_assets_tests.counts import examples
from feature_store_assets_tests.migrations import quick_migrations
from feature_store_assets_tests.stores import new_store

# Not the instance of whoever runs the tests: a write would be reported to it.
os.environ["DAGSTER_HOME"] = "/nowhere"
# Nor the store of whoever runs them.
for variable in [name for name in os.environ if name.startswith("FEATURE_STORE_")]:
    del os.environ[variable]
# A busy machine is no defect of the code.
settings.register_profile(
    "busy", max_examples=examples(50), deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("busy")


# What is imported stays: to look for garbage among it takes a sixth of the collection's time.
gc.disable()


def pytest_collection_finish() -> None:
    """Let the garbage collector leave alone what was imported, and look less often."""
    gc.collect()
    gc.freeze()
    gc.enable()
    gc.set_threshold(20_000, 20, 50)


@pytest.fixture(scope="session", autouse=True)
def _elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Fixtures of a module or of all tests are made outside of the checkout too."""
    with pytest.MonkeyPatch.context() as patch, quick_migrations():
        patch.chdir(tmp_path_factory.mktemp("elsewhere"))
        patch.setattr(stores, "kept_in", tmp_path_factory.mktemp("kept"))
        yield


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test is in a folder of its own, which is its project root: see `config.py`."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is no project, far from any Dagster instance, with settings of its own."""
    monkeypatch.delenv("DAGSTER_HOME")
    monkeypatch.setenv("FEATURE_STORE_STORAGE_PATH", str(tmp_path / "store"))
    return tmp_path


@pytest.fixture
def store(tmp_path: Path) -> Iterator[FeatureStore]:
    with new_store(tmp_path) as opened:
        yield opened

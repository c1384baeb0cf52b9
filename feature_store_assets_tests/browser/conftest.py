"""A Dagster home of its own for each test of the UI, and where its pictures go."""

import os
from pathlib import Path

import pytest

from feature_store_assets_tests.browser.dagster_ui import PROJECT


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "dagster.yaml").symlink_to(PROJECT / "dagster.yaml")
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    monkeypatch.setenv("FEATURE_STORE_STORAGE_PATH", str(tmp_path / "store"))
    return tmp_path


@pytest.fixture
def pictures(home: Path) -> Path:
    """Where pictures go: `make screenshots` keeps them for the documentation."""
    return Path(os.environ.get("PICTURES", home))

"""`feature-store rebuild`."""

import pytest

from feature_store_assets import FeatureStore
from feature_store_assets.retrieval import online
from feature_store_assets_tests.cli.commands import refused, run


def test_rebuild_tells_rows_and_generation(
    stocked: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(online, "_LONGEST", 0.0)
    monkeypatch.setattr(online, "_MARGIN", 0.0)
    before = stocked.get_online_features("spend", ["u01", "late"])
    assert run("rebuild", "spend").stderr == (
        "spend is read in generation 1: 26 row(s) written, 26 old one(s) removed.\n"
    )
    stocked.serving.forget()
    assert stocked.get_online_features("spend", ["u01", "late"]) == before


@pytest.mark.usefixtures("stocked")
def test_rebuild_of_what_is_not_there_names_what_is() -> None:
    assert "Did you mean 'spend'" in refused("rebuild", "spent")

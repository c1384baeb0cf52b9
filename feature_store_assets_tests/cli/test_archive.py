"""`feature-store export` and `feature-store import`."""

import json
from pathlib import Path

import polars as pl
import pytest

from feature_store_assets import FeatureStore
from feature_store_assets_tests.cli.commands import cells, refused, run
from feature_store_assets_tests.stores import at, new_store

pytestmark = pytest.mark.usefixtures("stocked")


def elsewhere(monkeypatch: pytest.MonkeyPatch, project: Path) -> None:
    monkeypatch.setenv("FEATURE_STORE_STORAGE_PATH", str(project / "other" / "store"))


@pytest.mark.slow
def test_all_there_is_goes_into_another_store(
    stocked: FeatureStore, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = run("export", "archive")
    assert cells(result)[0] == ["group", "version", "partitions", "rows", "bytes"]
    assert [line[:4] for line in cells(result)[1:]] == [
        ["route", "1", "1", "2"],
        ["spend", "1", "1", "27"],
        ["visit", "1", "1", "1"],
    ]
    assert result.stderr.startswith("'route': 1 partitions exported.\n")
    elsewhere(monkeypatch, project)
    result = run("import", "archive")
    assert cells(result)[2] == ["spend", "1", "1", "27"]
    with new_store(project / "other") as other:
        for name in ("route", "spend", "visit"):
            mine, theirs = (each.read_features(name).to_polars() for each in (stocked, other))
            assert mine.equals(theirs)
        assert other.applied.views() == stocked.applied.views()


def test_groups_views_snapshots_and_ranges_are_chosen(project: Path) -> None:
    counts = {
        "groups": ("--group", "visit", "--group", "route"),
        "view": ("--view", "trip"),
        "snapshot": ("--snapshot", "before"),
        "range": ("--group", "spend", "--start", at(1).isoformat(), "--end", at(3).isoformat()),
    }
    found = {}
    for name, chosen in counts.items():
        answer = json.loads(run("export", name, *chosen, "--json").stdout)
        found[name] = [(each["feature_group"], each["rows"]) for each in answer["groups"]]
        assert answer["digest"] in (project / name / "archive.json").read_text()
    assert found == {
        "groups": [("visit", 1), ("route", 2)],
        "view": [("spend", 27), ("route", 2)],
        "snapshot": [("spend", 26)],
        "range": [("spend", 2)],
    }
    rows = pl.read_parquet(project / "range" / "data" / "spend" / "v1" / "*.parquet")
    assert rows["entity_id"].to_list() == ["u01", "u02"]


def test_a_conflict_is_told_and_can_be_decided(stocked: FeatureStore) -> None:
    run("export", "archive", "--group", "visit")
    said = refused("import", "archive").splitlines()[-2:]
    assert said == [
        "  visit v1: 2024-01",
        "Import with on_conflict='keep' or on_conflict='replace' to say which shall stay.",
    ]
    kept = json.loads(run("import", "archive", "--on-conflict", "keep", "--json").stdout)
    assert kept["groups"][0] == {
        "feature_group": "visit", "version": 1, "rows": {}, "kept": ["2024-01"],
    }  # fmt: skip
    assert cells(run("import", "archive", "--on-conflict", "replace"))[1][2:4] == ["1", "1"]


def test_a_snapshot_is_made_again_or_it_is_said_why_not(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("export", "archive", "--snapshot", "before")
    assert "was not made again: " in run("import", "archive", "--on-conflict", "keep").stderr
    elsewhere(monkeypatch, project)
    assert run("import", "archive").stderr.endswith("Snapshot 'before' holds what it held.\n")


def test_errors_are_one_line() -> None:
    assert "No feature group is named 'spent'" in refused("export", "x", "--group", "spent")
    assert "Did you mean 'trip'" in refused("export", "x", "--view", "tri")
    run("export", "archive")
    assert "holds an archive already" in refused("export", "archive")
    Path("archive/archive.json").unlink()
    assert "it has no archive.json" in refused("import", "archive")
    assert run("export", "y", "--start", "soon").exit_code == 2
    assert run("import", "nowhere").exit_code == 2
    assert run("import", "archive", "--on-conflict", "merge").exit_code == 2

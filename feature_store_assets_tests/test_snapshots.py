"""Snapshots: what a name holds is read for ever, an instant for as long as time travel reaches."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from feature_store_assets.declaration.feature import Feature
from feature_store_assets.declaration.view import FeatureView
from feature_store_assets.errors import (
    DataError,
    NameTaken,
    SnapshotNotFound,
    VersionExpired,
    ViewNotFound,
)
from feature_store_assets.registry.pins import Pins
from feature_store_assets.snapshots import Snapshots
from feature_store_assets.store import FeatureStore
from feature_store_assets_tests.stores import new_store, pushed, row, traces

SPINE = [row("u", 5)]


@pytest.fixture
def spending(store: FeatureStore) -> FeatureStore:
    """Groups 'a' and 'b' in the view 'both'; 'a' holds x=1."""
    a, b = pushed("a", Feature("x", "int64")), pushed("b", Feature("y", "int64"))
    store.apply(a, b, FeatureView("both", [a, b]))
    store.write_features([row("u", 0, x=1)], "a")
    store.write_features([row("u", 0, y=10)], "b")
    return store


def correct(store: FeatureStore, x: int) -> None:
    store.write_features([row("u", 0, x=x)], "a", mode="upsert")


def seen(store: FeatureStore, as_of: str | datetime | None) -> list[object]:
    read = store.read_features("a", as_of=as_of).to_arrow()["x"].to_pylist()
    joined = store.get_historical_features("a", SPINE, as_of=as_of).to_arrow()["x"].to_pylist()
    return [*read, *joined]


def test_a_snapshot_is_read_as_it_was_after_later_writes(spending: FeatureStore) -> None:
    assert spending.create_snapshot("both", "churn-2024.06", created_by="ml") == "churn-2024.06"
    correct(spending, 2)
    spending.write_features([row("v", 0, x=3)], "a", mode="overwrite")
    assert seen(spending, "churn-2024.06") == [1, 1]
    assert seen(spending, None) == [3, None]
    joined = spending.get_historical_features("both", SPINE, as_of="churn-2024.06").to_arrow()
    assert joined.select(["x", "y"]).to_pylist() == [{"x": 1, "y": 10}]


def test_an_instant_is_read_as_the_tables_were_then(spending: FeatureStore) -> None:
    first = datetime.now(UTC)
    correct(spending, 2)
    second = datetime.now(UTC)
    correct(spending, 3)
    assert seen(spending, first) == [1, 1]
    assert seen(spending, second) == [2, 2]
    assert seen(spending, second.astimezone().replace(tzinfo=None)) == [2, 2]
    assert seen(spending, datetime.now(UTC)) == [3, 3]


def test_before_its_first_rows_a_table_is_empty(spending: FeatureStore) -> None:
    assert seen(spending, datetime.now(UTC) - timedelta(days=1)) == [None]


def test_an_instant_beyond_time_travel_names_the_nearest_snapshot(tmp_path: Path) -> None:
    with new_store(tmp_path, time_travel_days=1) as store:
        store.register_feature_group(pushed("a", Feature("x", "int64")))
        store.write_features([row("u", 0, x=1)], "a")
        long_ago = datetime.now(UTC) - timedelta(days=2)
        with pytest.raises(VersionExpired, match=r"'a' can no longer .*No snapshot holds it"):
            store.read_features("a", as_of=long_ago)
        store.create_snapshot("a", "first")
        store.create_snapshot("a", "second")
        with pytest.raises(VersionExpired, match="nearest snapshot that holds it is 'first'"):
            store.get_historical_features("a", SPINE, as_of=long_ago)


def test_the_files_that_a_snapshot_needs_survive_a_sweep(spending: FeatureStore) -> None:
    spending.create_snapshot("a", "kept")
    spending.write_features([row("u", 0, x=2)], "a", mode="overwrite")
    group = spending.applied.group("a")
    pins = spending.snapshots.pins.of_group("a", 1)
    spending.table(group).sweep(
        older_than=timedelta(0), keep_versions=[pin.table_version for pin in pins], dry_run=False
    )
    assert seen(spending, "kept") == [1, 1]


def test_a_name_is_given_once(spending: FeatureStore) -> None:
    spending.create_snapshot("a", "s")
    with pytest.raises(NameTaken, match="named 's' exists already"):
        spending.create_snapshot("b", "s")
    assert [pin.feature_group for pin in spending.snapshots.pins.of("s")] == ["a"]


def test_a_list_of_views_and_groups_is_pinned_once_each(spending: FeatureStore) -> None:
    spending.create_snapshot(["both", "a", spending.applied.group("b")], "s", description="d")
    pins = spending.snapshots.pins.of("s")
    assert [(pin.feature_group, pin.group_version, pin.description) for pin in pins] == [
        ("a", 1, "d"),
        ("b", 1, "d"),
    ]


def test_an_unknown_name_gets_a_suggestion(spending: FeatureStore) -> None:
    with pytest.raises(SnapshotNotFound, match=r"named 'churn'. There are none yet"):
        spending.read_features("a", as_of="churn")
    spending.create_snapshot("a", "churn-2024")
    with pytest.raises(SnapshotNotFound, match=r"named 'churn-2025'. Did you mean 'churn-2024'"):
        spending.read_features("a", as_of="churn-2025")


def test_a_snapshot_without_the_group_says_which_hold_it(spending: FeatureStore) -> None:
    spending.create_snapshot("a", "only-a")
    spending.create_snapshot("b", "only-b")
    with pytest.raises(SnapshotNotFound, match=r"'only-a' with 'b'. Did you mean 'only-b'"):
        spending.read_features("b", as_of="only-a")


@pytest.mark.parametrize("name", ["", "2024", "a b", "a/b", "-a", "é", "x" * 129])
def test_a_name_that_files_and_urls_cannot_carry_is_refused(
    spending: FeatureStore, name: str
) -> None:
    with pytest.raises(DataError, match=f"'{name}' cannot name a snapshot"):
        spending.create_snapshot("a", name)
    assert spending.snapshots.pins.all() == []


def test_what_cannot_be_pinned_leaves_no_trace(spending: FeatureStore) -> None:
    spending.register_feature_group(pushed("empty", Feature("z", "int64")))
    before = traces(spending)
    with pytest.raises(DataError, match="'empty' holds no rows yet"):
        spending.create_snapshot(["a", "empty"], "s")
    with pytest.raises(ViewNotFound):
        spending.create_snapshot(["a", "nothing"], "s")
    assert spending.snapshots.pins.all() == []
    assert traces(spending) == before


def test_snapshots_are_values(spending: FeatureStore) -> None:
    pins: Pins = spending.snapshots.pins
    assert Snapshots(pins, timedelta(days=1)) == Snapshots(pins, timedelta(days=1))

"""Snapshots: what a name holds is read for ever, an instant for as long as time travel reaches."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

import pytest

from feature_store_assets.declaration.feature import Feature
from feature_store_assets.declaration.group import FeatureGroup
from feature_store_assets.declaration.view import FeatureView
from feature_store_assets.errors import (
    DataError,
    NameTaken,
    SnapshotDamaged,
    SnapshotNeeded,
    SnapshotNotFound,
    VersionExpired,
    ViewNotFound,
)
from feature_store_assets.snapshots.manifest import About
from feature_store_assets.store import FeatureStore
from feature_store_assets_tests.stores import folder_of, new_store, once, pushed, row, traces

SPINE = [row("u", 5)]


@pytest.fixture
@once
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
    table = spending.table(spending.applied.group("a"))
    kept = [pin.table_version for pin in spending.snapshots.pins.of_group("a", 1)]
    assert table.sweep(oldest=table.version(), keep_versions=kept, dry_run=False).files == 0
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


# What a snapshot is made of


def files(store: FeatureStore, name: str) -> list[Path]:
    table = store.table(store.applied.group("a"))
    (held,) = store.snapshots.table.manifest(name)["groups"]
    return [folder_of(table) / each["path"] for each in held["files"]]


def test_the_manifest_tells_all_that_it_takes_to_trust_it(spending: FeatureStore) -> None:
    list(spending.validate(spending.applied.group("a")))  # keeps statistics
    spending.create_snapshot(
        "both", "s", description="June", created_by="ml", tags={"use": "audit"}
    )
    manifest = spending.snapshots.table.manifest("s")
    told = ("name", "description", "created_by", "tags")
    assert [manifest[each] for each in told] == ["s", "June", "ml", {"use": "audit"}]
    assert manifest["view"]["name"] == "both"
    assert manifest["packages"]["deltalake"] == version("deltalake")
    a, b = manifest["groups"]
    assert (a["group"], a["rows"], b["group"]) == ("a", 1, "b")
    assert a["definition"] == spending.applied.group("a").to_json()
    assert a["columns"]["x"] == "int64"
    assert a["statistics"]["x"]["mean"] == 1.0
    assert b["statistics"]["y"]["count"] == 1
    (file,) = a["files"]
    path = folder_of(spending.table(spending.applied.group("a"))) / file["path"]
    assert sha256(path.read_bytes()).hexdigest() == file["sha256"]
    assert path.stat().st_size == file["bytes"] == a["bytes"]
    (listed,) = spending.list_snapshots()
    assert (listed.name, listed.tags, listed.created_by) == ("s", {"use": "audit"}, "ml")


def test_nothing_is_copied(spending: FeatureStore) -> None:
    before = {path: path.stat().st_size for path in spending.config.root.rglob("*.parquet")}
    spending.create_snapshot("both", "s")
    assert {path: path.stat().st_size for path in spending.config.root.rglob("*.parquet")} == before


def test_a_file_is_digested_once_for_all_snapshots(spending: FeatureStore) -> None:
    spending.create_snapshot("a", "first")
    (path,) = files(spending, "first")
    content = path.read_bytes()
    path.write_bytes(bytes(reversed(content)))  # as long as before: not read again
    spending.create_snapshot("a", "second")
    first, second = (
        spending.snapshots.table.manifest(name)["groups"] for name in ("first", "second")
    )
    assert first[0]["files"] == second[0]["files"]
    path.write_bytes(content)
    assert spending.verify_snapshot("second") == 1


def test_verifying_names_the_files_that_are_gone_or_changed(spending: FeatureStore) -> None:
    spending.create_snapshot("both", "s")
    assert spending.verify_snapshot("s") == 2
    spending.create_snapshot("a", "only-a")
    (path,) = files(spending, "only-a")
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(
        SnapshotDamaged, match=rf"'s' is not .*a: partition.*{path.name} has changed"
    ):
        spending.verify_snapshot("s")
    path.unlink()
    with pytest.raises(SnapshotDamaged, match=rf"{path.name} is gone\. Restore these files"):
        spending.verify_snapshot("s")


# Differences


def test_two_snapshots_are_compared_fact_by_fact(spending: FeatureStore) -> None:
    spending.write_features([row("v", 0, x=5), row("w", 0, x=6)], "a")
    spending.create_snapshot("both", "before")
    spending.write_features(
        [row("u", 0, x=3), row("z", 0, x=9), row("v", 0, x=5)], "a", "overwrite"
    )
    spending.create_snapshot("a", "after")
    found = spending.compare_snapshots("before", "after")
    assert (found["only_before"], found["only_after"]) == (["b v1"], [])
    (a,) = found["groups"]
    assert a["rows"] == {"before": 3, "after": 3, "added": 1, "removed": 1, "changed": 1}
    assert a["changed"] == {"x": 1}
    assert a["partitions"] == ["2024-01"]
    assert a["shift"]["x"]["missing"] == 0.0
    assert a["shift"]["x"]["wasserstein"] > 0


def test_equal_snapshots_differ_in_nothing_and_no_row_is_read(spending: FeatureStore) -> None:
    spending.create_snapshot("a", "one")
    spending.create_snapshot("a", "two")
    (a,) = spending.compare_snapshots("one", "two")["groups"]
    assert a["rows"] == {"before": 1, "after": 1, "added": 0, "removed": 0, "changed": 0}
    assert (a["partitions"], a["shift"]) == ([], {})


def test_an_upsert_is_a_change_and_nan_equals_nan(store: FeatureStore) -> None:
    store.register_feature_group(pushed("n", Feature("x", "float64")))
    store.write_features([row("u", 0, x=float("nan")), row("v", 0, x=1.0)], "n")
    store.create_snapshot("n", "one")
    store.write_features([row("v", 0, x=None)], "n", mode="upsert")
    store.create_snapshot("n", "two")
    (n,) = store.compare_snapshots("one", "two")["groups"]
    assert n["rows"] == {"before": 2, "after": 2, "added": 0, "removed": 0, "changed": 1}


# The end of a snapshot


def test_a_deleted_snapshot_is_gone_and_written_down(spending: FeatureStore) -> None:
    spending.create_snapshot("a", "s")
    spending.acting_as("ann").delete_snapshot("s")
    with pytest.raises(SnapshotNotFound, match="No snapshot is named 's'"):
        spending.read_features("a", as_of="s")
    last = list(spending.audit.entries())[-1]
    assert (last.action, last.subject, last.actor) == ("delete", "snapshot s", "ann")
    with pytest.raises(SnapshotNotFound):
        spending.delete_snapshot("s")
    spending.create_snapshot("a", "s")  # the name is free again


def test_a_held_snapshot_stays_and_so_does_one_of_a_held_group(spending: FeatureStore) -> None:
    spending.create_snapshot("both", "s")
    spending.hold("snapshot", "s", "case 7")
    spending.hold("group", "b", "case 8")
    told = (
        r"legal hold on group 'b' \(case 8\); the legal hold on snapshot 's' \(case 7\)\. It stays"
    )
    with pytest.raises(SnapshotNeeded, match=told):
        spending.delete_snapshot("s")
    assert [each.name for each in spending.list_snapshots()] == ["s"]
    with pytest.raises(SnapshotNotFound):
        spending.hold("snapshot", "t", "case 9")


def test_what_retention_removes_meanwhile_is_not_pinned(spending: FeatureStore) -> None:
    group, table = spending.applied.group("a"), spending.table(spending.applied.group("a"))
    seen: list[int] = []

    def describe(_group: FeatureGroup, _partitions: Sequence[str]) -> dict[str, object]:
        seen.append(table.version())
        if len(seen) == 1:  # retention is faster
            correct(spending, 2)
            spending.parts.removals.raise_floor("a", 1, table.version())
        return {}

    spending.snapshots.create(About("s"), [(group, table)], describe)
    (pin,) = spending.snapshots.pins.of("s")
    assert pin.table_version == seen[-1] == seen[0] + 1

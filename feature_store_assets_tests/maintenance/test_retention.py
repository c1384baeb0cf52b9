"""Retention: what is older than its group keeps goes from disk, and nothing that is needed."""

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from feature_store_assets import Feature, FeatureGroup, FeatureStore
from feature_store_assets.errors import (
    HoldNotFound,
    OutsideRetention,
    OutsideRetentionWarning,
    SnapshotNeeded,
)
from feature_store_assets.maintenance.retention import Retained
from feature_store_assets_tests.stores import at, folder_of, new_store, once, pushed, row

DAY = 24
# The months of `fill`, one row of each user in each: T0 is the 15th of January.
MONTHS = {"2024-01": 0, "2024-02": 31 * DAY, "2024-03": 60 * DAY, "2024-04": 91 * DAY}
NOW = at(100 * DAY)  # the 24th of April


def group(**given: object) -> FeatureGroup:
    return pushed(
        "spending",
        Feature("x", "int64"),
        **{"retention": timedelta(days=60), "ttl": timedelta(days=30), **given},
    )


def fill(store: FeatureStore, declared: FeatureGroup | None = None) -> FeatureGroup:
    """Register the group and write two rows a month."""
    if declared is None:
        return as_declared(store).applied.group("spending")
    return write(store, declared)


@once
def as_declared(store: FeatureStore) -> FeatureStore:
    write(store, group())
    return store


def write(store: FeatureStore, declared: FeatureGroup) -> FeatureGroup:
    found = store.register_feature_group(declared)
    for number, hours in enumerate(MONTHS.values()):
        store.write_features(
            [row("ann", hours, x=number), row("bob", hours, x=-number)], "spending"
        )
    return found


def retain(store: FeatureStore, *, dry_run: bool = False, now: datetime = NOW) -> Retained:
    (done,) = store.retain(["spending"], dry_run=dry_run, now=now)
    return done


def partitions(store: FeatureStore) -> list[str]:
    return store.table(store.applied.group("spending")).partitions()


def on_disk(store: FeatureStore) -> dict[str, int]:
    """How many data files lie in the folder of each partition."""
    folder = folder_of(store.table(store.applied.group("spending")))
    counts: dict[str, int] = {}
    for path in folder.rglob("*.parquet"):
        if "_delta_log" not in path.parts:
            key = path.parent.name.removeprefix("partition=")
            counts[key] = counts.get(key, 0) + 1
    return counts


def test_partitions_go_whose_last_event_is_older_than_the_group_keeps(store: FeatureStore) -> None:
    fill(store)
    table = store.table(store.applied.group("spending"))
    kept = [(file.path, Path(file.uri).stat().st_mtime_ns) for file in table.files()][2:]
    done = retain(store)
    assert done.partitions == ("2024-01", "2024-02")
    assert (done.rows, done.files, done.files_left) == (4, 2, 0)
    assert done.bytes_freed >= done.bytes > 0
    assert on_disk(store) == {"2024-03": 1, "2024-04": 1}
    # Not one kept file was rewritten.
    assert [(file.path, Path(file.uri).stat().st_mtime_ns) for file in table.files()] == kept
    assert retain(store).partitions == ()


def test_a_dry_run_says_the_same_and_removes_nothing(store: FeatureStore) -> None:
    fill(store)
    before = on_disk(store)
    planned = retain(store, dry_run=True)
    assert on_disk(store) == before
    done = retain(store)
    assert (planned.partitions, planned.rows, planned.bytes) == (
        done.partitions,
        done.rows,
        done.bytes,
    )


def test_a_partition_stays_while_one_event_of_it_is_young_enough(store: FeatureStore) -> None:
    fill(store)
    # The last event of February is 69 days old.
    assert retain(store, now=at(MONTHS["2024-02"]) + timedelta(days=60)).partitions == ("2024-01",)
    later = at(MONTHS["2024-02"]) + timedelta(days=60, seconds=1)
    assert retain(store, now=later).partitions == ("2024-02",)


def test_the_setting_counts_for_groups_that_say_nothing(tmp_path: Path) -> None:
    with new_store(tmp_path, retention_days=60) as store:
        fill(store, group(retention=None))
        assert retain(store).partitions == ("2024-01", "2024-02")


def test_without_any_retention_all_stays(store: FeatureStore) -> None:
    fill(store, group(retention=None))
    assert retain(store).partitions == ()
    assert len(on_disk(store)) == 4


@pytest.mark.slow
def test_the_newest_row_that_is_still_served_stays_with_its_partition(store: FeatureStore) -> None:
    fill(store, group(ttl=None))
    store.write_features([row("zoe", 3, x=7)], "spending")  # in January, and never again
    done = retain(store)
    assert done.partitions == ("2024-02",)
    assert done.needed_online == {"2024-01": 1}
    served = store.get_online_features("spending", ["zoe", "ann"])
    assert served == {"zoe": {"x": 7}, "ann": {"x": 3}}
    store.write_features([row("zoe", MONTHS["2024-04"], x=8)], "spending")
    done = retain(store)
    assert (done.partitions, done.needed_online) == (("2024-01",), {})


@pytest.mark.slow
def test_a_row_within_the_ttl_is_needed_and_one_beyond_it_is_not(store: FeatureStore) -> None:
    fill(store, group(ttl=timedelta(days=80)))
    store.write_features([row("old", 0, x=1), row("new", MONTHS["2024-02"], x=2)], "spending")
    done = retain(store)
    assert (done.partitions, done.needed_online) == (("2024-01",), {"2024-02": 1})
    assert store.get_online_features("spending", ["new"], at=NOW) == {"new": {"x": 2}}


def test_online_rows_of_removed_partitions_are_taken_back(store: FeatureStore) -> None:
    fill(store)
    store.write_features([row("old", 0, x=1)], "spending")
    retain(store)
    found = store.get_online_features("spending", ["old"], at=at(1), include_status=True)
    assert found["old"]["status"] == "missing"


# What must stay


def test_a_legal_hold_keeps_a_group_until_it_is_lifted(store: FeatureStore) -> None:
    fill(store)
    store.acting_as("law").hold("group", "spending", "case 7")
    done = retain(store)
    assert (done.partitions, done.files, done.hold) == ((), 0, "case 7")
    store.lift_hold("group", "spending")
    assert retain(store).partitions == ("2024-01", "2024-02")
    with pytest.raises(
        HoldNotFound, match=r"There is no hold on group 'spending'\. No group is held"
    ):
        store.lift_hold("group", "spending")


def test_what_a_snapshot_pins_stays_on_disk_and_is_read_by_its_name(store: FeatureStore) -> None:
    fill(store)
    store.create_snapshot("spending", "kept")
    before = store.read_features("spending", as_of="kept").to_arrow()
    done = retain(store)
    assert (done.files, done.files_left, done.pinned_by) == (0, 2, ("kept",))
    assert partitions(store) == ["2024-03", "2024-04"]
    assert store.read_features("spending", as_of="kept").to_arrow() == before
    assert store.verify_snapshot("kept") == 4


def test_what_a_deleted_snapshot_held_goes_with_the_next_retention(store: FeatureStore) -> None:
    fill(store)
    store.create_snapshot("spending", "kept")
    assert retain(store).files_left == 2
    assert retain(store).files_left == 2
    store.write_features([row("ann", MONTHS["2024-01"], x=7)], "spending")  # it came late
    store.delete_snapshot("kept")
    store.hold("group", "spending", "a trial")
    assert retain(store, now=at(0)).files == 0
    store.lift_hold("group", "spending")
    done = retain(store, now=at(0))
    assert (done.partitions, done.files, done.files_left) == ((), 2, 0)
    assert on_disk(store) == {"2024-01": 1, "2024-03": 1, "2024-04": 1}


def test_an_instant_is_read_without_what_retention_removed(store: FeatureStore) -> None:
    fill(store)
    then = datetime.now(UTC)
    store.write_features([row("ann", MONTHS["2024-04"] + 1, x=9)], "spending")
    retain(store)
    assert store.read_features("spending", as_of=then).to_arrow()["x"].to_pylist() == [2, -2, 3, -3]


# Reads of what was removed


def test_a_read_of_what_was_removed_says_so(store: FeatureStore) -> None:
    fill(store)
    store.create_snapshot("spending", "kept")
    retain(store)
    told = (
        r"Partition 2024-01 of 'spending' is outside retention\. Its rows are kept from "
        r"2024-03-15T12:00:00\+00:00 on\. These snapshots hold more of it: 'kept'; read with as_of="
    )
    with pytest.raises(OutsideRetention, match=told):
        store.read_features("spending", partitions=["2024-01"])
    with pytest.raises(OutsideRetention, match="2024-01-15T12:00:00"):
        store.read_features("spending", start_time=at(0), end_time=at(DAY))
    with pytest.warns(OutsideRetentionWarning, match="2024-01-15"):
        left = store.read_features("spending", start_time=at(0))
    assert len(left) == 4
    assert len(store.read_features("spending")) == 4
    assert len(store.read_features("spending", partitions=["2024-01"], as_of="kept")) == 2


def test_a_join_at_times_that_were_removed_says_so(store: FeatureStore) -> None:
    fill(store)
    retain(store)
    spine = [row("ann", 1), row("ann", MONTHS["2024-03"] + 1)]
    with pytest.warns(OutsideRetentionWarning, match="The time of 1 of 2 rows of the spine"):
        joined = store.get_historical_features("spending", spine)
    assert joined.to_arrow()["x"].to_pylist() == [None, 2]
    with pytest.raises(OutsideRetention, match=r"1 of 1 rows .* No snapshot holds more of it"):
        store.get_historical_features("spending", spine[:1])


@pytest.mark.slow
def test_rows_that_are_written_again_are_read_as_ever(store: FeatureStore) -> None:
    fill(store)
    retain(store)
    store.write_features([row("ann", 0, x=5)], "spending")
    assert len(store.read_features("spending", partitions=["2024-01"])) == 1
    spine = [row("ann", 1)]
    assert store.get_historical_features("spending", spine).to_arrow()["x"].to_pylist() == [5]
    assert retain(store).partitions == ("2024-01",)


# Killed runs

CODE = """
import sys
from pathlib import Path
from feature_store_assets_tests.maintenance.test_retention import NOW
from feature_store_assets_tests.stores import new_store
with new_store(Path(sys.argv[1]), removal_grace_seconds=3600) as store:
    store.retain(dry_run=False, now=NOW)
"""


@pytest.mark.slow
def test_a_run_killed_before_its_files_went_is_taken_up(tmp_path: Path) -> None:
    with new_store(tmp_path) as store:
        fill(store)
        with subprocess.Popen([sys.executable, "-c", CODE, str(tmp_path)]) as child:
            while partitions(store) != ["2024-03", "2024-04"] and child.poll() is None:
                pass
            assert child.poll() is None
            child.kill()
        assert on_disk(store)["2024-01"] == 1
        done = retain(store)
        assert (done.partitions, done.files) == ((), 2)
        assert on_disk(store) == {"2024-03": 1, "2024-04": 1}
        assert retain(store).files == 0


# Snapshots, quarantine, statistics and usage by their own periods


def test_snapshots_go_by_age_and_number_unless_something_needs_them(tmp_path: Path) -> None:
    with new_store(tmp_path, snapshot_keep_days=10, snapshot_keep_last=1) as store:
        fill(store)
        for name in ("plain", "held", "learnt", "newest"):
            store.create_snapshot("spending", name)
        store.create_snapshot("spending", "tagged", tags={"keep": "forever"})
        store.create_snapshot("spending", "last")
        store.hold("snapshot", "held", "case 7")
        spine = [row("ann", 1)]
        store.create_training_set("spending", spine, "t", as_of="learnt")
        store.log_model("m", training_set="t")
        assert store.forget_outdated(dry_run=False).snapshots == ()
        later = datetime.now(UTC) + timedelta(days=11)
        assert store.forget_outdated(now=later).snapshots == ("plain", "newest")
        assert len(store.list_snapshots()) == 6
        assert store.forget_outdated(dry_run=False, now=later).snapshots == ("plain", "newest")
        left = [each.name for each in store.list_snapshots()]
        assert left == ["held", "learnt", "tagged", "last"]
        with pytest.raises(SnapshotNeeded, match="'learnt' is needed by model 'm'"):
            store.delete_snapshot("learnt")


def test_statistics_and_usage_go_by_their_own_periods(store: FeatureStore) -> None:
    fill(store)
    list(store.validate(store.applied.group("spending")))
    retain(store)
    store.read_features("spending")
    store.usage.flush()
    soon = datetime.now(UTC) + timedelta(days=30)
    found = store.forget_outdated(dry_run=False, now=soon)
    assert (found.statistics, found.usage) == (0, 0)
    late = datetime.now(UTC) + timedelta(days=800)
    planned = store.forget_outdated(now=late)
    # Of the two partitions that hold no rows any more, one row for each feature.
    assert (planned.statistics, planned.usage) == (2, 1)
    assert store.forget_outdated(dry_run=False, now=late) == planned
    assert list(store.review.statistics.of("spending", 1)) == ["2024-03", "2024-04"]
    assert store.usage.of() == []

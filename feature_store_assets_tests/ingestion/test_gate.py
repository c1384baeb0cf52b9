"""The gate: good partitions are committed, bad ones kept out, each compared with what was usual."""

import signal
import subprocess
import sys
from datetime import timedelta

import polars as pl
import pytest
import sqlalchemy as sa

from feature_store_assets import Drift, Feature, FeatureGroup, FeatureStore, expect
from feature_store_assets.errors import DataError, SnapshotNotFound
from feature_store_assets.offline.quarantine import REASONS
from feature_store_assets.quality.statistics import Profile
from feature_store_assets.registry.database import Database, statistics
from feature_store_assets_tests.meters import (
    NAME,
    START,
    day,
    fill,
    meters,
    shifts,
    stored,
)
from feature_store_assets_tests.stores import at, pushed, row

GROUP = meters()


def moved(at_most: float = 0.5, **given: object) -> FeatureGroup:
    """Meters whose usage should not move by more than half a standard deviation."""
    rule = {"features": ["usage"], "min_rows": 2, **given}
    return meters(drift=[Drift("wasserstein", at_most, **rule)])  # type: ignore[arg-type]  # any rule


def kept(store: FeatureStore, group: FeatureGroup = GROUP) -> dict[str, float | None]:
    """The mean usage that the registry keeps, by partition."""
    found = store.review.statistics.of(group.name, group.version)
    return {key: profiles["usage"].mean for key, profiles in found.items()}


# ------------------------------------------------------------------ what is committed


def test_of_a_range_the_good_are_committed_and_the_bad_keep_their_old_rows(
    store: FeatureStore,
) -> None:
    fill(store, GROUP, {1: [5.0, 5.0]}, "first")
    done = fill(store, GROUP, {0: [1.0, 1.0], 1: [-1.0, 2.0], 2: [3.0, 3.0]}, "second")
    assert done.committed == (day(0), day(2))
    assert list(done.judged.rejected) == list(done.quarantined) == [day(1)]
    assert stored(store) == {day(0): [1.0, 1.0], day(1): [5.0, 5.0], day(2): [3.0, 3.0]}
    assert done.version == store.table(GROUP).version()


def test_a_bad_partition_lies_in_quarantine_and_each_row_tells_its_own_reasons(
    store: FeatureStore,
) -> None:
    done = fill(store, GROUP, {0: [1.0], 1: [2.0, -1.0, 3.0]}, "the-run")
    (entry,) = store.review.quarantine.entries("meters")
    assert done.quarantined == {day(1): str(entry.path)}
    assert (entry.partition, entry.run_id, entry.rows) == (day(1), "the-run", 3)
    assert entry.reasons == tuple(done.judged.rejected[day(1)])
    found = entry.read()
    assert found["usage"].to_list() == [2.0, -1.0, 3.0]
    assert [len(reasons) for reasons in found[REASONS]] == [0, 1, 0]
    assert "'usage': expected values to be between (min_value=0)" in found[REASONS][1][0]


def test_quarantine_is_emptied_when_good_rows_come(store: FeatureStore) -> None:
    fill(store, GROUP, {0: [-1.0], 1: [-1.0]}, "first")
    fill(store, GROUP, {0: [-2.0]}, "second")
    assert len(store.review.quarantine.entries()) == 3
    fill(store, GROUP, {0: [1.0]}, "third")
    assert [entry.partition for entry in store.review.quarantine.entries()] == [day(1)]


def test_where_nothing_is_good_nothing_is_committed(store: FeatureStore) -> None:
    store.apply(GROUP)
    before = store.table(GROUP).version()
    done = fill(store, GROUP, {0: [-1.0], 1: []})
    assert done.committed == ()
    assert done.version == store.table(GROUP).version() == before
    assert [entry.rows for entry in store.review.quarantine.entries()] == [1, 0]


# ------------------------------------------------------------------ what is kept of it


def test_statistics_are_kept_of_what_is_committed_and_of_nothing_else(store: FeatureStore) -> None:
    fill(store, GROUP, {0: [1.0, 3.0], 1: [-1.0]})
    assert kept(store) == {day(0): 2.0}
    fill(store, GROUP, {0: [5.0], 1: [7.0]})
    assert kept(store) == {day(0): 5.0, day(1): 7.0}
    fill(store, GROUP, {0: [-1.0]})
    assert kept(store) == {day(0): 5.0, day(1): 7.0}


@pytest.mark.parametrize("mend", ["rerun", "validation"])
def test_statistics_lost_between_commit_and_registry_come_back(
    store: FeatureStore, mend: str
) -> None:
    fill(store, GROUP, {0: [1.0], 1: [2.0]})
    lost = Database(store.config.registry)
    with lost.write() as connection:
        connection.execute(sa.delete(statistics))
    lost.close()
    if mend == "rerun":
        fill(store, GROUP, {0: [1.0], 1: [2.0]})
    else:
        assert len(list(store.validate(GROUP))) == 1
    assert kept(store) == {day(0): 1.0, day(1): 2.0}


KILLED = """
import os, signal, sys
from feature_store_assets import FeatureStore, FeatureStoreConfig
from feature_store_assets.registry.statistics import Statistics
from feature_store_assets_tests.meters import fill, meters

Statistics.put = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
fill(FeatureStore(FeatureStoreConfig(storage_path=sys.argv[1])), meters(), {0: [9.0], 1: [9.0]})
"""


@pytest.mark.slow
def test_a_run_killed_after_its_commit_leaves_rows_that_validation_describes(
    store: FeatureStore,
) -> None:
    fill(store, GROUP, {0: [1.0]})
    child = subprocess.run(
        [sys.executable, "-c", KILLED, str(store.config.root)], capture_output=True, check=False
    )
    assert child.returncode == -signal.SIGKILL, child.stderr
    assert stored(store) == {day(0): [9.0], day(1): [9.0]}
    assert kept(store) == {day(0): 1.0}
    assert len(list(store.validate(GROUP))) == 1
    assert kept(store) == {day(0): 9.0, day(1): 9.0}


def test_no_personal_value_leaves_the_rows(store: FeatureStore) -> None:
    group = meters(
        expectations=[
            expect.column_values_to_not_match_regex("payer", regex="ann"),
            expect.column_max_to_be_between("meter_id", max_value=1),
        ],
        drift=[Drift("missing", 0.1, min_rows=1)],
    )
    done = fill(store, group, {0: [1.0, 2.0]})
    assert done.committed == ()
    (entry,) = store.review.quarantine.entries()
    told = [repr(done.judged.verdicts), repr(done.judged.shifts), repr(entry.reasons)]
    store.apply(meters())
    fill(store, meters(), {0: [1.0, 2.0]})
    told.append(repr(store.review.statistics.of("meters", 1)))
    assert not [text for text in told if NAME in text]
    assert not [each for each in done.judged.rejected[day(0)] if "found 2" in each]


# ------------------------------------------------------------------ what is usual


def test_a_first_partition_is_compared_with_nothing_and_is_told_so(store: FeatureStore) -> None:
    done = fill(store, moved(), {0: [1.0, 2.0]})
    shift = shifts(done.judged)[day(0)]
    assert (shift.outcome, shift.value) == ("not evaluated", None)
    assert "nothing is known of the previous partition yet" in shift.reason
    assert done.committed == (day(0),)
    assert done.judged.references == {day(0): {}}


def test_days_of_one_run_are_compared_with_each_other(store: FeatureStore) -> None:
    done = fill(store, moved(), {0: [1.0, 2.0], 1: [1.0, 2.0], 2: [7.0, 8.0]})
    found = shifts(done.judged)
    assert [shift.outcome for shift in found.values()] == ["not evaluated", "passed", "failed"]
    assert done.judged.references[day(2)]["usage"].mean == 1.5
    assert done.committed == (day(0), day(1), day(2)), "drift is a warning by default"


def test_days_of_another_run_are_compared_with_what_is_kept_of_stored_ones(
    store: FeatureStore,
) -> None:
    fill(store, moved(), {0: [1.0, 2.0]})
    assert shifts(fill(store, moved(), {1: [1.0, 2.0]}).judged)[day(1)].outcome == "passed"
    assert shifts(fill(store, moved(), {2: [8.0, 9.0]}).judged)[day(2)].outcome == "failed"


def test_stored_days_stand_between_those_of_a_run_with_gaps(store: FeatureStore) -> None:
    fill(store, moved(), {0: [1.0, 2.0], 1: [7.0, 8.0], 2: [7.0, 8.0]})
    again = fill(store, moved(), {0: [1.0, 2.0], 2: [7.0, 8.0]})
    assert again.judged.references[day(2)]["usage"].mean == 7.5
    assert shifts(again.judged)[day(2)].outcome == "passed"


def test_drift_that_is_critical_keeps_a_partition_out(store: FeatureStore) -> None:
    group = moved(severity="critical")
    done = fill(store, group, {0: [1.0, 2.0], 1: [8.0, 9.0]})
    assert done.committed == (day(0),)
    (entry,) = store.review.quarantine.entries()
    assert "'usage' drifted: wasserstein" in entry.reasons[0]
    assert entry.read()[REASONS].to_list() == [[], []], "no row alone is at fault"


@pytest.mark.parametrize("bad", [[-8.0, 9.0], [8.0, 9.0]], ids=["by a check", "by drift"])
def test_what_was_kept_out_is_no_measure_for_the_days_after_it(
    store: FeatureStore, bad: list[float | None]
) -> None:
    group = moved(severity="critical")
    done = fill(store, group, {0: [1.0, 2.0], 1: bad, 2: [1.0, 2.0]})
    assert done.committed == (day(0), day(2))
    assert done.judged.references[day(2)]["usage"].mean == 1.5
    assert fill(store, group, {3: [1.0, 2.0]}).committed == (day(3),)


def test_trailing_days_are_one_reference_together(store: FeatureStore) -> None:
    group = moved(against="trailing:3")
    fill(store, group, {0: [100.0, 100.0], 1: [1.0, 2.0]})
    done = fill(store, group, {2: [3.0, 4.0], 3: [5.0, 6.0], 4: [3.0, 4.0]})
    reference = done.judged.references[day(4)]["usage"]
    assert (reference.count, reference.mean) == (6, 3.5)
    assert shifts(done.judged)[day(4)].rule.reference == "the last 3 partitions"


def test_a_quarter_of_a_trailing_window_must_be_there(store: FeatureStore) -> None:
    done = fill(store, moved(against="trailing:8"), {n: [1.0, 2.0] for n in range(4)})
    outcomes = [shift.outcome for shift in shifts(done.judged).values()]
    assert outcomes == ["not evaluated", "not evaluated", "passed", "passed"]


def test_a_group_that_is_not_cut_by_time_is_compared_with_what_it_held(store: FeatureStore) -> None:
    group = moved()
    whole = meters(partitions=None, drift=group.drift)
    first = fill(store, whole, {0: [1.0, 2.0]})
    assert shifts(first.judged)["all"].outcome == "not evaluated"
    assert shifts(fill(store, whole, {0: [1.0, 2.0]}).judged)["all"].outcome == "passed"
    assert shifts(fill(store, whole, {0: [8.0, 9.0]}).judged)["all"].outcome == "failed"


def test_a_pushed_month_is_compared_with_the_month_before(store: FeatureStore) -> None:
    group = pushed("meters", *GROUP.features, drift=moved().drift, online=False)
    store.apply(group)
    month = 24 * 31
    wrote = [
        row(n, month * (n // 2), usage=float(n % 2), tariff=None, payer=None) for n in range(4)
    ]
    store.write_features([*wrote, row(9, month, usage=90.0, tariff=None, payer=None)], "meters")
    (judged,) = store.validate(group)
    assert [shift.outcome for shift in shifts(judged).values()] == ["not evaluated", "failed"]


def test_a_snapshot_is_read_once_and_stays_the_reference(store: FeatureStore) -> None:
    fill(store, GROUP, {0: [1.0, 2.0]})
    store.create_snapshot(GROUP, "good")
    group = moved(against="snapshot:good")
    store.apply(group)
    done = fill(store, group, {0: [50.0, 60.0], 1: [1.0, 2.0]})
    assert [each.outcome for each in shifts(done.judged).values()] == ["failed", "passed"]
    found = store.review.statistics.reference("meters", 1, "snapshot:good")
    assert found.keys() == {"usage", "tariff", "payer"}
    assert found["usage"].mean == 1.5
    # What is kept is what counts: the table is not read again.
    numbers = {"mean": 9.0, "stddev": 1.0, "quantiles": (9.0,) * 101, "decile_counts": (2,)}
    other = {"usage": Profile(2, 0, 0.0, **numbers)}  # type: ignore[arg-type]  # a few of its fields
    store.review.statistics.put_reference("meters", 1, "snapshot:good", other)
    assert shifts(fill(store, group, {1: [1.0, 2.0]}).judged)[day(1)].outcome == "failed"


def test_a_feature_added_after_a_snapshot_is_not_missing_there(store: FeatureStore) -> None:
    fill(store, meters(features=[Feature("usage", "float64")]), {0: [1.0, 2.0]})
    store.create_snapshot("meters", "early")
    missing = Drift(
        "missing",
        0.1,
        against="snapshot:early",
        features=["tariff"],
        min_rows=1,
        severity="critical",
    )
    group = meters(features=GROUP.features[:2], drift=[missing])
    store.apply(group)
    done = fill(store, group, {1: [1.0, 2.0]})
    assert done.committed == (day(1),)
    assert shifts(done.judged)[day(1)].outcome == "not evaluated"


@pytest.mark.parametrize("full", [False, True])
def test_a_training_set_says_what_a_model_has_learnt_from(store: FeatureStore, full: bool) -> None:
    fill(store, GROUP, {0: [1.0, 2.0]})
    spine = pl.DataFrame({"meter_id": [1, 2], "event_timestamp": [START + timedelta(days=1)] * 2})
    store.create_training_set(GROUP, spine, "learnt", full_feature_names=full)
    group = moved(against="training_set:learnt")
    store.apply(group)
    done = fill(store, group, {1: [1.0, 2.0], 2: [30.0, 40.0]})
    assert [each.outcome for each in shifts(done.judged).values()] == ["passed", "failed"]


def test_a_reference_that_does_not_exist_stops_the_run_before_it_writes(
    store: FeatureStore,
) -> None:
    fill(store, GROUP, {0: [1.0, 2.0]})
    group = moved(against="snapshot:goood")
    store.apply(group)
    store.create_snapshot(GROUP, "good")
    with pytest.raises(SnapshotNotFound, match="Did you mean 'good'"):
        fill(store, group, {0: [7.0]})
    assert stored(store) == {day(0): [1.0, 2.0]}


def test_a_training_set_without_the_group_says_so(store: FeatureStore) -> None:
    store.apply(pushed("other", Feature("x", "float64")))
    store.write_features([row("u", 0, x=1.0)], "other")
    spine = pl.DataFrame({"entity_id": ["u"], "event_timestamp": [at(1)]})
    store.create_training_set("other", spine, "learnt")
    group = moved(against="training_set:learnt")
    with pytest.raises(DataError, match="'learnt' holds no feature of 'meters'"):
        fill(store, group, {0: [1.0]})


# ------------------------------------------------------------------ outliers by what was usual


def test_outliers_by_reference_lie_beyond_what_the_days_before_held(store: FeatureStore) -> None:
    rule = expect.max_outlier_percentage("usage", 10, method="reference")
    group = meters(expectations=[rule])
    usual = [float(n) for n in range(10, 20)]
    first = fill(store, group, dict.fromkeys(range(3), usual))
    assert len(first.committed) == 3, "while nothing is known, nothing is unusual"
    done = fill(store, group, {3: [*usual, 21.0], 4: [*usual, 500.0, 600.0]})
    assert done.committed == (day(3),)
    (reason,) = done.judged.rejected[day(4)]
    assert "2 of 12 rows are at fault" in reason


def test_a_group_without_days_knows_its_outliers_by_what_it_held(store: FeatureStore) -> None:
    rule = expect.max_outlier_percentage("usage", 10, method="reference")
    group = meters(expectations=[rule], partitions=None)
    assert fill(store, group, {0: [1.0, 2.0, 3.0]}).committed == ("all",)
    assert fill(store, group, {0: [1.0, 2.0, 300.0]}).committed == ()

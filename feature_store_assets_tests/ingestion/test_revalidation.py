"""Stored rows looked at again: described, judged as a whole, validated, released."""

from dataclasses import replace
from datetime import timedelta
from functools import reduce
from operator import add
from typing import Any

import polars as pl
import pytest

from feature_store_assets import Drift, Feature, FeatureStore, expect
from feature_store_assets.errors import (
    DataError,
    DeclarationChanged,
    FeatureNotFound,
    NotQuarantined,
    SchemaMismatch,
    StillRejected,
)
from feature_store_assets.ingestion import revalidation
from feature_store_assets_tests.meters import (
    NAME,
    START,
    day,
    fill,
    meters,
    shifts,
    stored,
)
from feature_store_assets_tests.stores import T0, pushed, row

GROUP = meters()
OLD_BOUND = meters(expectations=[expect.column_max_to_be_between("usage", max_value=10)])
NEW_BOUND = meters(expectations=[expect.column_max_to_be_between("usage", max_value=99)])


@pytest.fixture
def people(store: FeatureStore) -> FeatureStore:
    """A hundred people: some incomes missing, one far out, nearly all without children."""
    group = pushed(
        "demographics",
        Feature("age", "int64"),
        Feature("income", "float64"),
        Feature("children", "int64"),
        Feature("city", "string"),
        Feature("hobbies", "list<string>"),
        Feature("mail", "string", pii=True, mask="hash"),
        Feature("born", "int64", pii=True, mask="redact"),
        expectations=[expect.column_values_to_be_between("age", min_value=18, max_value=90)],
        online=False,
    )
    store.apply(group)
    store.write_features(
        [
            row(
                f"p{n}",
                n / 100,
                age=20 + n % 50,
                income=None if n < 5 else 1e6 if n == 99 else 30_000.0 + n,
                children=9 if n > 90 else 0,
                city="Oslo" if n % 2 else "Rome",
                hobbies=["chess"],
                mail=NAME,
                born=1987,
            )
            for n in range(100)
        ],
        "demographics",
    )
    return store


def outcomes(found: dict[str, Any]) -> dict[str, str]:
    return {name: each["checks"][0]["outcome"] for name, each in found["features"].items()}


# ------------------------------------------------------------------ as one whole


def test_rules_are_judged_for_each_feature_that_they_fit(people: FeatureStore) -> None:
    rules = {"max_missing_percentage": 5.0, "min_unique_values": 2, "max_outlier_percentage": 3.0}
    found = people.validate_feature_quality("demographics", quality_rules=rules)
    assert found["feature_group"] == "demographics"
    assert found["rows"] == 100
    assert found["overall_passed"] is False, "a mail address that all share is not two values"
    income = found["features"]["income"]
    assert income["passed"] is True
    assert [(each["rule"], each["outcome"]) for each in income["checks"]] == [
        (rule, "passed") for rule in rules
    ]
    assert [each["observed"] for each in income["checks"]] == [0.05, 95, pytest.approx(1 / 95)]
    mail = found["features"]["mail"]["checks"]
    assert [each["outcome"] for each in mail] == ["passed", "failed", "not applicable"]


def test_a_rule_that_is_broken_fails_the_feature_and_the_whole(people: FeatureStore) -> None:
    found = people.validate_feature_quality("demographics", {"max_missing_percentage": 4.9})
    assert found["overall_passed"] is False
    failing = [name for name, each in found["features"].items() if not each["passed"]]
    assert failing == ["income"]
    (check,) = found["features"]["income"]["checks"]
    assert check["reason"].endswith("5 of 100 rows are at fault (5.00%).")


def test_what_has_no_numbers_has_no_outliers(people: FeatureStore) -> None:
    found = people.validate_feature_quality("demographics", {"max_outlier_percentage": 0})
    assert outcomes(found) == {
        "age": "passed", "income": "failed", "children": "passed", "city": "not applicable",
        "hobbies": "not applicable", "mail": "not applicable", "born": "passed",
    }  # fmt: skip
    assert found["features"]["city"]["passed"] is True
    assert found["features"]["city"]["checks"][0]["reason"] == "'city' is string"


def test_lists_are_not_counted_by_value(people: FeatureStore) -> None:
    found = people.validate_feature_quality("demographics", {"min_unique_values": 1})
    assert outcomes(found)["hobbies"] == "not applicable"
    assert found["overall_passed"] is True


def test_without_rules_the_group_is_judged_by_what_it_expects(people: FeatureStore) -> None:
    found = people.validate_feature_quality("demographics")
    assert found["overall_passed"] is True
    assert [name for name, each in found["features"].items() if each["checks"]] == ["age"]
    assert people.validate_feature_quality("demographics", features=["city"])["features"] == {
        "city": {"passed": True, "checks": []}
    }


def test_some_rows_and_features_are_asked_for(people: FeatureStore) -> None:
    found = people.validate_feature_quality(
        "demographics",
        {"max_missing_percentage": 0},
        ["income"],
        start_time=T0 + timedelta(minutes=3),
    )
    assert (found["rows"], list(found["features"]), found["overall_passed"]) == (
        95,
        ["income"],
        True,
    )


def test_no_rows_are_not_good_rows(people: FeatureStore) -> None:
    found = people.validate_feature_quality(
        "demographics", {"max_missing_percentage": 0}, start_time=T0 + timedelta(days=900)
    )
    assert (found["rows"], found["overall_passed"]) == (0, False)
    assert outcomes(found)["age"] == "not evaluated"


def test_an_unknown_rule_or_feature_is_told_what_there_is(people: FeatureStore) -> None:
    with pytest.raises(DataError, match="Did you mean 'max_missing_percentage'"):
        people.validate_feature_quality("demographics", {"max_missing_percent": 1})
    with pytest.raises(FeatureNotFound, match="Did you mean 'income'"):
        people.validate_feature_quality("demographics", features=["incme"])


def test_personal_values_are_counted_and_never_told(people: FeatureStore) -> None:
    rules = [expect.column_max_to_be_between("born", max_value=1900)]
    people.apply(pushed("demographics", *people.applied.group("demographics").features,
                        expectations=rules, online=False))  # fmt: skip
    judged = people.validate_feature_quality("demographics")
    described = people.compute_feature_statistics("demographics")
    assert judged["features"]["born"]["checks"][0]["outcome"] == "failed"
    assert not [text for text in (NAME, "1987") if text in repr((judged, described))]
    assert (described["mail"]["count"], described["mail"]["distinct"]) == (100, 1)


def test_statistics_describe_all_rows_together(people: FeatureStore) -> None:
    found = people.compute_feature_statistics("demographics", ["age", "city"])
    assert list(found) == ["age", "city"]
    assert (found["age"]["count"], found["age"]["minimum"], found["age"]["maximum"]) == (
        100,
        20,
        69,
    )
    assert found["city"]["top"] == [["Oslo", 50], ["Rome", 50]]
    late = people.compute_feature_statistics(
        "demographics", ["income"], start_time=T0 + timedelta(minutes=3)
    )
    assert (late["income"]["count"], late["income"]["missing"]) == (95, 0)


# ------------------------------------------------------------------ validated


def test_stored_partitions_are_judged_by_what_is_expected_now(store: FeatureStore) -> None:
    fill(store, GROUP, {0: [1.0], 1: [50.0], 2: [2.0]})
    version = store.table(GROUP).version()
    store.apply(OLD_BOUND)
    judged = reduce(add, store.validate(OLD_BOUND))
    assert judged.keys == (day(0), day(1), day(2))
    assert list(judged.rejected) == [day(1)]
    assert "found 50" in judged.rejected[day(1)][0]
    assert store.table(OLD_BOUND).version() == version
    assert store.review.quarantine.entries() == []


def test_partitions_are_judged_in_portions_that_fit_into_memory(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    group = meters(drift=[Drift("wasserstein", 0.5, features=["usage"], min_rows=2)])
    fill(store, group, {n: [1.0, 2.0] if n < 3 else [8.0, 9.0] for n in range(5)})
    monkeypatch.setattr(revalidation, "_ROWS_AT_ONCE", 4)
    portions = list(store.validate(group))
    assert [judged.keys for judged in portions] == [
        (day(0), day(1)), (day(2), day(3)), (day(4),),
    ]  # fmt: skip
    found = [shift.outcome for each in portions for shift in shifts(each).values()]
    assert found == ["not evaluated", "passed", "passed", "failed", "passed"]


def test_some_partitions_none_and_all_are_three_things(store: FeatureStore) -> None:
    fill(store, GROUP, {0: [1.0], 1: [2.0]})
    assert [each.keys for each in store.validate(GROUP, [day(1), day(7)])] == [(day(1),)]
    assert list(store.validate(GROUP, [])) == []
    assert [each.keys for each in store.validate(GROUP)] == [(day(0), day(1))]


def test_a_run_beside_a_validation_keeps_its_own_statistics(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(store, GROUP, {0: [1.0], 1: [2.0]})
    monkeypatch.setattr(revalidation, "_ROWS_AT_ONCE", 1)
    validation = store.validate(GROUP)
    assert next(validation).keys == (day(0),)
    fill(store, GROUP, {1: [9.0]})
    assert next(validation).profiles[day(1)]["usage"].mean == 2.0
    assert store.review.statistics.of("meters", 1)[day(1)]["usage"].mean == 9.0


def test_a_group_without_rows_says_how_to_fill_it(store: FeatureStore) -> None:
    with pytest.raises(DataError, match="feature-store materialize meters"):
        store.validate(GROUP)


# ------------------------------------------------------------------ released


def test_a_partition_is_released_once_its_group_expects_less(store: FeatureStore) -> None:
    fill(store, OLD_BOUND, {0: [1.0], 1: [50.0, 60.0]})
    store.apply(NEW_BOUND)
    done = store.release("meters", day(1))
    assert done.committed == (day(1),)
    assert stored(store) == {day(0): [1.0], day(1): [50.0, 60.0]}
    assert done.version == store.table(NEW_BOUND).version()
    assert store.review.quarantine.entries() == []
    assert store.review.statistics.of("meters", 1)[day(1)]["usage"].mean == 55.0
    rows = store.read_features("meters", partitions=[day(1)]).to_polars()
    assert rows["payer"].to_list() == [NAME, NAME]
    assert rows["event_timestamp"][0] == START + timedelta(days=1, hours=12)


def test_a_release_is_published_and_audited_once_it_is_done(store: FeatureStore) -> None:
    fill(store, replace(OLD_BOUND, online=True), {0: [50.0]})
    with pytest.raises(StillRejected):
        store.release("meters", day(0))
    assert "release" not in [each.action for each in store.audit.entries()]
    store.apply(replace(NEW_BOUND, online=True))
    store.release("meters", day(0))
    [meter] = store.read_features("meters").to_arrow()["meter_id"].to_pylist()
    assert store.get_online_features("meters", [meter])[meter]["usage"] == 50.0
    assert store.audit.entries()[-1].action == "release"


def test_the_newest_of_several_tries_is_released(store: FeatureStore) -> None:
    fill(store, OLD_BOUND, {0: [50.0]}, "first")
    fill(store, OLD_BOUND, {0: [60.0]}, "second")
    store.apply(NEW_BOUND)
    store.release("meters", day(0))
    assert stored(store) == {day(0): [60.0]}
    assert store.review.quarantine.entries() == []


def test_rows_that_fail_still_stay_where_they_are(store: FeatureStore) -> None:
    fill(store, OLD_BOUND, {0: [1.0]})
    fill(store, OLD_BOUND, {0: [50.0]})
    version, before = store.table(OLD_BOUND).version(), store.review.quarantine.entries()
    with pytest.raises(StillRejected, match=r"'2024-01-01' of 'meters' was not released.*found 50"):
        store.release("meters", day(0))
    assert store.table(OLD_BOUND).version() == version
    assert stored(store) == {day(0): [1.0]}
    assert store.review.quarantine.entries() == before
    assert store.review.statistics.of("meters", 1)[day(0)]["usage"].mean == 1.0


def test_what_was_never_rejected_cannot_be_released(store: FeatureStore) -> None:
    fill(store, OLD_BOUND, {0: [50.0]})
    with pytest.raises(NotQuarantined, match="Did you mean '2024-01-01'"):
        store.release("meters", day(3))
    with pytest.raises(NotQuarantined):
        store.release("meters", "*")


def test_rows_of_an_older_version_are_not_released_into_a_newer_one(store: FeatureStore) -> None:
    fill(store, OLD_BOUND, {0: [50.0]})
    store.apply(meters(version=2))
    with pytest.raises(NotQuarantined, match="Nothing of 'meters' does"):
        store.release("meters", day(0))


def test_rows_without_a_feature_added_since_are_refused(store: FeatureStore) -> None:
    fill(store, OLD_BOUND, {0: [50.0]})
    store.apply(meters(features=[*GROUP.features, Feature("peak", "float64")]))
    with pytest.raises(SchemaMismatch, match="'peak'"):
        store.release("meters", day(0))
    assert len(store.review.quarantine.entries()) == 1


def test_features_dropped_by_nobody_are_still_guarded(store: FeatureStore) -> None:
    fill(store, OLD_BOUND, {0: [50.0]})
    store.apply(NEW_BOUND)
    table, group = store.table(NEW_BOUND), store.applied.group("meters")

    def changed() -> None:
        raise DeclarationChanged("meters", ["something"])

    with pytest.raises(DeclarationChanged):
        store.review.release(group, table, day(0), guard=changed)
    assert stored(store) == {}
    assert len(store.review.quarantine.entries()) == 1


# ------------------------------------------------------------------ shown


def test_rows_at_fault_are_shown_with_personal_values_masked(store: FeatureStore) -> None:
    fill(store, GROUP, {0: [1.0, -1.0, -2.0]})
    (entry,) = store.review.quarantine.entries()
    found = store.review.shown(GROUP, entry, 20)
    assert found["usage"].to_list() == [-1.0, -2.0]
    assert NAME not in repr(found.to_dicts())
    assert found["payer"].n_unique() == 1
    assert store.review.shown(GROUP, entry, 1).height == 1


def test_where_no_row_alone_is_at_fault_the_first_are_shown(store: FeatureStore) -> None:
    fill(store, OLD_BOUND, {0: [50.0, 2.0]})
    (entry,) = store.review.quarantine.entries()
    assert store.review.shown(OLD_BOUND, entry, 20)["usage"].to_list() == [50.0, 2.0]
    assert store.review.shown(OLD_BOUND, entry, 20).schema["payer"] == pl.String

"""Pushed rows pass the rules of runs, before anything is written; their statistics are kept."""

import math
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings, strategies as st

from feature_store_assets.declaration.expect import Expectation, expect
from feature_store_assets.declaration.feature import Entity, Feature
from feature_store_assets.declaration.group import FeatureGroup
from feature_store_assets.declaration.types import polars_type
from feature_store_assets.errors import OutOfBounds
from feature_store_assets.ingestion.push import Mode
from feature_store_assets.ingestion.push_checks import Broken, broken_by
from feature_store_assets.quality.expectations import check
from feature_store_assets.quality.statistics import profile
from feature_store_assets.quality.verdicts import Judge
from feature_store_assets.registry.database import Database
from feature_store_assets.registry.statistics import Statistics
from feature_store_assets.store import FeatureStore
from feature_store_assets_tests.counts import examples
from feature_store_assets_tests.quality import test_agrees_with_great_expectations as agrees
from feature_store_assets_tests.stores import new_store, pushed, row, traces

NOTHING_KEPT = Statistics(Database("sqlite:///none.db"))


def broken(feature: Feature, *values: Any, partitions: list[str] | None = None) -> dict[str, int]:
    group = FeatureGroup("g", entity=Entity("user", ["id"]), features=[feature])
    column = pl.Series(feature.name, values, polars_type(feature.dtype))
    rows = pl.DataFrame([pl.Series("partition", partitions or ["all"] * len(values)), column])
    return dict(broken_by(rows, group, whole=False, statistics=NOTHING_KEPT).counts)


# ------------------------------------------------------------------ bounds of features


def test_a_text_that_makes_backtracking_explode_is_judged_at_once(tmp_path: Path) -> None:
    """By backtracking this would take longer than the test may."""
    with new_store(tmp_path) as store:
        store.apply(pushed("names", Feature("name", "string", regex="^(a+)+$")))
        with pytest.raises(OutOfBounds):
            store.write_features([row("u", 0, name="a" * 60 + "b")], "names")
        store.write_features([row("u", 0, name="a" * 60)], "names")


def test_numbers_keep_their_inclusive_bounds() -> None:
    feature = Feature("x", "float64", ge=0, le=1)
    assert broken(feature, 0.0, 1.0, 0.5, None, math.nan) == {}
    assert broken(feature, -0.1, 1.1, 1.2, math.inf, -math.inf) == {"x ge=0": 2, "x le=1": 3}


@pytest.mark.parametrize("missing", [None, math.nan])
def test_nan_is_a_missing_value(missing: float | None) -> None:
    assert broken(Feature("x", "float64", nullable=False), missing, 1.0) == {"x nullable=False": 1}
    assert broken(Feature("x", "float64", ge=0, le=1, unique=True), missing, missing) == {}


def test_values_repeat_within_one_partition() -> None:
    feature = Feature("x", "string", unique=True)
    assert broken(feature, "a", "b", "a", None, None) == {"x unique=True": 2}
    assert broken(feature, "a", "a", partitions=["2024-01", "2024-02"]) == {}


def test_values_are_among_those_declared() -> None:
    assert broken(Feature("x", "string", one_of=["a", "b"]), "a", "c", "c", None) == {
        "x one_of=['a', 'b']": 2
    }
    day = Feature("d", "date32", one_of=[date(2024, 1, 1)])
    assert list(broken(day, date(2024, 1, 1), date(2024, 1, 2)).values()) == [1]
    noon = datetime(2024, 1, 1, 12, tzinfo=UTC)
    at = Feature("t", "timestamp[us, UTC]", one_of=[noon])
    assert list(broken(at, noon, noon.replace(hour=13)).values()) == [1]
    assert broken(Feature("n", "float64", one_of=[1, 2]), 1.0, 2.0, 3.0) == {"n one_of=[1, 2]": 1}
    assert broken(Feature("b", "bool", one_of=[True]), True, False) == {"b one_of=[True]": 1}


def test_a_regular_expression_is_searched_for_anywhere_in_the_text() -> None:
    assert broken(Feature("x", "string", regex="b+"), "abba", "aa", "", None) == {"x regex=b+": 2}
    assert broken(Feature("x", "string", regex="^b"), "abba", "ba") == {"x regex=^b": 1}


def test_lists_may_not_be_missing_either() -> None:
    feature = Feature("v", "list<float64>", nullable=False)
    assert broken(feature, [1.0], None, [math.nan]) == {"v nullable=False": 1}


FEATURES = [
    (Feature("x", "int64", ge=-1, le=1), st.integers(-3, 3)),
    (Feature("x", "float64", ge=-1, le=1), st.sampled_from([-2.0, -1.0, 0.0, 1.5, math.nan])),
    (Feature("x", "float64", nullable=False), st.sampled_from([0.0, math.nan])),
    (Feature("x", "int64", nullable=False), st.integers(0, 1)),
    (Feature("x", "int64", unique=True), st.integers(0, 5)),
    (Feature("x", "float64", unique=True), st.sampled_from([0.0, 1.0, 2.0, math.nan])),
    (Feature("x", "string", unique=True), st.text("ab", max_size=2)),
    (Feature("x", "string", one_of=["a", "b"]), st.text("abc", max_size=1)),
    (Feature("x", "float64", one_of=[1, 2.5]), st.sampled_from([1.0, 2.0, 2.5, math.nan])),
    (Feature("x", "int64", one_of=[1, 2]), st.integers(0, 3)),
    (Feature("x", "bool", one_of=[True]), st.booleans()),
    (Feature("x", "string", regex="ab"), st.text("abc", max_size=4)),
    (Feature("x", "string", regex="^a?b$"), st.text("abc", max_size=3)),
]


@settings(max_examples=examples(25))
@given(
    st.sampled_from(FEATURES).flatmap(
        lambda case: st.tuples(
            st.just(case[0]), st.lists(st.none() | case[1], min_size=1, max_size=8)
        )
    )
)
def test_both_gates_agree_on_random_frames(case: tuple[Feature, list[Any]]) -> None:
    feature, values = case
    column = pl.Series("x", values, polars_type(feature.dtype))
    frame = pl.DataFrame([pl.Series("partition", ["all"] * len(values)), column])
    verdicts = check(frame, feature.expectations, partitions=["all"], features={"x": feature.dtype})
    theirs = sum(verdict.unexpected_count or 0 for verdict in verdicts)
    assert sum(broken(feature, *values).values()) == theirs


# ------------------------------------------------------------------ the rules of runs

ROWS = agrees.partitions(3)
OURS = [
    each
    for number, each in enumerate(agrees.ASKED)
    if number not in Judge(ROWS, agrees.ASKED, agrees.KEYS, features=agrees.KINDS).by_rules()[1]
]


def judged(rows: pl.DataFrame, asked: Expectation, *, whole: bool) -> Broken:
    features = [Feature(name, kind) for name, kind in agrees.KINDS.items()]
    group = FeatureGroup(
        "g", entity=Entity("user", ["id"]), features=features, expectations=[asked]
    )
    return broken_by(rows, group, whole=whole, statistics=NOTHING_KEPT)


def refused_by_a_run(rows: pl.DataFrame, asked: Expectation) -> list[bool]:
    found = check(rows, [asked], partitions=agrees.KEYS, features=agrees.KINDS)
    return [verdict.blocking for verdict in found if verdict.expectation == asked]


def test_most_rules_are_ours() -> None:
    assert len(OURS) == len(agrees.ASKED) - 4  # a quantile, a mode, a pair, outliers by deviation


@pytest.mark.parametrize("asked", OURS, ids=lambda each: each.name)
def test_a_push_of_whole_partitions_is_refused_where_a_run_is(asked: Expectation) -> None:
    found = judged(ROWS, asked, whole=True)
    assert found.blocking == any(refused_by_a_run(ROWS, asked))


@pytest.mark.parametrize("asked", OURS, ids=lambda each: each.name)
def test_added_rows_are_refused_for_what_no_other_row_mends(asked: Expectation) -> None:
    found = judged(ROWS, asked, whole=False)
    if found.blocking:
        for seed in (4, 5):
            beside = pl.concat([agrees.partitions(seed), ROWS])
            assert any(refused_by_a_run(beside, asked))


LASTING = [
    expect.column_values_to_be_between("money", min_value=9),
    expect.column_values_to_be_unique("paid"),
    expect.column_values_to_match_regex("country", regex="^D"),
    expect.column_values_to_match_strftime_format("country", strftime_format="%Y"),
    expect.column_distinct_values_to_be_in_set("country", value_set=["US"]),
    expect.column_max_to_be_between("orders", max_value=1),
    expect.column_min_to_be_between("orders", min_value=9),
    expect.column_type_to_be("orders", type_="string"),
]
PASSING = [
    expect.column_values_to_be_between("money", min_value=9, mostly=0.5),
    expect.column_max_to_be_between("orders", min_value=2**60),
    expect.column_mean_to_be_between("money", min_value=1e9),
    expect.column_values_to_be_increasing("orders"),
    expect.table_row_count_to_be_between(min_value=10**6),
    expect.column_pair_values_to_be_equal("orders", "money"),
]


@pytest.mark.parametrize("asked", LASTING, ids=lambda each: each.name)
def test_added_rows_are_judged_by(asked: Expectation) -> None:
    assert judged(ROWS, asked, whole=False).blocking


@pytest.mark.parametrize("asked", PASSING, ids=lambda each: each.name)
def test_added_rows_are_not_judged_by_what_is_said_of_the_partition(asked: Expectation) -> None:
    assert not judged(ROWS, asked, whole=False).blocking


def test_added_rows_without_a_value_break_no_rule_about_values() -> None:
    rows = ROWS.with_columns(money=pl.lit(None, pl.Float64))
    asked = expect.column_values_to_be_between("money", min_value=0)
    assert judged(rows, asked, whole=False) == Broken()
    assert judged(rows, asked, whole=True).reasons


# ------------------------------------------------------------------ in a store

AGED = pushed(
    "people",
    Feature("age", "int64", ge=0),
    Feature("name", "string", pii=True),
    expectations=[
        expect.column_values_to_match_regex("name", regex="^[A-Z]"),
        expect.column_values_to_be_between("age", max_value=99, severity="warning"),
        expect.column_mean_to_be_between("age", max_value=50),
    ],
)


@pytest.mark.parametrize("mode", ["append", "upsert", "overwrite"])
def test_a_push_that_breaks_an_expectation_writes_nothing(store: FeatureStore, mode: Mode) -> None:
    store.apply(AGED)
    before = traces(store)
    with pytest.raises(OutOfBounds) as error:
        store.write_features([row("u1", 0, age=-1, name="ada")], "people", mode)
    text = str(error.value)
    assert "age ge=0: 1 row(s); 'name': expected values to match regex" in text
    assert "event_timestamp" in text
    assert not [each for each in ("u1", "ada") if each in text]
    assert traces(store) == before


def test_an_expectation_about_the_partition_judges_rows_that_replace_it(
    store: FeatureStore,
) -> None:
    store.apply(AGED)
    old = [row("u1", 0, age=80)]
    assert store.write_features(old, "people").rows_written == 1
    with pytest.raises(OutOfBounds, match=r"2024-01: 'age': expected mean to be .*found 80"):
        store.write_features(old, "people", "overwrite")


def test_what_is_not_critical_is_stored_and_told(store: FeatureStore) -> None:
    store.apply(AGED)
    with pytest.warns(UserWarning, match="'people' 2024-01: 'age': .* 1 of 2 rows are at fault"):
        result = store.write_features([row("u1", 0, age=100), row("u2", 0, age=1)], "people")
    assert result.rows_written == 2
    assert len(result.warnings) == 1


def kept(store: FeatureStore) -> dict[str, int]:
    """The rows of each partition whose statistics are kept."""
    found = store.review.statistics.of("people", 1)
    return {key: by_feature["age"].count for key, by_feature in found.items()}


def test_statistics_are_kept_of_partitions_that_a_push_fills_alone(store: FeatureStore) -> None:
    store.apply(AGED)
    rows = [row("u1", 0, age=1), row("u2", 0, age=3), row("u1", 24 * 30, age=5)]
    result = store.write_features(rows, "people")
    found = store.review.statistics.of("people", 1)
    stored = store.table(AGED).rows(version=result.version, columns=["age", "name"])
    names, months = ["age", "name"], ["2024-01", "2024-02"]
    assert found == profile(pl.DataFrame(stored), partitions=months, features=names, pii=["name"])
    assert store.write_features(rows, "people").rows_written == 0
    assert kept(store) == {"2024-01": 2, "2024-02": 1}


def test_statistics_that_added_rows_make_wrong_are_gone_until_validated(
    store: FeatureStore,
) -> None:
    store.apply(AGED)
    store.write_features([row("u1", 0, age=1), row("u1", 24 * 30, age=5)], "people")
    store.write_features([row("u2", 1, age=2)], "people")
    assert kept(store) == {"2024-02": 1}
    store.write_features([row("u1", 24 * 30, age=6)], "people", "upsert")
    assert kept(store) == {}
    assert [list(judged.keys) for judged in store.validate(AGED)] == [["2024-01", "2024-02"]]
    assert kept(store) == {"2024-01": 2, "2024-02": 2}


def test_overwriting_leaves_no_statistics_of_what_is_gone(store: FeatureStore) -> None:
    store.apply(AGED)
    store.write_features([row("u1", 0, age=1), row("u1", 24 * 30, age=5)], "people")
    store.write_features([row("u3", 0, age=7, name="Ada")], "people", "overwrite")
    assert kept(store) == {"2024-01": 1}
    assert store.review.statistics.of("people", 1)["2024-01"]["age"].mean == 7.0


def test_a_push_in_between_leaves_no_statistics_behind(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.apply(AGED)
    put = Statistics.put

    def late(self: Statistics, *given: Any, **named: Any) -> None:
        monkeypatch.setattr(Statistics, "put", put)
        store.write_features([row("u2", 1, age=2)], "people")
        put(self, *given, **named)

    monkeypatch.setattr(Statistics, "put", late)
    store.write_features([row("u1", 0, age=1)], "people")
    assert kept(store) == {}

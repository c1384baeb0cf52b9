"""Bounds of pushed rows: the same verdicts as the quality gate that partitions pass."""

import math
from datetime import UTC, date, datetime
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings, strategies as st

from feature_store_assets.declaration.feature import Entity, Feature
from feature_store_assets.declaration.group import FeatureGroup
from feature_store_assets.declaration.types import arrow_type, polars_type
from feature_store_assets.quality.bounds import broken_bounds
from feature_store_assets.quality.expectations import check
from feature_store_assets_tests.counts import examples


def broken(feature: Feature, *values: Any, partitions: list[str] | None = None) -> dict[str, int]:
    group = FeatureGroup("g", entity=Entity("user", ["id"]), features=[feature])
    rows = pa.table(
        {
            feature.name: pa.array(values, arrow_type(feature.dtype)),
            "partition": partitions or ["all"] * len(values),
        }
    )
    return broken_bounds(rows, group)


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

"""Profiles describe each feature in each partition, exactly and without personal values."""

import json
import math
import statistics
from collections import Counter
from datetime import UTC, date, datetime
from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings, strategies as st

from feature_store_assets.quality.statistics import (
    BINS,
    MOST_CATEGORIES,
    Profile,
    merge,
    profile,
    sparkline,
)
from feature_store_assets_tests.counts import examples

NUMBERS = st.one_of(
    st.none(),
    st.just(math.nan),
    st.floats(-1e6, 1e6),
    st.sampled_from([0.0, -0.0, 1.0, math.inf, -math.inf]),
)
LABELS = st.none() | st.sampled_from(["u", "v", "w", "", "ü"])
PARTS = st.sampled_from(["a", "b", "c"])


def described(values: list[float | None]) -> Profile:
    """The profile of numbers that make up one partition."""
    frame = pl.DataFrame(
        {"partition": ["a"] * len(values), "x": pl.Series(values, dtype=pl.Float64)}
    )
    return profile(frame, partitions=["a"], features=["x"])["a"]["x"]


def written(found: Profile) -> Profile:
    """The profile, read back from JSON text."""
    return Profile.from_json(json.loads(json.dumps(found.to_json(), allow_nan=False)))


@settings(max_examples=examples(200))
@given(st.lists(st.tuples(st.sampled_from(["a", "b"]), NUMBERS), max_size=30))
def test_numbers_equal_those_of_plain_python(rows: list[tuple[str, float | None]]) -> None:
    schema = {"partition": pl.String, "x": pl.Float64}
    frame = pl.DataFrame(rows, schema=schema, orient="row")
    found = profile(frame, partitions=["a", "b"], features=["x"])
    for key in ("a", "b"):
        values = [value for partition, value in rows if partition == key]
        present = [value for value in values if value is not None and not math.isnan(value)]
        finite = [value for value in present if math.isfinite(value)]
        got = found[key]["x"]
        assert (got.count, got.missing) == (len(values), len(values) - len(present))
        assert got.distinct == len(set(present))
        assert got.nan == sum(value is not None and math.isnan(value) for value in values)
        assert sum(got.histogram) == len(finite)
        assert written(got) == got
        if finite:
            assert (got.minimum, got.maximum) == (min(finite), max(finite))
            assert got.mean == pytest.approx(statistics.fmean(finite), abs=1e-6)
        if len(finite) > 1:
            assert got.stddev == pytest.approx(statistics.stdev(finite), abs=1e-6)


def test_profiles_can_be_written_as_json() -> None:
    frame = pl.DataFrame(
        {
            "partition": ["a", "a", "a"],
            "x": [1.0, math.nan, math.inf],
            "n": [1, None, 3],
            "c": ["u", "v", "u"],
            "paid": [True, None, True],
            "day": [date(2024, 1, 1), None, None],
            "tags": [["a"], None, []],
        }
    )
    found = profile(frame, partitions=["a", "none"], features=frame.columns[1:])
    text = json.dumps({k: {f: p.to_json() for f, p in v.items()} for k, v in found.items()})
    assert "NaN" not in text
    assert "Infinity" not in text
    assert found["a"]["x"].missing_share == pytest.approx(1 / 3)
    assert (found["a"]["n"].distinct, found["a"]["n"].mean) == (2, 2.0)
    assert found["a"]["c"].top == (("u", 2), ("v", 1))
    assert found["a"]["paid"].top == (("true", 2),)
    assert (found["a"]["day"].distinct, found["a"]["day"].minimum) == (1, None)
    assert (found["a"]["tags"].missing, found["a"]["tags"].distinct) == (1, None)


def test_a_partition_without_rows_has_zeros() -> None:
    frame = pl.DataFrame({"partition": ["a"], "x": [1.0], "c": ["u"]})
    empty = profile(frame, partitions=["a", "b"], features=["x", "c"])["b"]
    assert (empty["x"].count, empty["x"].missing_share, empty["x"].mean) == (0, 0.0, None)
    assert sum(empty["x"].histogram) == 0
    assert empty["c"].top == ()


def test_personal_features_are_only_counted() -> None:
    frame = pl.DataFrame({"partition": ["a", "a"], "mail": ["m", "n"], "income": [1.0, 2.0]})
    found = profile(frame, partitions=["a"], features=["mail", "income"], pii=["mail", "income"])
    assert found["a"]["mail"].distinct == found["a"]["income"].distinct == 2
    assert (found["a"]["mail"].top, found["a"]["income"].mean) == ((), None)
    assert found["a"]["income"].histogram == ()


def test_no_personal_value_is_kept() -> None:
    values = {
        "mail": ["ada@example.org", "bob@example.org", None],
        "income": [81234.5, 91234.5, math.nan],
        "age": [37, 48, None],
        "smokes": [True, False, None],
        "born": [date(1987, 6, 5), None, None],
        "tags": [["secret"], None, None],
    }
    frame = pl.DataFrame({"partition": ["a"] * 3, **values}, strict=False)
    found = profile(frame, partitions=["a"], features=list(values), pii=list(values))["a"]
    for each in found.values():
        assert each == Profile(
            3, each.missing, each.missing / 3, distinct=each.distinct, nan=each.nan
        )
    assert (found["income"].nan, found["income"].distinct) == (1, 2)
    merged = merge([found["income"], found["income"]])
    assert merged == Profile(6, 2, 1 / 3, nan=2)


def test_partitions_share_their_bins_and_one_far_value_does_not_empty_them() -> None:
    values = [float(value) for value in range(1000)]
    rows = {"partition": ["a"] * 1000 + ["b"], "x": [*values, 1e12]}
    found = profile(pl.DataFrame(rows), partitions=["a", "b"], features=["x"])
    assert found["a"]["x"].edges == found["b"]["x"].edges
    assert len(found["a"]["x"].edges) == BINS + 1
    assert min(found["a"]["x"].histogram) > 40
    assert found["b"]["x"].histogram[-1] == 1


def test_a_constant_has_one_bin() -> None:
    frame = pl.DataFrame({"partition": ["a"] * 3, "n": [7, 7, 7]})
    found = profile(frame, partitions=["a"], features=["n"])["a"]["n"]
    assert sorted(found.histogram)[-2:] == [0, 3]


def test_columns_that_the_frame_lacks_are_left_out() -> None:
    frame = pl.DataFrame({"partition": ["a"], "x": [1.0]})
    assert list(profile(frame, partitions=["a"], features=["x", "gone"])["a"]) == ["x"]
    assert profile(frame, partitions=[], features=["x"]) == {}


@pytest.mark.parametrize(
    ("counts", "drawn"),
    [([], ""), ([0, 0], "▁▁"), ([1, 2, 4, 8], "▁▂▄█"), ([0, 1000, 1], "▁█▁")],
)
def test_a_sparkline_is_as_high_as_its_counts(counts: list[int], drawn: str) -> None:
    assert sparkline(counts) == drawn


@settings(max_examples=examples(200))
@given(st.lists(NUMBERS, max_size=40))
def test_quantiles_equal_those_of_numpy(values: list[float | None]) -> None:
    finite = [value for value in values if value is not None and math.isfinite(value)]
    got = described(values)
    if not finite:
        assert (got.quantiles, got.deciles, got.decile_counts) == ((), (), ())
        return
    expected = np.percentile(finite, range(101))
    assert got.quantiles == pytest.approx(expected.tolist(), rel=1e-12, abs=1e-9)
    assert (got.quantiles[0], got.quantiles[-1]) == (min(finite), max(finite))
    assert list(got.quantiles) == sorted(got.quantiles)


@settings(max_examples=examples(200))
@given(st.lists(NUMBERS, max_size=40) | st.lists(st.integers(0, 4).map(float), max_size=40))
def test_every_number_lies_in_one_bin_between_deciles(values: list[float | None]) -> None:
    finite = [value for value in values if value is not None and math.isfinite(value)]
    got = described(values)
    edges = [-math.inf, *got.deciles, math.inf]
    assert edges == sorted(set(edges))
    assert set(got.deciles) == set(got.quantiles[10:100:10])
    if finite:
        counted = [sum(low < value <= high for value in finite) for low, high in pairwise(edges)]
        assert list(got.decile_counts) == counted


def test_whole_numbers_beyond_those_of_floats_stay_exact() -> None:
    numbers = [2**53, 2**53 + 1, -(2**63), 2**63 - 1]
    frame = pl.DataFrame({"partition": ["a"] * 4, "n": numbers})
    got = profile(frame, partitions=["a"], features=["n"])["a"]["n"]
    assert (got.distinct, got.minimum, got.maximum) == (4, -(2**63), 2**63 - 1)
    assert written(got) == got


def test_numbers_at_the_end_of_the_floats_give_no_infinity() -> None:
    values = [-1.7e308, 1.7e308, 1.7e308, 1.7e308]
    got = described([*values])
    assert written(got) == got
    assert got.mean is None
    assert got.stddev is None
    assert got.quantiles[50] == 1.7e308
    merged = merge([got, got])
    assert written(merged) == merged
    assert (merged.mean, merged.maximum) == (None, 1.7e308)


def test_a_constant_deviates_by_nothing() -> None:
    got = described([0.1] * 1000)
    assert (got.mean, got.stddev) == (0.1, 0.0)
    assert set(got.quantiles) == {0.1}
    assert (got.deciles, got.decile_counts) == ((0.1,), (1000, 0))
    assert merge([got, described([0.1])]).stddev == 0.0


def test_one_value_has_no_deviation() -> None:
    assert described([3.0]).stddev is None
    assert merge([described([3.0]), described([5.0])]).stddev == pytest.approx(math.sqrt(2))


def test_large_partitions_are_described_as_small_ones_are() -> None:
    values = np.random.default_rng(1).standard_t(2, 50_000)
    values[::7] = math.inf
    got = described(values.tolist())
    finite = values[np.isfinite(values)]
    assert got.quantiles == pytest.approx(np.percentile(finite, range(101)).tolist(), rel=1e-12)
    assert (got.minimum, got.maximum) == (finite.min(), finite.max())
    assert got.mean == pytest.approx(finite.mean(), rel=1e-9)
    assert got.distinct == len(set(values.tolist()))


@settings(max_examples=examples(100))
@given(st.lists(st.tuples(PARTS, LABELS), max_size=40))
def test_categories_are_all_values_with_their_counts(rows: list[tuple[str, str | None]]) -> None:
    schema = {"partition": pl.String, "c": pl.String}
    frame = pl.DataFrame(rows, schema=schema, orient="row")
    found = profile(frame, partitions=["a", "b"], features=["c"])
    for key in ("a", "b"):
        counted = Counter(label for part, label in rows if part == key and label is not None)
        listed = sorted(counted.items(), key=lambda pair: (-pair[1], pair[0]))
        assert found[key]["c"].categories == tuple(listed)
        assert found[key]["c"].top == tuple(listed[:5])
        assert found[key]["c"].distinct == len(listed)
        assert written(found[key]["c"]) == found[key]["c"]


@pytest.mark.parametrize(("kinds", "kept"), [(MOST_CATEGORIES, True), (MOST_CATEGORIES + 1, False)])
def test_more_than_a_thousand_values_are_no_categories(kinds: int, kept: bool) -> None:
    labels = [f"{number:04}" for number in range(kinds)]
    frame = pl.DataFrame({"partition": ["a"] * (kinds + 1), "c": [*labels, "0007"]})
    got = profile(frame, partitions=["a"], features=["c"])["a"]["c"]
    assert (got.categories is not None) == kept
    assert got.distinct == kinds
    assert got.top == (("0007", 2), ("0000", 1), ("0001", 1), ("0002", 1), ("0003", 1))


def test_only_strings_and_bools_have_categories() -> None:
    frame = pl.DataFrame(
        {
            "partition": ["a", "a", "a"],
            "paid": [True, False, True],
            "n": [1, 2, 2],
            "day": [date(2024, 1, 1)] * 3,
            "at": [datetime(2024, 1, 1, tzinfo=UTC)] * 3,
            "tags": [["a"]] * 3,
        }
    )
    found = profile(frame, partitions=["a"], features=frame.columns[1:])["a"]
    assert found["paid"].categories == (("true", 2), ("false", 1))
    assert [found[name].categories for name in ("n", "day", "at", "tags")] == [None] * 4
    assert all(written(each) == each for each in found.values())


def test_json_written_before_a_field_was_known_is_read() -> None:
    kept = {"count": 3, "missing": 1, "missing_share": 1 / 3, "top": [["u", 2]]}
    assert Profile.from_json(kept) == Profile(3, 1, 1 / 3, top=(("u", 2),))


def test_rows_of_partitions_that_nobody_asked_for_are_left_out() -> None:
    frame = pl.DataFrame({"partition": ["b", "x", "a", "b"], "n": [1, 2, 3, 4]})
    found = profile(frame, partitions=["a", "b"], features=["n"])
    assert (found["a"]["n"].minimum, found["a"]["n"].count) == (3, 1)
    assert (found["b"]["n"].quantiles[50], found["b"]["n"].count) == (2.5, 2)


@settings(max_examples=examples(200))
@given(st.lists(st.tuples(PARTS, NUMBERS, LABELS), max_size=40))
def test_merged_profiles_count_as_the_profile_of_all_rows_does(
    rows: list[tuple[str, float | None, str | None]],
) -> None:
    schema = {"partition": pl.String, "x": pl.Float64, "c": pl.String}
    frame = pl.DataFrame(rows, schema=schema, orient="row")
    parts = profile(frame, partitions=["a", "b", "c"], features=["x", "c"])
    whole = profile(
        frame.with_columns(partition=pl.lit("all")), partitions=["all"], features=["x", "c"]
    )["all"]
    for name in ("x", "c"):
        merged, one = merge([part[name] for part in parts.values()]), whole[name]
        assert written(merged) == merged
        for exact in ("count", "missing", "nan", "minimum", "maximum", "categories", "top"):
            assert getattr(merged, exact) == getattr(one, exact), exact
        assert merged.missing_share == one.missing_share
        for close in ("mean", "stddev"):
            assert (getattr(merged, close) is None) == (getattr(one, close) is None)
            if getattr(one, close) is not None:
                assert getattr(merged, close) == pytest.approx(getattr(one, close), abs=1e-6)
        assert merged.distinct in {one.distinct, None if name == "x" else one.distinct}
        assert (merged.edges, merged.histogram) == (one.edges, one.histogram)
        assert sum(merged.decile_counts) == sum(one.decile_counts)
        assert len(merged.quantiles) == len(one.quantiles)
        assert list(merged.quantiles) == sorted(merged.quantiles)


@pytest.mark.parametrize("seed", range(5))
def test_merged_quantiles_are_a_hundredth_of_the_rows_off_at_most(seed: int) -> None:
    random = np.random.default_rng(seed)
    parts = [
        random.standard_t(3, random.integers(1000, 9000)) * random.uniform(0.5, 3) + random.normal()
        for _ in range(6)
    ]
    parts.append(np.zeros(5000))
    merged = merge([described(part.tolist()) for part in parts])
    every = np.sort(np.concatenate(parts))
    asked = np.arange(101) / 100
    below = np.searchsorted(every, merged.quantiles, side="left") / len(every)
    up_to = np.searchsorted(every, merged.quantiles, side="right") / len(every)
    assert np.all((below - 0.01 <= asked) & (asked <= up_to + 0.01))
    ends = np.searchsorted(every, merged.deciles, side="right") / len(every)
    told = np.cumsum(merged.decile_counts)[:-1] / len(every)
    assert told == pytest.approx(ends, abs=0.01)
    assert sum(merged.decile_counts) == len(every)


def test_merging_equal_parts_changes_no_percentile() -> None:
    part = described(np.random.default_rng(3).lognormal(size=2000).tolist())
    merged = merge([part, part, part])
    assert merged.quantiles == pytest.approx(part.quantiles, rel=1e-9)
    assert merged.decile_counts == tuple(3 * count for count in part.decile_counts)


def test_one_part_with_values_stays_as_it_is() -> None:
    part, empty = described([1.0, 2.0, 2.0]), described([None])
    assert merge([part]) == part
    merged = merge([empty, part, described([])])
    assert (merged.count, merged.missing, merged.missing_share) == (4, 1, 0.25)
    assert (merged.distinct, merged.quantiles) == (part.distinct, part.quantiles)
    assert merge([empty, empty]).distinct == 0
    assert merge([]) == Profile(0, 0, 0.0)


def test_merged_categories_stop_at_a_thousand() -> None:
    labels = [f"{number}" for number in range(MOST_CATEGORIES + 1)]
    rows = {"partition": ["a"] * 600 + ["b"] * 401, "c": labels}
    found = profile(pl.DataFrame(rows), partitions=["a", "b"], features=["c"])
    merged = merge([found["a"]["c"], found["b"]["c"]])
    assert (merged.categories, merged.distinct) == (None, MOST_CATEGORIES + 1)
    assert (merge([merged, found["a"]["c"]]).distinct, merged.top[0]) == (None, ("0", 1))


def test_histograms_with_other_edges_are_not_added() -> None:
    merged = merge([described([1.0, 2.0]), described([5.0, 9.0])])
    assert (merged.edges, merged.histogram) == ((), ())
    assert merged.mean == 4.25

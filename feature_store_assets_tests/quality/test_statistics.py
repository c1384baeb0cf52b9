"""Profiles describe each feature in each partition, exactly and without personal values."""

import json
import math
import statistics
from datetime import date

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_store_assets.quality.statistics import BINS, profile, sparkline

NUMBERS = st.one_of(
    st.none(), st.just(math.nan), st.floats(-1e6, 1e6), st.sampled_from([0.0, 1.0, math.inf])
)


@settings(max_examples=200)
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
        assert sum(got.histogram) == len(finite)
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

"""Splits: exact in size, drawn again by their seed, and never an entity in two parts."""

from collections import Counter
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, strategies as st

from feature_store_assets.errors import DataError, NaiveTimestamps, SpineError
from feature_store_assets.training.splitting import _by_share, assign, checked_columns, columns_of

NOON = datetime(2024, 3, 31, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
MICROSECOND = timedelta(microseconds=1)
PARIS, NEW_YORK = ZoneInfo("Europe/Paris"), ZoneInfo("America/New_York")
EAST = timezone(5.5 * HOUR)


def parts_of(split: Any, *, rows: int = 0, seed: int = 0, by: Any = None, **columns: Any) -> Any:
    """The part of each row, as a training set asks for it."""
    spine = pa.table(columns)
    needed = columns_of(split, by, "t")
    checked_columns(needed, spine.schema)
    parts = assign(
        spine.select(needed),
        rows or spine.num_rows,
        split,
        by=None if by is None else needed,
        timestamp="t",
        seed=seed,
    )
    return parts.tolist()


def moments(*values: datetime | None, unit: Any = "us", zone: str = "UTC") -> Any:
    return pa.array(values, pa.timestamp(unit, zone))


# By share


@pytest.mark.parametrize(
    ("split", "rows", "sizes"),
    [
        ({"train": 0.8, "test": 0.2}, 1000, [800, 200]),
        ({"train": 0.7, "valid": 0.2, "test": 0.1}, 10, [7, 2, 1]),
        ({"a": 1 / 3, "b": 1 / 3, "c": 1 / 3}, 9, [3, 3, 3]),
        ({"a": 0.1, "b": 0.1, "c": 0.1, "d": 0.7}, 30, [3, 3, 3, 21]),
        ({"only": 1}, 5, [5]),
    ],
)
def test_shares_are_exact_in_size(split: dict[str, float], rows: int, sizes: list[int]) -> None:
    for seed in range(5):
        assert np.bincount(parts_of(split, rows=rows, seed=seed)).tolist() == sizes


@given(st.lists(st.integers(1, 20), min_size=1, max_size=5), st.integers(0, 2**32))
def test_any_shares_of_enough_rows_are_exact(weights: list[int], seed: int) -> None:
    rows = sum(weights)
    split = {f"p{number}": weight / rows for number, weight in enumerate(weights)}
    assert np.bincount(parts_of(split, rows=rows, seed=seed)).tolist() == weights


def test_a_seed_draws_the_same_parts_again_and_another_draws_others() -> None:
    split = {"train": 0.5, "test": 0.5}
    drawn = [parts_of(split, rows=100, seed=seed) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_parts_are_drawn_and_not_cut_from_the_beginning() -> None:
    parts = parts_of({"train": 0.5, "test": 0.5}, rows=100)
    assert 10 < sum(parts[:50]) < 40


# By entity

KEYS = st.one_of(st.none(), st.sampled_from(["a", "b", "c", "d", "e", "f", ""]))


@given(
    rows=st.lists(st.tuples(KEYS, st.one_of(st.none(), st.integers(0, 3))), min_size=1),
    by=st.sampled_from(["k", ["k"], ["k", "n"], ("n", "k"), ["k", "k"]]),
    seed=st.integers(0, 99),
)
def test_an_entity_is_never_in_two_parts(
    rows: list[tuple[str | None, int | None]], by: Any, seed: int
) -> None:
    keys = pa.array([key for key, _ in rows], pa.string())
    numbers = pa.array([number for _, number in rows], pa.int64())
    names = columns_of(None, by, "t")
    spine = pa.table({"k": keys, "n": numbers}).select(names)
    # Not through `assign`, which wants a row in each part.
    parts = _by_share(spine, len(rows), {"train": 0.6, "test": 0.4}, names, seed)
    found: dict[tuple[Any, ...], set[int]] = {}
    for (key, number), part in zip(rows, parts.tolist(), strict=True):
        value = tuple({"k": key, "n": number}[name] for name in names)
        found.setdefault(value, set()).add(part)
    assert all(len(where) == 1 for where in found.values())


def test_shares_of_entities_of_one_size_are_exact_too() -> None:
    keys = [number % 50 for number in range(500)]
    parts = parts_of({"train": 0.8, "test": 0.2}, by="k", k=keys)
    assert Counter(parts) == {0: 400, 1: 100}
    assert parts == parts_of({"train": 0.8, "test": 0.2}, by="k", k=keys)


@pytest.mark.parametrize(
    ("values", "same"),
    [
        ([None, 1.5, None, 1.5], [(0, 2), (1, 3)]),
        ([float("nan"), 0.0, float("nan"), -0.0], [(0, 2), (1, 3)]),
        (pa.array(["a", "b", "a", None]).dictionary_encode(), [(0, 2)]),
        (pa.array([b"a", b"b", b"a", b"b"]), [(0, 2), (1, 3)]),
        ([[1], [2], [1], [2]], [(0, 2), (1, 3)]),
        ([True, False, True, False], [(0, 2), (1, 3)]),
        (moments(NOON, None, NOON, None), [(0, 2), (1, 3)]),
    ],
    ids=["nulls", "NaN", "categories", "bytes", "lists", "bools", "times"],
)
def test_values_of_any_type_keep_rows_together(values: Any, same: list[tuple[int, int]]) -> None:
    for seed in range(8):
        # A column of that name must not disturb.
        parts = parts_of({"a": 0.5, "b": 0.5}, by="unit", seed=seed, unit=values)
        assert all(parts[one] == parts[other] for one, other in same)


# By time


@pytest.mark.parametrize("zone", ["UTC", "Europe/Paris", "+05:30"])
@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("bound_zone", [UTC, PARIS, NEW_YORK, EAST])
def test_a_row_at_the_instant_lies_behind_it_in_any_zone(
    zone: str, unit: str, bound_zone: Any
) -> None:
    column = moments(NOON - HOUR, NOON, NOON + HOUR, NOON + 2 * HOUR, unit=unit, zone=zone)
    split = {
        "train": NOON.astimezone(bound_zone),
        "valid": (NOON + 2 * HOUR).astimezone(bound_zone),
        "test": None,
    }
    assert parts_of(split, t=column) == [0, 1, 1, 2]


def test_instants_count_to_the_microsecond_whatever_the_columns_unit() -> None:
    split = {"train": NOON + MICROSECOND, "test": None}
    assert parts_of(split, t=moments(NOON, NOON + MICROSECOND, None)) == [0, 1, 1]
    seconds = moments(NOON, NOON + timedelta(seconds=1), unit="s")
    assert parts_of(split, t=seconds) == [0, 1]


def test_the_same_hour_before_and_after_a_clock_change_is_told_apart() -> None:
    first = datetime(2024, 10, 27, 2, 30, tzinfo=PARIS)
    second = first.replace(fold=1)
    column = moments(first, second, zone="Europe/Paris")
    assert parts_of({"train": second, "test": None}, t=column) == [0, 1]


def test_rows_without_a_time_go_last() -> None:
    column = moments(None, NOON - HOUR, NOON, None)
    assert parts_of({"train": NOON, "test": None}, t=column) == [1, 0, 1, 1]


# Refused

REFUSED: list[Any] = [
    ({"train": 0.8, "test": 0.3}, {}, r"above 0 and add up to 1, not {'train': 0.8, 'test': 0.3}"),
    ({"train": 1.0, "test": 0}, {}, "above 0 and add up to 1"),
    ({"train": 1.5, "test": -0.5}, {}, "above 0 and add up to 1"),
    ({"train": float("nan"), "test": 0.5}, {}, "above 0 and add up to 1"),
    ({"train": "0.5", "test": 0.5}, {}, "above 0 and add up to 1"),
    ({}, {}, "above 0 and add up to 1"),
    ({"all": 1.0}, {}, "'all' cannot name a part of a split: use letters.*and not 'all'"),
    ({"tr/ain": 1.0}, {}, "'tr/ain' cannot name a part"),
    ({"": 1.0}, {}, "'' cannot name a part"),
    ({"1st": 1.0}, {}, "'1st' cannot name a part"),
    ({"x" * 65: 1.0}, {}, "cannot name a part"),
    ({"train": 0.999, "test": 0.001}, {}, "No row of the spine falls into 'test'. Choose another"),
    ({"train": 0.5, "test": 0.5}, {"by": "one"}, "No row of the spine falls into 'te|'train'"),
    ({"train": 0.5, "test": 0.5}, {"by": []}, "split_by names no column"),
    (
        {"train": 0.5, "test": 0.5},
        {"by": ["customr"]},
        "The spine has no column 'customr' to split by. Did you mean 'customer'",
    ),
    ({"train": NOON, "test": None}, {"by": "one"}, "A split by time takes no split_by"),
    ({"train": NOON, "test": NOON + HOUR}, {}, "None to the last one"),
    ({"train": None, "test": None}, {}, "None to the last one"),
    ({"train": 0.5, "test": None}, {}, "None to the last one"),
    ({"train": date(2024, 1, 1), "test": None}, {}, "None to the last one"),
    ({"train": NOON.replace(tzinfo=None), "test": None}, {}, "have a time zone and follow each"),
    ({"a": NOON, "b": NOON - HOUR, "c": None}, {}, "have a time zone and follow each other"),
    ({"train": NOON - HOUR, "test": None}, {}, "No row of the spine falls into 'train'"),
    ({"train": NOON, "now": NOON, "test": None}, {}, "No row of the spine falls into 'train'"),
]


@pytest.mark.parametrize(("split", "given", "message"), REFUSED)
def test_a_split_that_makes_no_sense_says_what_would(
    split: Any, given: dict[str, Any], message: str
) -> None:
    columns = {"customer": ["a", "b"], "one": [1, 1], "t": moments(NOON, NOON)}
    with pytest.raises(DataError, match=message):
        parts_of(split, **given, **columns)


def test_a_time_that_is_none_is_refused_as_the_join_refuses_it() -> None:
    split = {"train": NOON, "test": None}
    with pytest.raises(NaiveTimestamps, match="'t' of 'the spine' have no time zone"):
        parts_of(split, t=pa.array([NOON.replace(tzinfo=None)]))
    with pytest.raises(SpineError, match="'t' of the spine is string, not a timestamp"):
        parts_of(split, t=["2024"])
    with pytest.raises(DataError, match=r"no column 't' to split by\. There are: 'label'"):
        parts_of(split, label=["2024"])


@pytest.mark.parametrize("split", [{"train": 0.5, "test": 0.5}, {"train": NOON, "test": None}])
def test_a_spine_without_rows_cannot_be_split(split: Any) -> None:
    with pytest.raises(DataError, match="No row of the spine falls into 'train'"):
        parts_of(split, t=moments())
    if split["test"]:
        with pytest.raises(DataError, match="No row of the spine falls into 'train'"):
            parts_of(split, by="t", t=moments())

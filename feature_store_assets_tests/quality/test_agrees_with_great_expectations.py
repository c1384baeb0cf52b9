"""The statistics give the verdicts that Great Expectations gives on each partition's rows."""

import random
from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from feature_store_assets.declaration.expect import Expectation, expect
from feature_store_assets.quality.columns import missing_as_null
from feature_store_assets.quality.expectations import check
from feature_store_assets.quality.gx import Answer, Ask, session, to_pandas

KEYS = [f"2024-01-{day:02d}" for day in range(1, 7)]
TIME = pl.Datetime("us", "UTC")
NOON = datetime(2024, 1, 1, 12, tzinfo=UTC)
KINDS = {
    "money": "float64",
    "orders": "int64",
    "paid": "bool",
    "country": "string",
    "day": "date32",
    "seen": "timestamp[us, UTC]",
}

ASKED: list[Expectation] = [
    expect.column_values_to_not_be_null("money", mostly=0.7),
    expect.column_values_to_not_be_null("country"),
    expect.column_values_to_be_null("orders", mostly=0.2),
    expect.column_proportion_of_non_null_values_to_be_between("money", min_value=0.7),
    expect.column_values_to_be_between("money", min_value=-1.0, max_value=2.0, mostly=0.8),
    expect.column_values_to_be_between("money", min_value=0.0, strict_min=True, mostly=0.5),
    expect.column_values_to_be_between("orders", min_value=1, max_value=4, mostly=0.6),
    expect.column_values_to_be_between("orders", max_value=4, strict_max=True, mostly=0.7),
    expect.column_values_to_be_between("day", min_value=date(2024, 1, 2), mostly=0.7),
    expect.column_values_to_be_in_set("orders", value_set=[1, 2, 3], mostly=0.5),
    expect.column_values_to_be_in_set("money", value_set=[0, 0.5, 1], mostly=0.2),
    expect.column_values_to_be_in_set("country", value_set=["DE", "US"], mostly=0.6),
    expect.column_values_to_be_in_set("paid", value_set=[True], mostly=0.5),
    expect.column_values_to_not_be_in_set("country", value_set=["US"], mostly=0.6),
    expect.column_values_to_not_be_in_set("orders", value_set=[5]),
    expect.column_values_to_be_unique("orders", mostly=0.3),
    expect.column_values_to_be_unique("money"),
    expect.column_value_lengths_to_be_between("country", min_value=2, max_value=3, mostly=0.8),
    expect.column_value_lengths_to_equal("country", value=2, mostly=0.7),
    expect.column_values_to_be_increasing("orders", mostly=0.6),
    expect.column_values_to_be_decreasing("money", strictly=True, mostly=0.5),
    expect.column_mean_to_be_between("money", min_value=0.3, max_value=0.9),
    expect.column_mean_to_be_between("orders", max_value=3, strict_max=True),
    expect.column_median_to_be_between("orders", min_value=3),
    expect.column_median_to_be_between("money", min_value=0.5),
    expect.column_stdev_to_be_between("money", max_value=1.0),
    expect.column_stdev_to_be_between("orders", min_value=1.5),
    expect.column_sum_to_be_between("orders", min_value=15, max_value=40),
    expect.column_min_to_be_between("money", min_value=-1),
    expect.column_max_to_be_between("orders", max_value=4),
    expect.column_unique_value_count_to_be_between("country", min_value=3),
    expect.column_proportion_of_unique_values_to_be_between("orders", min_value=0.5),
    expect.column_distinct_values_to_be_in_set("country", value_set=["DE", "US", "Îl"]),
    expect.column_distinct_values_to_contain_set("orders", value_set=[1, 2]),
    expect.column_distinct_values_to_equal_set("paid", value_set=[True, False]),
    expect.table_row_count_to_be_between(min_value=5, max_value=12),
    expect.table_row_count_to_equal(value=8),
    expect.column_values_to_match_regex("country", regex=r"^[A-Z]{2}$", mostly=0.6),
    expect.column_values_to_not_match_regex("country", regex=r"\w\d", mostly=0.9),
    expect.column_values_to_match_regex_list("country", regex_list=["^D", "S$"], mostly=0.6),
    expect.column_values_to_not_match_regex_list("country", regex_list=["^D"], mostly=0.6),
    expect.column_values_to_be_json_parseable("country", mostly=0.1),
    expect.column_value_z_scores_to_be_less_than("money", threshold=1.5, double_sided=True),
    expect.column_value_z_scores_to_be_less_than("money", threshold=0.5, double_sided=False),
    expect.column_values_to_not_be_outliers("money", mostly=0.9),
    expect.column_values_to_not_be_outliers("orders", multiplier=0.5),
    expect.column_values_to_not_be_outliers("money", method="std", multiplier=1.0, mostly=0.8),
    expect.column_most_common_value_to_be_in_set("country", value_set=["US"]),
    expect.column_quantile_values_to_be_between(
        "money", quantile_ranges={"quantiles": [0.5], "value_ranges": [[0.2, None]]}
    ),
    expect.column_pair_values_to_be_equal("orders", "money", mostly=0.1),
]


def partitions(seed: int) -> pl.DataFrame:
    """Partitions of 1 to 14 rows with nulls, NaN, infinities, repeats and odd strings."""
    rng = random.Random(seed)
    rows: dict[str, list[Any]] = {"partition": [], **{name: [] for name in KINDS}}
    strings = ["DE", "US", "US", "FRA", "", "Îl", "A1", "7", None]
    for key in KEYS:
        for _ in range(rng.randint(1, 14)):
            rows["partition"].append(key)
            rows["money"].append(
                rng.choice(
                    [None, float("nan"), 0.0, 0.5, 1.0, rng.gauss(0.5, 1), rng.gauss(0.5, 1)]
                )
            )
            rows["orders"].append(rng.choice([None, 1, 2, 3, 4, 5, 2**53 + 1]))
            rows["paid"].append(rng.choice([None, True, False]))
            rows["country"].append(rng.choice(strings))
            rows["day"].append(rng.choice([None, date(2024, 1, rng.randint(1, 9))]))
            rows["seen"].append(rng.choice([None, NOON + timedelta(minutes=rng.randint(0, 9))]))
    types: list[pl.DataType | type[pl.DataType]]
    types = [pl.String, pl.Float64, pl.Int64, pl.Boolean, pl.String, pl.Date, TIME]
    return pl.DataFrame(rows, schema=pl.Schema(zip(rows, types, strict=True)))


def answers(frame: pl.DataFrame, asked: list[Expectation]) -> dict[str, list[Answer]]:
    """What Great Expectations says when it sees each partition's rows as a whole."""
    asks = [Ask(each.name, each.kwargs) for each in asked]
    with session() as validate:
        return {
            key: validate(to_pandas(frame.filter(pl.col("partition") == key)), asks) for key in KEYS
        }


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_verdicts_and_counts_equal_those_on_each_partitions_rows(seed: int) -> None:
    frame = partitions(seed)
    direct = answers(frame, ASKED)
    verdicts = {
        (verdict.expectation, verdict.partition): verdict
        for verdict in check(frame, ASKED, partitions=KEYS, features=KINDS)
    }
    compared = 0
    for number, asked in enumerate(ASKED):
        for key in KEYS:
            ours, theirs = verdicts[asked, key], direct[key][number]
            rows = frame.filter(pl.col("partition") == key)
            values = rows.select(missing_as_null(rows.schema))
            if asked.column and values[asked.column].null_count() == rows.height:
                continue  # all missing: never "passed" here, a test of its own
            if theirs.error is not None and asked.column is None:
                continue  # Arrow's nulls, which stop only Great Expectations
            if theirs.error is not None:
                assert ours.outcome == "not evaluated", (asked, key, theirs.error)
                continue
            assert (ours.outcome == "passed") == theirs.success, (asked, key, ours, theirs)
            if "element_count" in theirs.found and asked.column:
                assert ours.unexpected_count == theirs.found["unexpected_count"], (asked, key)
            compared += 1
    assert compared > 200


def test_both_outcomes_occur_for_the_rules_compared() -> None:
    frame = pl.concat([partitions(seed) for seed in (1, 2)])
    verdicts = check(frame, ASKED, partitions=KEYS, features=KINDS)
    assert {verdict.outcome for verdict in verdicts} >= {"passed", "failed"}

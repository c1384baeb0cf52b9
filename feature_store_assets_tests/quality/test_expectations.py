"""The gate judges many partitions at once and never takes silence for good."""

import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from feature_store_assets.declaration.expect import Expectation, expect
from feature_store_assets.declaration.expectations_table import OUTLIER_METHODS
from feature_store_assets.quality.expectations import check
from feature_store_assets.quality.verdicts import Verdict
from feature_store_assets_tests.counts import some

NOON = datetime(2024, 1, 1, 12, tzinfo=UTC)


def frame(schema: dict[str, Any] | None = None, **columns: Sequence[Any]) -> pl.DataFrame:
    """Rows of partition "mon", unless a column `partition` says otherwise."""
    count = max(len(values) for values in columns.values())
    return pl.DataFrame({"partition": ["mon"] * count, **columns}, schema_overrides=schema)


def judge(rows: pl.DataFrame, *asked: Expectation, keys: Sequence[str] = ("mon",)) -> list[Verdict]:
    """The verdicts on what was asked, without the one on the row count."""
    found = check(rows, asked, partitions=keys, features={})
    return [verdict for verdict in found if verdict.expectation in asked]


# ------------------------------------------------------------------ partitions


def test_each_partition_gets_its_own_verdict_in_the_order_asked() -> None:
    rows = frame(partition=["b", "a", "a", "x", None], spend=[1.0, 2.0, -1.0, -9.0, -9.0])
    asked = expect.column_values_to_be_between("spend", min_value=0)
    found = judge(rows, asked, keys=["a", "b"])
    assert [(v.partition, v.outcome, v.unexpected_count) for v in found] == [
        ("a", "failed", 1),
        ("b", "passed", 0),
    ]


def test_rows_at_fault_are_positions_in_the_frame() -> None:
    rows = frame(partition=["a", "b", "a", "b"], spend=[-1.0, 1.0, -2.0, -3.0])
    asked = expect.column_values_to_be_between("spend", min_value=0)
    assert [v.rows for v in judge(rows, asked, keys=["a", "b"])] == [(0, 2), (3,)]


def test_rows_at_fault_are_positions_when_great_expectations_sees_the_rows() -> None:
    rows = frame(partition=["a", "b", "b"], x=[1, 2, 3], y=[1, 9, 3])
    asked = expect.column_pair_values_to_be_equal("x", "y")
    found = judge(rows, asked, keys=["a", "b"])
    assert [(v.outcome, v.rows, v.unexpected_share) for v in found] == [
        ("passed", (), 0.0),
        ("failed", (1,), 0.5),
    ]


def test_at_most_a_thousand_rows_are_listed_and_all_are_counted() -> None:
    asked = expect.column_values_to_be_between("x", min_value=0)
    (found,) = judge(frame(x=[-1] * 1500), asked)
    assert (found.unexpected_count, len(found.rows)) == (1500, 1000)


def test_counts_are_of_all_rows_not_of_a_sample() -> None:
    strings = expect.column_values_to_match_regex("c", regex="^a")
    pairs = expect.column_pair_values_to_be_equal("c", "d")
    rows = frame(c=["c"] * 350 + ["a"], d=["d"] * 351)
    assert [v.unexpected_count for v in judge(rows, strings, pairs)] == [350, 351]


def test_an_empty_partition_fails_though_great_expectations_would_pass_it() -> None:
    asked = expect.column_values_to_not_be_null("x")
    found = check(frame(x=[1]), [asked], partitions=["mon", "tue"], features={})
    assert [(v.partition, v.outcome, v.blocking) for v in found] == [
        ("mon", "passed", False),
        ("tue", "failed", True),
        ("mon", "passed", False),
        ("tue", "not evaluated", True),
    ]


def test_an_empty_partition_passes_where_no_rows_are_allowed() -> None:
    asked = [
        expect.column_values_to_not_be_null("x"),
        expect.column_pair_values_to_be_equal("x", "x"),
        expect.table_row_count_to_be_between(min_value=0, max_value=5),
    ]
    found = check(frame(x=[1]), asked, partitions=["tue"], features={})
    assert [(v.outcome, v.observed) for v in found] == [
        ("passed", None),
        ("passed", None),
        ("passed", 0),
    ]


def test_nothing_asked_gives_nothing() -> None:
    assert check(frame(x=[1]), [], partitions=[], features={}) == []


# ------------------------------------------------------------------ missing values


@pytest.mark.parametrize(
    "asked",
    [
        expect.column_values_to_be_between("x", min_value=0),
        expect.column_mean_to_be_between("x", min_value=0),
        expect.column_values_to_be_in_set("x", value_set=[1]),
        expect.column_values_to_not_be_outliers("x", method="std"),
    ],
)
def test_a_value_rule_on_a_column_without_values_is_not_evaluated(asked: Expectation) -> None:
    rows = frame({"x": pl.Float64}, x=[None, float("nan")])
    (found,) = judge(rows, asked)
    assert (found.outcome, found.blocking) == ("not evaluated", True)
    assert found.reason.endswith("all values are missing.")
    (mild,) = judge(rows, replace(asked, severity="warning"))
    assert (mild.outcome, mild.blocking) == ("not evaluated", False)


def test_nan_is_missing_as_null_is() -> None:
    rows = frame(x=[1.0, None, float("nan"), 3.0])
    not_null = expect.column_values_to_not_be_null("x")
    mean = expect.column_mean_to_be_between("x", min_value=2, max_value=2)
    found = judge(rows, not_null, mean)
    assert [(v.outcome, v.unexpected_count, v.rows) for v in found] == [
        ("failed", 2, (1, 2)),
        ("passed", None, ()),
    ]


def test_infinities_are_values_and_undefined_numbers_fail() -> None:
    rows = frame(x=[1.0, float("inf"), float("-inf")])
    asked = [
        expect.column_values_to_not_be_null("x"),
        expect.column_mean_to_be_between("x", min_value=0),
        expect.column_stdev_to_be_between("x", min_value=0),
    ]
    found = judge(rows, *asked)
    assert [v.outcome for v in found] == ["passed", "failed", "failed"]
    assert "undefined" in found[1].reason


# ------------------------------------------------------------------ types


def test_large_integers_beside_a_null_stay_exact() -> None:
    rows = frame(x=[2**53 + 1, None])
    member = expect.column_values_to_be_in_set("x", value_set=[2**53 + 1])
    near = expect.column_values_to_be_in_set("x", value_set=[2**53])
    assert [v.outcome for v in judge(rows, member, near)] == ["passed", "failed"]


def test_timestamps_compare_with_times_and_days() -> None:
    rows = frame(seen=[NOON, None])
    asked = [
        expect.column_values_to_be_between("seen", min_value=NOON),
        expect.column_values_to_be_between("seen", min_value=NOON, strict_min=True),
        expect.column_max_to_be_between("seen", max_value=NOON),
        expect.column_max_to_be_between("seen", max_value=NOON.replace(hour=11)),
        expect.column_values_to_be_between("seen", max_value=date(2024, 1, 1)),
        expect.column_values_to_be_in_set("seen", value_set=[NOON]),
    ]
    found = judge(rows, *asked)
    assert [v.outcome for v in found] == [
        "passed",
        "failed",
        "passed",
        "failed",
        "failed",
        "passed",
    ]
    assert found[2].observed == NOON.isoformat()


def test_lists_can_be_checked_for_missing_and_otherwise_say_why_not() -> None:
    rows = frame(x=[[1.0], [2.0]])
    present = expect.column_values_to_not_be_null("x")
    unique = expect.column_values_to_be_unique("x")
    assert [v.outcome for v in judge(rows, present, unique)] == ["passed", "not evaluated"]


def test_types_are_compared_as_the_store_names_them() -> None:
    rows = frame(x=[1], c=["a"], seen=[NOON], tags=[["a"]])
    asked = [
        expect.column_values_to_be_of_type("x", type_="integer"),
        expect.column_type_to_be("c", type_="string"),
        expect.column_values_to_be_of_type("c", type_="str"),
        expect.column_values_to_be_of_type("seen", type_="timestamp"),
        expect.column_values_to_be_of_type("tags", type_="list<string>"),
        expect.column_values_to_be_in_type_list("x", type_list=["float64", "object"]),
    ]
    found = judge(rows, *asked)
    assert [v.outcome for v in found] == ["passed"] * 5 + ["failed"]
    declared = check(rows, asked[:1], partitions=["mon"], features={"x": "float64"})
    assert declared[1].outcome == "failed"


def test_a_bound_of_another_type_is_not_evaluated_and_does_not_stop_the_others() -> None:
    rows = frame(c=["a"], x=[1])
    asked = [
        expect.column_values_to_be_between("c", min_value=1),
        expect.column_values_to_be_between("x", min_value=1),
        expect.column_mean_to_be_between("c", min_value=1),
    ]
    found = judge(rows, *asked)
    assert [v.outcome for v in found] == ["not evaluated", "passed", "not evaluated"]


def test_values_found_are_plain_and_can_be_written_as_json() -> None:
    rows = frame(x=[1, 2], y=[1.5, 2.5], c=["a", "b"])
    asked = [
        expect.column_mean_to_be_between("y", min_value=0),
        expect.column_sum_to_be_between("x", min_value=0),
        expect.column_unique_value_count_to_be_between("c", min_value=0),
        expect.column_quantile_values_to_be_between(
            "y", quantile_ranges={"quantiles": [0.5], "value_ranges": [[0, None]]}
        ),
    ]
    found = judge(rows, *asked)
    assert [type(v.observed) for v in found] == [float, int, int, str]
    assert json.dumps([v.observed for v in found])


# ------------------------------------------------------------------ columns


def test_a_missing_column_fails_to_exist_and_leaves_the_rest_unevaluated() -> None:
    asked = [
        expect.column_to_exist("gone"),
        expect.column_values_to_not_be_null("gone"),
        expect.column_values_to_match_regex("gone", regex="a"),
        expect.column_to_exist("x", column_index=0),
    ]
    found = judge(frame(x=[1]), *asked)
    assert [v.outcome for v in found] == ["failed", "not evaluated", "not evaluated", "passed"]
    assert found[1].reason == "'gone': expected values to not be null: there is no column 'gone'."


def test_column_names_are_compared_without_the_partition_column() -> None:
    asked = [
        expect.table_columns_to_match_ordered_list("x", "y"),
        expect.table_columns_to_match_ordered_list("y", "x"),
        expect.table_columns_to_match_set("y", "x"),
        expect.table_columns_to_match_set(["x"], exact_match=False),
        expect.table_column_count_to_equal(value=2),
        expect.table_column_count_to_be_between(min_value=3),
    ]
    found = judge(frame(x=[1], y=[1]), *asked)
    assert [v.outcome for v in found] == [
        "passed",
        "failed",
        "passed",
        "passed",
        "passed",
        "failed",
    ]


# ------------------------------------------------------------------ row conditions


def test_a_row_condition_chooses_the_rows_in_both_lanes() -> None:
    rows = frame(x=[1.0, -1.0, -1.0, None], y=[1.0, -1.0, 5.0, 7.0], c=["US", "DE", None, "US"])
    in_us = expect.col("c") == "US"
    asked = [
        expect.column_values_to_be_between("x", min_value=0, row_condition=in_us),
        expect.column_values_to_not_be_null("x", row_condition=in_us),
        expect.table_row_count_to_equal(value=2, row_condition=in_us),
        expect.column_sum_to_be_between("y", min_value=8, max_value=8, row_condition=in_us),
        expect.column_pair_values_to_be_equal(
            "x", "y", ignore_row_if="either_value_is_missing", row_condition=in_us
        ),
        expect.column_values_to_match_regex("c", regex="^U", row_condition=in_us),
        expect.column_values_to_be_unique("x", row_condition=expect.col("x") < 0),
        expect.column_values_to_be_between("x", min_value=0, row_condition=expect.col("c") != "DE"),
        expect.column_values_to_be_between(
            "x", max_value=0, row_condition=expect.col("c").is_null() & (expect.col("y") > 1)
        ),
        expect.column_values_to_be_between(
            "x", max_value=-1, row_condition=expect.col("c").is_in(["DE"])
        ),
    ]
    found = judge(rows, *asked)
    assert [(v.outcome, v.unexpected_count) for v in found] == [
        ("passed", 0),
        ("failed", 1),
        ("passed", None),
        ("passed", None),
        ("passed", 0),
        ("passed", 0),
        ("failed", 2),
        ("passed", 0),
        ("passed", 0),
        ("passed", 0),
    ]


def test_a_condition_that_no_row_meets_passes_rules_about_rows_only() -> None:
    nowhere = expect.col("c") == "FR"
    asked = [
        expect.column_values_to_be_between("x", min_value=0, row_condition=nowhere),
        expect.column_mean_to_be_between("x", min_value=0, row_condition=nowhere),
        expect.column_values_to_not_be_outliers("x", method="std", row_condition=nowhere),
    ]
    found = judge(frame(x=[-1.0], c=["US"]), *asked)
    assert [v.outcome for v in found] == ["passed", "not evaluated", "passed"]
    assert "no row meets the row condition" in found[0].reason


def test_a_condition_of_another_type_is_not_evaluated() -> None:
    asked = expect.column_values_to_not_be_null("x", row_condition=expect.col("c") > 3)
    (found,) = judge(frame(x=[1], c=["US"]), asked)
    assert found.outcome == "not evaluated"
    assert "'c' (string)" in found.reason


def test_like_patterns_work_which_great_expectations_has_in_databases_only() -> None:
    rows = frame(c=["a_c", "abc", "x"])
    asked = [
        expect.column_values_to_match_like_pattern("c", like_pattern="a_c"),
        expect.column_values_to_match_like_pattern("c", like_pattern="a!_%", escape="!"),
        expect.column_values_to_not_match_like_pattern("c", like_pattern="%b%"),
        expect.column_values_to_match_like_pattern_list("c", like_pattern_list=["a%", "x"]),
    ]
    assert [v.unexpected_count for v in judge(rows, *asked)] == [1, 2, 1, 0]


# ------------------------------------------------------------------ Great Expectations' manners


def test_answers_are_matched_to_questions_whatever_order_they_come_in() -> None:
    rows = frame(x=[1, 2], c=["a", "b"])
    asked = [
        expect.column_values_to_not_be_outliers("x", method="std"),
        expect.column_values_to_be_between("c", min_value=1),  # raises, hence comes first
        expect.column_most_common_value_to_be_in_set("x", value_set=[7]),
        expect.column_value_z_scores_to_be_less_than("x", threshold=9, double_sided=True),
    ]
    found = judge(rows, *asked)
    assert [v.outcome for v in found] == ["passed", "not evaluated", "failed", "passed"]


def test_arguments_that_great_expectations_refuses_leave_the_check_unevaluated() -> None:
    asked = expect.column_values_to_not_be_outliers("x", multiplier=-1)
    (found,) = judge(frame(x=[1, 2]), asked)
    assert (found.outcome, found.blocking) == ("not evaluated", True)


def test_reasons_hold_no_values_of_the_data() -> None:
    rows = frame(mail=["ada@example.org", "bob@example.org"], n=[1, 2])
    asked = [
        expect.column_mean_to_be_between("mail", min_value=1),
        expect.column_values_to_be_between("mail", min_value=1),
        expect.column_values_to_match_regex("mail", regex="^x"),
        expect.column_values_to_match_json_schema("mail", json_schema={"type": "number"}),
        expect.column_most_common_value_to_be_in_set("mail", value_set=["x"]),
        expect.column_distinct_values_to_be_in_set("mail", value_set=["x"]),
        expect.column_value_z_scores_to_be_less_than("mail", threshold=1, double_sided=True),
        expect.column_pair_values_to_be_equal("mail", "n"),
    ]
    found = judge(rows, *asked)
    assert all(v.outcome != "passed" for v in found)
    assert not [v for v in found if "example.org" in f"{v.reason} {v.observed}"]


def test_the_context_that_the_user_works_with_stays_current() -> None:
    import great_expectations
    from great_expectations.data_context.data_context.context_factory import project_manager

    theirs = great_expectations.get_context(mode="ephemeral")
    judge(frame(x=[1]), expect.column_values_to_not_be_null("x"))
    assert project_manager.get_current_project() is theirs
    project_manager.set_project(None)


def test_great_expectations_says_nothing_and_leaves_nothing_behind(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    rows = frame(x=[1, 2, None], c=["a", "b", "c"])
    judge(
        rows,
        expect.column_values_to_not_be_null("x"),
        expect.column_values_to_not_be_outliers("x", method="std"),
        expect.column_values_to_be_between("c", min_value=1),
    )
    captured = capfd.readouterr()
    assert (captured.out, captured.err, list(tmp_path.iterdir())) == ("", "", [])


@pytest.mark.slow
def test_great_expectations_opens_no_connection() -> None:
    code = """
import socket, sys
seen = []
sys.addaudithook(lambda event, _: seen.append(event) if event.startswith("socket.") else None)
import polars as pl
from feature_store_assets.quality.expectations import check, expect
assert not {"great_expectations", "pandas"} & set(sys.modules)
rows = pl.DataFrame({"partition": ["a"], "x": [1]})
asked = expect.column_values_to_not_be_outliers("x", method="std")
check(rows, [asked], partitions=["a"], features={})
print([event for event in seen if event in ("socket.connect", "socket.getaddrinfo")])
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (found.stdout.strip(), found.stderr) == ("[]", "")


def test_threads_may_check_at_the_same_time() -> None:
    asked = expect.column_values_to_not_be_outliers("x", method="std", multiplier=3)
    found: dict[int, str] = {}

    def work(number: int) -> None:
        values = [1.0] * 20 + ([1000.0] if number % 2 else [1.0])
        found[number] = judge(frame(x=values, y=range(21)), asked)[0].outcome

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[number] for number in range(6)] == ["passed", "failed"] * 3


# ------------------------------------------------------------------ rules of our own


@pytest.mark.parametrize("percent", some(sorted(range(101), key=lambda each: each % 20 > 0), 6))
def test_exactly_so_many_percent_are_still_fine(percent: int) -> None:
    rows = frame({"x": pl.Float64}, x=[None] * percent + [1.0] * (100 - percent))
    beyond = [9.0] * percent + [1.0] * (100 - percent)
    missing = expect.max_missing_percentage("x", percent)
    far = expect.max_outlier_percentage("y", percent, method="reference")
    found = check(
        rows.with_columns(y=pl.Series(beyond)),
        [missing, far],
        partitions=["mon"],
        features={},
        fences={"y": (0.0, 2.0)},
    )
    assert [verdict.outcome for verdict in found] == ["passed"] * 3


@pytest.mark.parametrize("method", OUTLIER_METHODS)
def test_outliers_are_counted_per_partition_and_row(method: str) -> None:
    usual = [float(n) for n in range(50)]
    rows = frame(
        partition=["mon"] * 50 + ["tue"] * 52, x=[*usual, *usual, 900.0, -800.0], y=[0] * 102
    )
    asked = expect.max_outlier_percentage("x", 3, method=method)
    found = judge_with(rows, asked, {"x": (0.0, 60.0)}, keys=["mon", "tue"])
    assert [(v.outcome, v.unexpected_count, v.rows) for v in found] == [
        ("passed", 0, ()),
        ("failed", 2, (100, 101)),
    ]
    more = expect.max_outlier_percentage("x", 4, method=method)
    assert judge_with(rows, more, {"x": (0.0, 60.0)}, keys=["tue"])[0].outcome == "passed"


@pytest.mark.parametrize("method", ["iqr", "mad"])
@pytest.mark.parametrize("kind", [pl.Float64, pl.Int64])
def test_where_most_values_are_the_same_none_is_an_outlier(method: str, kind: Any) -> None:
    mostly = [0] * 90 + list(range(1, 11))
    rows = frame({"x": kind}, x=mostly)
    (found,) = judge(rows, expect.max_outlier_percentage("x", 0, method=method))
    assert (found.outcome, found.unexpected_count) == ("passed", 0)


@pytest.mark.parametrize("method", OUTLIER_METHODS)
def test_a_constant_has_no_outliers(method: str) -> None:
    (found,) = judge(frame(x=[5.0] * 20), expect.max_outlier_percentage("x", 0, method=method))
    assert (found.outcome, found.observed) == ("passed", 0.0)


def test_skewed_values_have_fewer_outliers_by_their_median_deviation() -> None:
    skewed = [1.5 ** (n / 4) for n in range(60)]
    counts = {
        method: judge(frame(x=skewed), expect.max_outlier_percentage("x", 0, method=method))[
            0
        ].unexpected_count
        for method in ("iqr", "mad")
    }
    assert counts == {"iqr": sum(x > fence(skewed) for x in skewed), "mad": mad_outliers(skewed)}


def test_while_nothing_is_known_no_value_lies_beyond_what_was() -> None:
    rows = frame(x=[1.0] * 99 + [1e9])
    asked = expect.max_outlier_percentage("x", 0, method="reference")
    assert judge_with(rows, asked, {})[0].outcome == "passed"
    assert judge_with(rows, asked, {"y": (0.0, 1.0)})[0].outcome == "passed"
    assert judge_with(rows, asked, {"x": (0.0, 1.0)})[0].unexpected_count == 1


@pytest.mark.parametrize("method", OUTLIER_METHODS)
def test_missing_values_are_left_out_of_the_share(method: str) -> None:
    values = [*map(float, range(50)), 900.0, *[None] * 20, *[float("nan")] * 29]
    asked = expect.max_outlier_percentage("x", 2, method=method)
    (found,) = judge_with(frame(x=values), asked, {"x": (0.0, 60.0)})
    assert (found.unexpected_count, found.observed) == (1, 1 / 51)
    assert found.outcome == "passed"


def test_words_have_no_outliers_which_is_no_pass() -> None:
    (found,) = judge(frame(x=["a", "b"]), expect.max_outlier_percentage("x", 5))
    assert found.outcome == "not evaluated"
    assert "outliers are defined for numbers only" in found.reason


def test_different_values_are_counted_without_missing_ones() -> None:
    rows = frame(x=["a", "b", None, "b"])
    assert judge(rows, expect.min_unique_values("x", 2))[0].outcome == "passed"
    assert judge(rows, expect.min_unique_values("x", 3))[0].outcome == "failed"


def judge_with(
    rows: pl.DataFrame,
    asked: Expectation,
    fences: dict[str, tuple[float, float]],
    keys: Sequence[str] = ("mon",),
) -> list[Verdict]:
    found = check(rows, [asked], partitions=keys, features={}, fences=fences)
    return [verdict for verdict in found if verdict.expectation == asked]


def fence(values: Sequence[float]) -> float:
    first, third = np.quantile(values, [0.25, 0.75])
    return float(third + 1.5 * (third - first))


def mad_outliers(values: Sequence[float]) -> int:
    distances = np.abs(np.array(values) - np.median(values))
    return int(np.sum(0.6745 * distances / np.median(distances) > 3.5))

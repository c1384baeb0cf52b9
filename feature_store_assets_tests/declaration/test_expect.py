"""Expectations are light values, checked where they are written."""

import inspect
import subprocess
import sys
from datetime import UTC, date, datetime
from typing import Any

import pytest

from feature_store_assets.declaration.conditions import Condition
from feature_store_assets.declaration.expect import (
    Expectation,
    expect,
    feature_expectations,
)
from feature_store_assets.declaration.expectations_table import (
    CHOICES,
    EXPECTATIONS,
    NEEDS_A_DATABASE,
    OUTLIER_METHODS,
    WITHOUT_ROW_CONDITION,
)
from feature_store_assets.errors import DeclarationError, UnknownExpectation

# What Great Expectations adds to every expectation, or handles on its own.
COMMON = {
    "batch_id",
    "catch_exceptions",
    "condition_parser",
    "description",
    "id",
    "library_metadata",
    "meta",
    "notes",
    "rendered_content",
    "result_format",
    "row_condition",
    "severity",
    "windows",
}


def installed() -> dict[str, Any]:
    """The core expectations of the installed Great Expectations, by name without `expect_`."""
    import great_expectations.expectations as gxe

    classes = [getattr(gxe, name) for name in dir(gxe) if name.startswith("Expect")]
    return {
        each.expectation_type.removeprefix("expect_"): each
        for each in classes
        if getattr(each, "expectation_type", "").startswith("expect_")
    }


@pytest.mark.filterwarnings("ignore:module 'sre_:DeprecationWarning")
def test_the_table_holds_every_core_expectation_with_its_arguments() -> None:
    found = installed()
    assert set(EXPECTATIONS) | NEEDS_A_DATABASE == set(found)
    for name, (required, optional) in EXPECTATIONS.items():
        fields = {key: field for key, field in found[name].__fields__.items() if key not in COMMON}
        assert set(required) == {key for key, field in fields.items() if field.required}, name
        assert set(optional) == {key for key, field in fields.items() if not field.required}, name
        takes_condition = "row_condition" in found[name].__fields__
        assert takes_condition == (name not in WITHOUT_ROW_CONDITION), name


@pytest.mark.filterwarnings("ignore:module 'sre_:DeprecationWarning")
def test_great_expectations_takes_the_choices_of_the_table() -> None:
    found = installed()
    outliers = found["column_values_to_not_be_outliers"]
    assert all(outliers(column="x", method=method) for method in CHOICES["method"])
    matches = found["column_values_to_match_regex_list"]
    assert all(matches(column="x", regex_list=["a"], match_on=on) for on in CHOICES["match_on"])


def test_declaring_expectations_imports_no_heavy_package() -> None:
    code = (
        "import sys; from feature_store_assets.declaration.expect import expect; "
        "expect.column_values_to_not_be_null('x'); "
        "print({'great_expectations', 'pandas', 'dagster', 'polars'} & set(sys.modules))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"


@pytest.mark.parametrize("name", sorted(EXPECTATIONS))
def test_every_core_expectation_can_be_declared_and_read_back(name: str) -> None:
    values: dict[str, Any] = {
        "column": "a",
        "column_A": "a",
        "column_B": "b",
        "column_list": ["a", "b"],
        "value_set": ["x"],
        "value_pairs_set": [["x", "y"]],
        "regex": "^a",
        "regex_list": ["^a"],
        "quantile_ranges": {"quantiles": [0.5], "value_ranges": [[0, None]]},
    }
    required, _ = EXPECTATIONS[name]
    given = {argument: values.get(argument, 1) for argument in required}
    if name.endswith("_to_be_between") and "quantile" not in name:
        given["min_value"] = 1
    declared = getattr(expect, name)(**given)
    assert declared.kwargs == given
    assert Expectation.from_json(declared.to_json()) == declared


def test_columns_are_given_by_position() -> None:
    assert expect.column_values_to_not_be_null("x").column == "x"
    pair = expect.column_pair_values_to_be_equal("a", "b")
    assert pair.kwargs == {"column_A": "a", "column_B": "b"}
    assert (pair.columns, pair.column) == (("a", "b"), None)
    assert expect.compound_columns_to_be_unique("a", "b").columns == ("a", "b")
    assert expect.compound_columns_to_be_unique(["a", "b"]).columns == ("a", "b")
    assert expect.table_row_count_to_be_between(min_value=1).columns == ()


def test_expectations_are_equal_and_hash_by_value() -> None:
    one = expect.column_values_to_be_between("x", min_value=0, max_value=1)
    same = expect.column_values_to_be_between(column="x", max_value=1, min_value=0)
    assert one == same
    assert len({one, same}) == 1
    assert one != expect.column_values_to_be_between("x", min_value=0, max_value=2)
    assert one != expect.column_values_to_be_between(
        "x", min_value=0, max_value=1, severity="warning"
    )
    a_set = expect.column_values_to_be_in_set("x", value_set={"b", "a"})
    assert a_set == expect.column_values_to_be_in_set("x", value_set=["a", "b"])


def test_dates_times_and_conditions_survive_json() -> None:
    declared = expect.column_values_to_be_between(
        "day",
        min_value=date(2024, 1, 1),
        row_condition=(expect.col("seen") >= datetime(2024, 1, 1, tzinfo=UTC))
        & expect.col("country").is_in(["DE", "US"])
        & expect.col("note").is_null(),
    )
    again = Expectation.from_json(declared.to_json())
    assert again == declared
    assert again.kwargs["min_value"] == date(2024, 1, 1)
    condition = again.kwargs["row_condition"]
    assert isinstance(condition, Condition)
    assert condition.terms[0] == ("seen", ">=", datetime(2024, 1, 1, tzinfo=UTC))
    assert again.columns == ("day", "seen", "country", "note")
    assert repr(again) == repr(declared)


def test_arguments_that_are_none_are_as_good_as_left_out() -> None:
    given = expect.column_values_to_be_between("x", min_value=0, max_value=None)
    assert given == expect.column_values_to_be_between("x", min_value=0)


@pytest.mark.parametrize(
    ("operator", "condition"),
    [
        ("==", expect.col("c") == "US"),
        ("!=", expect.col("c") != "US"),
        ("<", expect.col("c") < 1),
        ("<=", expect.col("c") <= 1),
        (">", expect.col("c") > 1),
        (">=", expect.col("c") >= 1),
        ("in", expect.col("c").is_in([1, 2])),
        ("is null", expect.col("c").is_null()),
        ("is not null", expect.col("c").not_null()),
    ],
)
def test_a_row_condition_compares_a_column(operator: str, condition: Condition) -> None:
    assert condition.terms[0][:2] == ("c", operator)
    assert condition.columns == ("c",)


def test_a_wrong_name_gets_a_suggestion() -> None:
    with pytest.raises(UnknownExpectation, match="Did you mean 'column_mean_to_be_between'"):
        expect.column_mean_to_be_betwen("x", min_value=1)


def test_a_wrong_argument_gets_a_suggestion() -> None:
    with pytest.raises(UnknownExpectation, match=r"'minvalue'.*Did you mean 'min_value'"):
        expect.column_mean_to_be_between("x", minvalue=1)


@pytest.mark.parametrize(
    ("name", "given", "reason"),
    [
        ("column_values_to_not_be_null", {}, "needs column"),
        ("column_values_to_be_in_set", {"column": "x"}, "needs value_set"),
        ("column_values_to_be_between", {"column": "x"}, "needs min_value, max_value or both"),
        ("column_mean_to_be_between", {"column": "x"}, "needs min_value, max_value or both"),
        ("table_row_count_to_be_between", {}, "needs min_value, max_value or both"),
        ("column_values_to_not_be_null", {"column": "x", "mostly": 1.2}, "share from 0 to 1"),
        ("column_values_to_not_be_null", {"column": "x", "mostly": "all"}, "share from 0 to 1"),
        ("column_values_to_not_be_null", {"column": 5}, "a column name, not 5"),
        ("column_values_to_not_be_null", {"column": "x", "severity": "fatal"}, "no severity"),
        ("column_values_to_match_regex", {"column": "x", "regex": "("}, "malformed"),
        ("column_values_to_be_in_set", {"column": "x", "value_set": []}, "nothing would pass"),
        ("column_values_to_be_in_set", {"column": "x", "value_set": "US"}, "is a list"),
        ("column_values_to_be_in_set", {"column": "x", "value_set": [object()]}, "kept as JSON"),
        ("column_values_to_be_in_set", {"column": "x", "value_set": [float("nan")]}, "JSON"),
        ("column_values_to_not_be_outliers", {"column": "x", "method": "mad"}, "one of"),
        ("column_values_to_not_be_null", {"column": "x", "row_condition": "c == 1"}, "condition"),
        ("column_values_to_be_between", {"column": "x", "min_value": "2024"}, "cannot bound"),
        ("column_values_to_be_between", {"column": "x", "min_value": True}, "cannot bound"),
        (
            "column_values_to_be_between",
            {"column": "x", "min_value": 1, "max_value": date(2024, 1, 1)},
            "do not compare",
        ),
    ],
)
def test_what_cannot_hold_is_refused_where_it_is_written(
    name: str, given: dict[str, Any], reason: str
) -> None:
    with pytest.raises(DeclarationError, match=reason):
        getattr(expect, name)(**given)


def test_bounds_upside_down_are_refused_which_great_expectations_does_not() -> None:
    with pytest.raises(DeclarationError, match="upside down"):
        expect.column_values_to_be_between("x", min_value=2, max_value=1)


def test_percentages_of_missing_values_and_counts_are_great_expectations_own() -> None:
    assert expect.max_missing_percentage("x", 58) == expect.column_values_to_not_be_null(
        "x", mostly=0.42
    )
    assert expect.max_missing_percentage("x", 0) == expect.column_values_to_not_be_null(
        "x", mostly=1.0
    )
    warned = expect.min_unique_values("x", 3, severity="warning")
    assert warned == expect.column_unique_value_count_to_be_between(
        "x", min_value=3, severity="warning"
    )


@pytest.mark.parametrize("method", OUTLIER_METHODS)
def test_a_rule_about_outliers_is_kept_as_written(method: str) -> None:
    rule = expect.max_outlier_percentage("x", 2.5, method=method, severity="info")
    assert (rule.name, rule.column, rule.severity) == ("max_outlier_percentage", "x", "info")
    assert rule.kwargs == {"column": "x", "percentage": 2.5, "method": method}
    assert Expectation.from_json(rule.to_json()) == rule


@pytest.mark.parametrize("percentage", [-1, 100.1, float("nan"), True, "5"])
def test_a_percentage_lies_between_0_and_100(percentage: Any) -> None:
    for rule in (expect.max_missing_percentage, expect.max_outlier_percentage):
        with pytest.raises(DeclarationError, match="takes percent from 0 to 100"):
            rule("x", percentage)


def test_outliers_are_found_by_one_of_three_methods() -> None:
    with pytest.raises(DeclarationError, match=r"one of \('iqr', 'mad', 'reference'\)"):
        expect.max_outlier_percentage("x", 5, method="std")


def test_a_misspelt_rule_of_ours_is_told_too() -> None:
    with pytest.raises(UnknownExpectation, match="Did you mean 'max_outlier_percentage'"):
        _ = expect.max_outliers_percentage
    assert {"max_missing_percentage", "min_unique_values", "max_outlier_percentage"} < set(
        dir(expect)
    )


def test_times_without_a_zone_are_refused() -> None:
    naive = datetime(2024, 1, 1)  # noqa: DTZ001  # the point of the test
    with pytest.raises(DeclarationError, match="no time zone"):
        expect.column_values_to_be_between("x", min_value=naive)


def test_checks_that_query_a_database_say_so() -> None:
    with pytest.raises(DeclarationError, match="runs SQL in a database"):
        expect.table_row_count_to_equal_other_table(other_table_name="orders")


def test_row_conditions_are_joined_by_ampersand_only() -> None:
    with pytest.raises(DeclarationError, match="'&'"):
        bool(expect.col("a") == 1)
    with pytest.raises(DeclarationError, match="is_null"):
        _ = expect.col("a") == None  # noqa: E711  # the point of the test
    with pytest.raises(DeclarationError, match="takes no row_condition"):
        expect.column_to_exist("x", row_condition=expect.col("a") == 1)


def test_a_column_cannot_be_given_twice() -> None:
    with pytest.raises(DeclarationError, match="'column' twice"):
        expect.column_values_to_not_be_null("x", column="y")
    with pytest.raises(DeclarationError, match="takes 1 column name"):
        expect.column_values_to_be_between("x", "y", min_value=1)


def test_an_editor_sees_names_arguments_and_help() -> None:
    assert set(EXPECTATIONS) < set(dir(expect))
    check = expect.column_values_to_be_between
    assert list(inspect.signature(check).parameters)[:3] == ["column", "mostly", "min_value"]
    assert "expect_column_values_to_be_between" in str(check.__doc__)
    assert not hasattr(expect, "__wrapped__")


def test_a_features_bounds_become_expectations() -> None:
    rules = feature_expectations(
        "x", ge=0, le=9, nullable=False, unique=True, one_of=[1, 2], regex="^a"
    )
    assert rules == (
        expect.column_values_to_not_be_null("x"),
        expect.column_values_to_be_between("x", min_value=0, max_value=9),
        expect.column_values_to_be_unique("x"),
        expect.column_values_to_be_in_set("x", value_set=[1, 2]),
        expect.column_values_to_match_regex("x", regex="^a"),
    )
    assert feature_expectations("x") == ()

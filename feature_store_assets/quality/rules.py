"""Expectations as statistics: what Polars counts in one pass over all partitions.

Each rule gives one number per partition and the bounds that it must keep. The definitions are
those of Great Expectations on pandas: missing values (NaN included) are left out of a rule
about values, and a share of rows is `(counted - at fault) / counted`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from typing import Any, Final, Literal

import polars as pl

from feature_store_assets.declaration.expect import Expectation
from feature_store_assets.declaration.expectations_table import OWN
from feature_store_assets.declaration.types import type_name
from feature_store_assets.errors import DeclarationError
from feature_store_assets.quality.columns import feature_type, literal, members, selected
from feature_store_assets.quality.row_rules import ROW_RULES, Fences, median

Bound = float | date | None
Kind = Literal["rows", "value", "table"]
Aggregate = Callable[[pl.Expr], pl.Expr]

# Rules about rows that look at the other rows of the partition too.
_BESIDE_OTHERS: Final = (
    "column_values_to_be_increasing",
    "column_values_to_be_decreasing",
    "column_values_to_not_be_outliers",
    "column_value_z_scores_to_be_less_than",
)


@dataclass(frozen=True, slots=True)
class Rule:
    """One expectation as a statistic that must lie between `low` and `high`.

    Of the rows `selected` by the row condition those `counted` have what the rule is about.
    `kind` is "rows" (the share of counted rows that are not `at_fault`), "value" (`aggregate` of
    the column's `values`) or "table" (a number about rows or columns, which empty partitions
    have too; `constant` if it is the same for all).
    """

    kind: Kind
    low: Bound
    high: Bound
    selected: pl.Expr
    counted: pl.Expr
    at_fault: pl.Expr | None = None
    values: pl.Expr | None = None
    aggregate: Aggregate | None = None
    constant: int | None = None
    strict_low: bool = False
    strict_high: bool = False


def rule(
    expectation: Expectation,
    schema: Mapping[str, pl.DataType],
    features: Mapping[str, str],
    fences: Mapping[str, Fences],
) -> Rule | None:
    """Return the expectation as a statistic, or None if only Great Expectations can judge it.

    Parameters
    ----------
    expectation
        What to express; not `unevaluable`.
    schema
        The columns that the partitions have.
    features
        The declared types, which the columns get when they are written.
    fences
        Between which numbers a feature's values lay before, where that is known.
    """
    given, column = expectation.kwargs, expectation.column
    if expectation.name in OWN:
        given = {
            **given,
            "mostly": round(1 - given["percentage"] / 100, 12),
            "fences": fences.get(str(column)),
        }
    rows = selected(given.get("row_condition"), schema)
    if expectation.name.startswith("table_row_count_"):
        low, high = _limits(given)
        base = Rule("table", low, high, rows, rows, values=rows, aggregate=pl.Expr.sum)
        return _with_strictness(base, given)
    if fact := _about_columns(expectation, schema, features):
        number, low, high = fact
        return Rule("table", low, high, rows, rows, constant=number)
    if column is None:
        return None
    if about_missing := _about_missing(expectation.name, column, given, rows):
        return about_missing
    return _about_values(expectation.name, column, schema[column], given, rows)


def _about_missing(name: str, column: str, given: Mapping[str, Any], rows: pl.Expr) -> Rule | None:
    """Return the rule of an expectation that counts the missing values in."""
    present = pl.col(column).is_not_null()
    mostly = given.get("mostly", 1)
    match name:
        case "column_values_to_not_be_null":
            return Rule("rows", mostly, None, rows, rows, ~present)
        case "column_values_to_be_null":
            return Rule("rows", mostly, None, rows, rows, present)
        case "column_proportion_of_non_null_values_to_be_between":
            low, high = _limits(given)
            values = pl.when(rows).then(present)
            base = Rule("value", low, high, rows, rows, values=values, aggregate=pl.Expr.mean)
            return _with_strictness(base, given)
    return None


def _about_values(
    name: str, column: str, dtype: pl.DataType, given: Mapping[str, Any], rows: pl.Expr
) -> Rule | None:
    """Return the rule of an expectation about the values that are there."""
    if dtype.is_nested() or dtype == pl.Object:
        return None
    counted = rows & pl.col(column).is_not_null()
    values = pl.col(column)
    if "row_condition" in given:
        values = pl.when(rows).then(values)
    if name in ROW_RULES:
        fault = ROW_RULES[name](values, dtype, given)
        return (
            None
            if fault is None
            else Rule("rows", given.get("mostly", 1), None, rows, counted, fault)
        )
    if name in _SETS:
        listed = members(given["value_set"], dtype)
        if listed is None:
            return None
        aggregate, low, high = _SETS[name](listed.unique())
        return Rule("value", low, high, rows, counted, values=values, aggregate=aggregate)
    if name in _NUMBERS and (bounds := _number_bounds(name, dtype, given)):
        base = Rule("value", *bounds, rows, counted, values=values, aggregate=_NUMBERS[name][0])
        return _with_strictness(base, given)
    return None


def by_value(
    expectation: Expectation, schema: Mapping[str, pl.DataType], at_fault: pl.Series
) -> Rule:
    """Return the rule of an expectation whose faulty values are known already."""
    given, column = expectation.kwargs, pl.col(str(expectation.column))
    rows = selected(given.get("row_condition"), schema)
    counted = rows & column.is_not_null()
    fault = column.is_in(at_fault.implode())
    return Rule("rows", given.get("mostly", 1), None, rows, counted, fault)


def lasts(expectation: Expectation, rule: Rule) -> bool:
    """Tell whether rows that break the rule break it beside any other rows of their partition.

    Only such rules can be judged on rows that are added to a partition without reading it.
    """
    given, name = expectation.kwargs, expectation.name
    if rule.kind == "rows":
        beside = name in _BESIDE_OTHERS or (name in OWN and given.get("method") != "reference")
        return rule.low == 1 and not beside
    return rule.constant is not None or (
        name == "column_distinct_values_to_be_in_set"
        or (name == "column_max_to_be_between" and rule.low is None)
        or (name == "column_min_to_be_between" and rule.high is None)
    )


def _with_strictness(base: Rule, given: Mapping[str, Any]) -> Rule:
    return replace(
        base,
        strict_low=bool(given.get("strict_min")),
        strict_high=bool(given.get("strict_max")),
    )


def _limits(given: Mapping[str, Any]) -> tuple[Bound, Bound]:
    if "value" in given:
        return given["value"], given["value"]
    return given.get("min_value"), given.get("max_value")


# ------------------------------------------------------------------ facts about the columns


def _about_columns(
    expectation: Expectation, schema: Mapping[str, pl.DataType], features: Mapping[str, str]
) -> tuple[int, Bound, Bound] | None:
    """Return a number about the columns, with its bounds; they are the same for all partitions."""
    given, names = expectation.kwargs, list(schema)
    if expectation.name.startswith("table_column_count_"):
        return len(names), *_limits(given)
    # This project's names: the types of pandas say nothing about what is stored.
    column = str(expectation.column)
    kind = features.get(column) or (feature_type(schema[column]) if column in schema else None)
    match expectation.name:
        case "column_to_exist":
            place = given.get("column_index")
            there = given["column"] in names
            holds = there and (place is None or names[place : place + 1] == [given["column"]])
        case "table_columns_to_match_ordered_list":
            holds = names == given.get("column_list", names)
        case "table_columns_to_match_set":
            wanted = set(given.get("column_set", names))
            holds = wanted == set(names) if given.get("exact_match", True) else wanted <= set(names)
        case "column_type_to_be" | "column_values_to_be_of_type":
            holds = kind == _own_name(given["type_"])
        case "column_values_to_be_in_type_list":
            holds = kind in [_own_name(name) for name in given.get("type_list", ())]
        case _:
            return None
    return int(holds), 1, None


def _own_name(name: str) -> str:
    try:
        return type_name(name)
    except DeclarationError:
        return name


# ------------------------------------------------------------------ numbers about a column


def _number_bounds(
    name: str, dtype: pl.DataType, given: Mapping[str, Any]
) -> tuple[Bound, Bound] | None:
    """Return the bounds in the type of the number; None where they do not compare with it."""
    _, result = _NUMBERS[name]
    if result == "number of numbers" and not (dtype.is_integer() or dtype.is_float()):
        return None
    bounds = _limits(given)
    number = dtype if result == "value" else pl.Float64()
    low, high = (None if bound is None else literal(bound, number) for bound in bounds)
    comparable = (low is None, high is None) == (bounds[0] is None, bounds[1] is None)
    return (low, high) if comparable else None


def _distinct(values: pl.Expr) -> pl.Expr:
    return values.drop_nulls().n_unique().cast(pl.Int64)


_NUMBERS: Final[Mapping[str, tuple[Aggregate, str]]] = {
    "column_max_to_be_between": (pl.Expr.max, "value"),
    "column_min_to_be_between": (pl.Expr.min, "value"),
    "column_mean_to_be_between": (pl.Expr.mean, "number of numbers"),
    "column_median_to_be_between": (median, "number of numbers"),
    "column_stdev_to_be_between": (pl.Expr.std, "number of numbers"),
    "column_sum_to_be_between": (pl.Expr.sum, "number of numbers"),
    "column_unique_value_count_to_be_between": (_distinct, "number"),
    "column_proportion_of_unique_values_to_be_between": (
        lambda values: _distinct(values) / values.count(),
        "number",
    ),
}


def _none_outside(members: pl.Series) -> tuple[Aggregate, Bound, Bound]:
    return (lambda v: _distinct(v.filter(~v.is_in(members.implode())))), None, 0


def _all_inside(members: pl.Series) -> tuple[Aggregate, Bound, Bound]:
    return (lambda v: _distinct(v.filter(v.is_in(members.implode())))), len(members), None


def _same_set(members: pl.Series) -> tuple[Aggregate, Bound, Bound]:
    outside, _, _ = _none_outside(members)
    inside, count, _ = _all_inside(members)
    return (lambda v: outside(v) + count - inside(v)), None, 0


_SETS: Final[Mapping[str, Callable[[pl.Series], tuple[Aggregate, Bound, Bound]]]] = {
    "column_distinct_values_to_be_in_set": _none_outside,
    "column_distinct_values_to_contain_set": _all_inside,
    "column_distinct_values_to_equal_set": _same_set,
}

"""Expectations as statistics: what Polars counts in one pass over all partitions.

Each rule gives one number per partition and the bounds that it must keep. The definitions are
those of Great Expectations on pandas: missing values (NaN included) are left out of a rule
about values, and a share of rows is `(counted - at fault) / counted`.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time
from typing import Any, Final, Literal

import polars as pl

from feature_store_assets.declaration.expect import Condition, Expectation
from feature_store_assets.declaration.expectations_table import OWN
from feature_store_assets.declaration.types import type_name
from feature_store_assets.errors import DeclarationError

Bound = float | date | None
Kind = Literal["rows", "value", "table"]
Aggregate = Callable[[pl.Expr], pl.Expr]

# The lowest and the highest number that was usual before.
Fences = tuple[float, float]

CODE: Final = "partition code"
# What makes the median absolute deviation of normal values comparable with their spread.
_NORMAL_MAD: Final = 0.6745
_FAR_MAD: Final = 3.5
_FAR_IQR: Final = 1.5
_BEYOND_INT64: Final = 2**63

# Rules whose verdict on a value depends on nothing but the value: judged once per distinct value.
BY_VALUE: Final = frozenset(
    {
        "column_values_to_be_dateutil_parseable",
        "column_values_to_be_json_parseable",
        "column_values_to_match_json_schema",
        "column_values_to_match_like_pattern",
        "column_values_to_match_like_pattern_list",
        "column_values_to_match_regex",
        "column_values_to_match_regex_list",
        "column_values_to_match_strftime_format",
        "column_values_to_not_match_like_pattern",
        "column_values_to_not_match_like_pattern_list",
        "column_values_to_not_match_regex",
        "column_values_to_not_match_regex_list",
    }
)
_ABOUT_NAMES: Final = (
    "column_to_exist",
    "table_columns_to_match_ordered_list",
    "table_columns_to_match_set",
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
    needs_values: bool = True


def unevaluable(expectation: Expectation, schema: Mapping[str, pl.DataType]) -> str | None:
    """Return why the expectation has no meaning for these columns, or None."""
    if expectation.name in _ABOUT_NAMES:
        return None
    if missing := [name for name in expectation.columns if name not in schema]:
        return f"there is no column {' and '.join(repr(name) for name in missing)}"
    if expectation.name in OWN and not schema[str(expectation.column)].is_numeric():
        return "outliers are defined for numbers only"
    condition: Condition | None = expectation.kwargs.get("row_condition")
    for column, operator, value in () if condition is None else condition.terms:
        compared = value if operator == "in" else [value]
        if "null" not in operator and any(_literal(v, schema[column]) is None for v in compared):
            kind = feature_type(schema[column])
            return f"the row condition compares {column!r} ({kind}) with a value of another type"
    return None


def missing_as_null(schema: Mapping[str, pl.DataType]) -> list[pl.Expr]:
    """Return the columns with NaN made null: one notion of "missing"."""
    return [
        pl.col(name).fill_nan(None) if dtype.is_float() else pl.col(name)
        for name, dtype in schema.items()
    ]


def selected(condition: Condition | None, schema: Mapping[str, pl.DataType]) -> pl.Expr:
    """Return which rows a row condition selects; a missing value meets no comparison."""
    mask = pl.lit(value=True)
    for column, operator, value in () if condition is None else condition.terms:
        dtype = schema[column]
        literal: Any = None
        if operator == "in":
            literal = [_literal(each, dtype) for each in value]
        elif "null" not in operator:
            literal = _literal(value, dtype)
        mask = mask & _COMPARED[operator](pl.col(column), literal)
    return mask.fill_null(value=False)


_COMPARED: Final[Mapping[str, Callable[[pl.Expr, Any], pl.Expr]]] = {
    "==": lambda column, value: column == value,
    "!=": lambda column, value: column != value,
    "<": lambda column, value: column < value,
    "<=": lambda column, value: column <= value,
    ">": lambda column, value: column > value,
    ">=": lambda column, value: column >= value,
    "in": lambda column, value: column.is_in(value),
    "is null": lambda column, _: column.is_null(),
    "is not null": lambda column, _: column.is_not_null(),
}


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
            return Rule("rows", mostly, None, rows, rows, ~present, needs_values=False)
        case "column_values_to_be_null":
            return Rule("rows", mostly, None, rows, rows, present, needs_values=False)
        case "column_proportion_of_non_null_values_to_be_between":
            low, high = _limits(given)
            values = pl.when(rows).then(present)
            base = Rule("value", low, high, rows, rows, values=values, aggregate=pl.Expr.mean)
            return _with_strictness(replace(base, needs_values=False), given)
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
    if name in _ROW_RULES:
        fault = _ROW_RULES[name](values, dtype, given)
        return (
            None
            if fault is None
            else Rule("rows", given.get("mostly", 1), None, rows, counted, fault)
        )
    if name in _SETS:
        members = _members(given["value_set"], dtype)
        if members is None:
            return None
        aggregate, low, high = _SETS[name](members.unique())
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


def feature_type(dtype: pl.DataType) -> str:
    """Return the feature type that a Polars type is stored as."""
    if isinstance(dtype, pl.List | pl.Array):
        return f"list<{feature_type(pl.Series([], dtype=dtype).explode().dtype)}>"
    if isinstance(dtype, pl.Datetime):
        return "timestamp[us, UTC]" if dtype.time_zone == "UTC" else str(dtype)
    return _TYPE_NAMES.get(type(dtype), str(dtype))


_TYPE_NAMES: Final[Mapping[type[pl.DataType], str]] = {
    pl.Int64: "int64",
    pl.Float64: "float64",
    pl.Boolean: "bool",
    pl.String: "string",
    pl.Date: "date32",
}


# ------------------------------------------------------------------ rows at fault


def _literal(value: Any, dtype: pl.DataType) -> Any:
    """Return a bound or set member in the column's type; None where the two do not compare."""
    numeric = dtype.is_integer() or dtype.is_float()
    match value:
        case bool():
            fits = dtype == pl.Boolean
        case int() | float():
            fits = numeric
            value = float(value) if abs(value) >= _BEYOND_INT64 else value
        case str():
            fits = dtype == pl.String
        case datetime():
            fits = isinstance(dtype, pl.Datetime) and dtype.time_zone == "UTC"
            value = value.astimezone(UTC)
        case date() if isinstance(dtype, pl.Datetime):
            fits = dtype.time_zone == "UTC"
            value = datetime.combine(value, time(), UTC)
        case _:
            fits = isinstance(value, date) and dtype == pl.Date
    return value if fits else None


def _outside(column: pl.Expr, dtype: pl.DataType, given: Mapping[str, Any]) -> pl.Expr | None:
    fault = pl.lit(value=False)
    for side in ("min_value", "max_value"):
        if side not in given:
            continue
        bound = _literal(given[side], dtype)
        if bound is None or isinstance(bound, str):
            return None
        if side == "min_value":
            fault |= column <= bound if given.get("strict_min") else column < bound
        else:
            fault |= column >= bound if given.get("strict_max") else column > bound
    return fault


def _members(values: Sequence[Any], dtype: pl.DataType) -> pl.Series | None:
    literals = [_literal(value, dtype) for value in values if value is not None]
    if None in literals:
        return None
    if dtype.is_integer():  # 1.5 equals no integer, 2.0 equals 2
        literals = [int(value) for value in literals if value == int(value)]
    return pl.Series(literals, dtype=dtype, strict=False).drop_nulls()


def _in_set(column: pl.Expr, dtype: pl.DataType, given: Mapping[str, Any]) -> pl.Expr | None:
    members = _members(given["value_set"], dtype)
    return None if members is None else ~column.is_in(members.implode())


def _not_in_set(column: pl.Expr, dtype: pl.DataType, given: Mapping[str, Any]) -> pl.Expr | None:
    members = _members(given["value_set"], dtype)
    return None if members is None else column.is_in(members.implode())


def _repeated(column: pl.Expr, _dtype: pl.DataType, _given: Mapping[str, Any]) -> pl.Expr:
    return column.is_duplicated().over(CODE)


def _length_outside(
    column: pl.Expr, dtype: pl.DataType, given: Mapping[str, Any]
) -> pl.Expr | None:
    if dtype != pl.String:
        return None
    return _outside(column.str.len_chars(), pl.Int64(), given)


def _length_differs(
    column: pl.Expr, dtype: pl.DataType, given: Mapping[str, Any]
) -> pl.Expr | None:
    return column.str.len_chars() != given["value"] if dtype == pl.String else None


def _out_of_order(falling: bool) -> Callable[..., pl.Expr | None]:
    def fault(column: pl.Expr, dtype: pl.DataType, given: Mapping[str, Any]) -> pl.Expr | None:
        if not (dtype.is_integer() or dtype.is_float()):
            return None
        before = column.forward_fill().shift(1).over(CODE)
        if given.get("strictly"):
            return (column >= before) if falling else (column <= before)
        return (column > before) if falling else (column < before)

    return fault


def _median(values: pl.Expr) -> pl.Expr:
    # Beside nulls Polars takes several times as long to find a quantile.
    return values.drop_nulls().median()


def _quartiles(column: pl.Expr) -> list[pl.Expr]:
    present = column.drop_nulls()
    return [present.quantile(share, "linear").over(CODE) for share in (0.25, 0.75)]


def _far_from_quartiles(
    column: pl.Expr, dtype: pl.DataType, given: Mapping[str, Any]
) -> pl.Expr | None:
    numeric = dtype.is_integer() or dtype.is_float()
    multiplier = float(given.get("multiplier", 1.5))
    if given.get("method", "iqr") != "iqr" or not numeric or multiplier <= 0:
        return None
    low, high = _quartiles(column)
    reach = (high - low) * multiplier
    return (column < low - reach) | (column > high + reach)


def _outliers(column: pl.Expr, dtype: pl.DataType, given: Mapping[str, Any]) -> pl.Expr | None:
    """Return which values lie far out; none does in a column that is mostly one value.

    "iqr" is Tukey's rule (Exploratory Data Analysis, 1977), "mad" the modified z-score of Iglewicz
    and Hoaglin (How to Detect and Handle Outliers, 1993), "reference" looks at what came before:
    while nothing did, nothing lies far out.
    """
    if not (dtype.is_integer() or dtype.is_float()):
        return None
    method = given.get("method", "iqr")
    fences: Fences | None = given["fences"]
    if method == "reference":
        low, high = fences or (-math.inf, math.inf)
        return (column < low) | (column > high)
    if method == "mad":
        distance = (column - _median(column).over(CODE)).abs()
        typical = _median(distance).over(CODE)
        return (_NORMAL_MAD * distance > _FAR_MAD * typical) & (typical > 0)
    first, third = _quartiles(column)
    reach = (third - first) * _FAR_IQR
    return ((column < first - reach) | (column > third + reach)) & (reach > 0)


def _far_from_mean(column: pl.Expr, dtype: pl.DataType, given: Mapping[str, Any]) -> pl.Expr | None:
    if not (dtype.is_integer() or dtype.is_float()):
        return None
    spread = column.std().over(CODE)
    # Without spread no distance is defined, and none is too far.
    score = (column - column.mean().over(CODE)) / pl.when(spread > 0).then(spread)
    score, threshold = score.fill_nan(None), float(given["threshold"])
    return score.abs() >= abs(threshold) if given["double_sided"] else score >= threshold


_ROW_RULES: Final[Mapping[str, Callable[..., pl.Expr | None]]] = {
    "column_values_to_be_between": _outside,
    "column_values_to_be_in_set": _in_set,
    "column_values_to_not_be_in_set": _not_in_set,
    "column_values_to_be_unique": _repeated,
    "column_value_lengths_to_be_between": _length_outside,
    "column_value_lengths_to_equal": _length_differs,
    "column_values_to_be_increasing": _out_of_order(falling=False),
    "column_values_to_be_decreasing": _out_of_order(falling=True),
    "column_values_to_not_be_outliers": _far_from_quartiles,
    "column_value_z_scores_to_be_less_than": _far_from_mean,
    "max_outlier_percentage": _outliers,
}


# ------------------------------------------------------------------ numbers about a column


def _number_bounds(
    name: str, dtype: pl.DataType, given: Mapping[str, Any]
) -> tuple[Bound, Bound] | None:
    """Return the bounds in the type of the number; None where they do not compare with it."""
    _, result = _NUMBERS[name]
    if result == "number of numbers" and not (dtype.is_integer() or dtype.is_float()):
        return None
    bounds = _limits(given)
    literal = dtype if result == "value" else pl.Float64()
    low, high = (None if bound is None else _literal(bound, literal) for bound in bounds)
    comparable = (low is None, high is None) == (bounds[0] is None, bounds[1] is None)
    return (low, high) if comparable else None


def _distinct(values: pl.Expr) -> pl.Expr:
    return values.drop_nulls().n_unique().cast(pl.Int64)


_NUMBERS: Final[Mapping[str, tuple[Aggregate, str]]] = {
    "column_max_to_be_between": (pl.Expr.max, "value"),
    "column_min_to_be_between": (pl.Expr.min, "value"),
    "column_mean_to_be_between": (pl.Expr.mean, "number of numbers"),
    "column_median_to_be_between": (_median, "number of numbers"),
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

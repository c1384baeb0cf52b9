"""Rows at fault: for each rule about rows, the expression that says which break it.

The definitions are those of Great Expectations on pandas: a missing value, NaN included, is at
fault nowhere.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, Final

import polars as pl

from feature_store_assets.quality.columns import CODE, literal, members

# The lowest and the highest number that was usual before.
Fences = tuple[float, float]

# What makes the median absolute deviation of normal values comparable with their spread.
_NORMAL_MAD: Final = 0.6745
_FAR_MAD: Final = 3.5
_FAR_IQR: Final = 1.5


def _outside(column: pl.Expr, dtype: pl.DataType, given: Mapping[str, Any]) -> pl.Expr | None:
    fault = pl.lit(value=False)
    for side in ("min_value", "max_value"):
        if side not in given:
            continue
        bound = literal(given[side], dtype)
        if bound is None or isinstance(bound, str):
            return None
        if side == "min_value":
            fault |= column <= bound if given.get("strict_min") else column < bound
        else:
            fault |= column >= bound if given.get("strict_max") else column > bound
    return fault


def _in_set(column: pl.Expr, dtype: pl.DataType, given: Mapping[str, Any]) -> pl.Expr | None:
    allowed = members(given["value_set"], dtype)
    return None if allowed is None else ~column.is_in(allowed.implode())


def _not_in_set(column: pl.Expr, dtype: pl.DataType, given: Mapping[str, Any]) -> pl.Expr | None:
    refused = members(given["value_set"], dtype)
    return None if refused is None else column.is_in(refused.implode())


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
    comparable = dtype == pl.String and isinstance(given["value"], int | float)
    return column.str.len_chars() != given["value"] if comparable else None


def _out_of_order(falling: bool) -> Callable[..., pl.Expr | None]:
    def fault(column: pl.Expr, dtype: pl.DataType, given: Mapping[str, Any]) -> pl.Expr | None:
        if not (dtype.is_integer() or dtype.is_float()):
            return None
        before = column.forward_fill().shift(1).over(CODE)
        if given.get("strictly"):
            return (column >= before) if falling else (column <= before)
        return (column > before) if falling else (column < before)

    return fault


def median(values: pl.Expr) -> pl.Expr:
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
        distance = (column - median(column).over(CODE)).abs()
        typical = median(distance).over(CODE)
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


ROW_RULES: Final[Mapping[str, Callable[..., pl.Expr | None]]] = {
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

"""Columns as rules see them: types, values that compare with them, rows that conditions select."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, time
from typing import Any, Final

import polars as pl

from feature_store_assets.declaration.conditions import Condition
from feature_store_assets.declaration.expect import Expectation
from feature_store_assets.declaration.expectations_table import OWN

CODE: Final = "partition code"
ROW: Final = "row number"
_BEYOND_INT64: Final = 2**63
_ABOUT_NAMES: Final = (
    "column_to_exist",
    "table_columns_to_match_ordered_list",
    "table_columns_to_match_set",
)


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
        if "null" not in operator and any(literal(v, schema[column]) is None for v in compared):
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
        given: Any = None
        if operator == "in":
            given = [literal(each, dtype) for each in value]
        elif "null" not in operator:
            given = literal(value, dtype)
        mask = mask & _COMPARED[operator](pl.col(column), given)
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


def literal(value: Any, dtype: pl.DataType) -> Any:
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


def members(values: Sequence[Any], dtype: pl.DataType) -> pl.Series | None:
    literals = [literal(value, dtype) for value in values if value is not None]
    if None in literals:
        return None
    if dtype.is_integer():  # 1.5 equals no integer, 2.0 equals 2
        literals = [int(value) for value in literals if value == int(value)]
    return pl.Series(literals, dtype=dtype, strict=False).drop_nulls()

"""The types a feature may have, and the spellings that mean them."""

import re
from collections.abc import Callable, Mapping
from datetime import date, datetime
from functools import cache
from typing import TYPE_CHECKING

from feature_store_assets.errors import DeclarationError, suggestion

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

SCALARS = ("int64", "float64", "bool", "string", "date32", "timestamp[us, UTC]")

_SPELLINGS: dict[str, str] = {
    **{name: name for name in SCALARS},
    "int": "int64",
    "integer": "int64",
    "float": "float64",
    "double": "float64",
    "numeric": "float64",
    "boolean": "bool",
    "str": "string",
    "text": "string",
    "large_string": "string",
    "date": "date32",
    "date32[day]": "date32",
    "datetime": "timestamp[us, UTC]",
    "timestamp": "timestamp[us, UTC]",
    "timestamp[us]": "timestamp[us, UTC]",
    "timestamp[us, tz=UTC]": "timestamp[us, UTC]",
}
_PYTHON: dict[type, str] = {
    int: "int64",
    float: "float64",
    bool: "bool",
    str: "string",
    date: "date32",
    datetime: "timestamp[us, UTC]",
}
_LIST = re.compile(r"^(?:large_)?list[<\[](?:(?:item|element): )?(?P<item>.+)[>\]]$")


def type_name(given: object) -> str:
    """Return the one name of a feature type.

    Parameters
    ----------
    given
        A name (`"int64"`, `"integer"`, `"list<float64>"`), a Python type, or an Arrow type.

    Examples
    --------
    >>> type_name("integer"), type_name(float), type_name("list[float]")
    ('int64', 'float64', 'list<float64>')
    """
    if isinstance(given, type) and given in _PYTHON:
        return _PYTHON[given]
    text = str(given).strip()
    if text in _SPELLINGS:
        return _SPELLINGS[text]
    if match := _LIST.match(text):
        item = type_name(match["item"])
        if item in SCALARS:
            return f"list<{item}>"
    raise DeclarationError(f"'{text}' is no feature type." + suggestion(text, _known()))


@cache
def arrow_type(name: str) -> "pa.DataType":
    """Return the Arrow type of a declared type name."""
    import pyarrow as pa

    if name.startswith("list<"):
        return pa.list_(arrow_type(name[5:-1]))
    scalars: dict[str, pa.DataType] = {
        "int64": pa.int64(),
        "float64": pa.float64(),
        "bool": pa.bool_(),
        "string": pa.string(),
        "date32": pa.date32(),
        "timestamp[us, UTC]": pa.timestamp("us", "UTC"),
    }
    return scalars[name]


@cache
def polars_type(name: str) -> "pl.DataType":
    """Return the Polars type of a declared type name."""
    import polars as pl

    if name.startswith("list<"):
        return pl.List(polars_type(name[5:-1]))
    scalars: dict[str, pl.DataType] = {
        "int64": pl.Int64(),
        "float64": pl.Float64(),
        "bool": pl.Boolean(),
        "string": pl.String(),
        "date32": pl.Date(),
        "timestamp[us, UTC]": pl.Datetime("us", "UTC"),
    }
    return scalars[name]


# What a value of each type may be in Python. A bool is no number, and a float64 holds whole
# numbers up to 2**53.
_HOLDS: Mapping[str, Callable[[object], bool]] = {
    "int64": lambda value: (
        isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63
    ),
    "float64": lambda value: (
        isinstance(value, float)
        or (isinstance(value, int) and not isinstance(value, bool) and abs(value) <= 2**53)
    ),
    "bool": lambda value: isinstance(value, bool),
    "string": lambda value: isinstance(value, str),
    "date32": lambda value: isinstance(value, date) and not isinstance(value, datetime),
    "timestamp[us, UTC]": lambda value: isinstance(value, datetime) and value.tzinfo is not None,
}


def holds(kind: str, value: object) -> bool:
    """Tell whether a Python value is one of a declared type; None is one of each.

    Examples
    --------
    >>> holds("float64", 3), holds("int64", 3.0), holds("list<string>", ["a", None])
    (True, False, True)
    """
    if value is None:
        return True
    if kind.startswith("list<"):
        return isinstance(value, list | tuple) and all(holds(kind[5:-1], item) for item in value)
    return _HOLDS[kind](value)


def _known() -> list[str]:
    return [*SCALARS, "list<float64>"]

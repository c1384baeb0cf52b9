"""The types a feature may have, and the spellings that mean them."""

import re
from datetime import date, datetime

from feature_store_assets.errors import DeclarationError, suggestion

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


def _known() -> list[str]:
    return [*SCALARS, "list<float64>"]

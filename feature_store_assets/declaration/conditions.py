"""Conditions on rows, and the JSON that holds them and the other arguments of a check."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Literal

from feature_store_assets.declaration.canonical import canonical
from feature_store_assets.errors import DeclarationError

Operator = Literal["==", "!=", "<", "<=", ">", ">=", "in", "is null", "is not null"]


@dataclass(frozen=True, slots=True)
class Condition:
    """Rows that a check looks at: comparisons of columns with values, all of which must hold.

    Made by `expect.col("country") == "US"`; `&` joins two. As in SQL, a missing value meets no
    comparison, `!=` included.
    """

    terms: tuple[tuple[str, Operator, Any], ...]

    def __and__(self, other: "Condition") -> "Condition":
        return Condition(self.terms + other.terms)

    def __bool__(self) -> bool:
        raise DeclarationError(
            "Join row conditions by '&', each side in parentheses; not by 'and'."
        )

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns compared, each once."""
        return tuple(dict.fromkeys(column for column, _, _ in self.terms))


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """A column inside a row condition, from `expect.col(name)`."""

    name: str

    def _compared(self, operator: Operator, value: object) -> Condition:
        if value is None:
            raise DeclarationError(
                f"No value of '{self.name}' compares with None: use .is_null() or .not_null()."
            )
        encoded(value, f"the row condition on '{self.name}'")
        return Condition(((self.name, operator, value),))

    def __eq__(self, other: object) -> Condition:  # type: ignore[override]  # builds a condition
        return self._compared("==", other)

    def __ne__(self, other: object) -> Condition:  # type: ignore[override]  # builds a condition
        return self._compared("!=", other)

    def __lt__(self, other: object) -> Condition:
        return self._compared("<", other)

    def __le__(self, other: object) -> Condition:
        return self._compared("<=", other)

    def __gt__(self, other: object) -> Condition:
        return self._compared(">", other)

    def __ge__(self, other: object) -> Condition:
        return self._compared(">=", other)

    def __hash__(self) -> int:
        return hash(self.name)

    def is_in(self, values: Iterable[object]) -> Condition:
        """Rows whose value is one of `values`."""
        return self._compared("in", tuple(values))

    def is_null(self) -> Condition:
        """Rows without a value."""
        return Condition(((self.name, "is null", None),))

    def not_null(self) -> Condition:
        """Rows with a value."""
        return Condition(((self.name, "is not null", None),))


def encoded(value: object, where: str) -> object:
    """Return JSON for an argument; dates and conditions are tagged by `$` keys."""
    if isinstance(value, date | Condition):
        return _tagged(value, where)
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) and not key.startswith("$") for key in value):
            raise DeclarationError(f"Mappings in {where} have plain strings as keys.")
        return {key: encoded(each, where) for key, each in value.items()}
    if isinstance(value, set | frozenset):  # sets have no order, equal declarations need one
        return sorted((encoded(each, where) for each in value), key=canonical)
    if isinstance(value, list | tuple | range):
        return [encoded(each, where) for each in value]
    return _scalar(value, where)


def _tagged(value: date | Condition, where: str) -> dict[str, object]:
    if isinstance(value, Condition):
        return {"$condition": [[c, o, encoded(v, where)] for c, o, v in value.terms]}
    if not isinstance(value, datetime):
        return {"$date": value.isoformat()}
    if value.tzinfo is None:
        raise DeclarationError(
            f"The time {value} in {where} has no time zone; timestamps are UTC here: add "
            f"tzinfo=datetime.UTC."
        )
    return {"$datetime": value.isoformat()}


def _scalar(value: object, where: str) -> object:
    if isinstance(value, float) and not math.isfinite(value):
        raise DeclarationError(f"{value} in {where} is no number that JSON can hold.")
    # Exact types: a subclass (numpy's float64) would come back as another type.
    for plain in (bool, int, float, str):
        if isinstance(value, plain):
            return plain(value)
    if value is None:
        return None
    raise DeclarationError(
        f"A {type(value).__name__} in {where} cannot be kept as JSON: use numbers, strings, bools, "
        f"dates, datetimes, and lists of these."
    )


def decoded(value: Any) -> Any:
    """Return the argument that `encoded` wrote, sequences as lists."""
    if isinstance(value, list):
        return [decoded(each) for each in value]
    if not isinstance(value, dict):
        return value
    if "$datetime" in value:
        return datetime.fromisoformat(value["$datetime"])
    if "$date" in value:
        return date.fromisoformat(value["$date"])
    if "$condition" in value:
        return Condition(tuple((c, o, decoded(v)) for c, o, v in value["$condition"]))
    return {key: decoded(each) for key, each in value.items()}

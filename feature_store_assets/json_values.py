"""What both ends of HTTP say: the result of a push, and values that JSON lacks.

Those are dates, times, NaN and the infinities.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cache
from typing import Any
from uuid import UUID


@dataclass(frozen=True)
class WriteResult:
    """What a push did.

    Attributes
    ----------
    rows_written, rows_updated, rows_duplicate
        Rows that were written; how many of them are newer revisions of stored facts; and rows
        left out because they are stored already.
    partitions
        The partitions of all these rows, also of those left out: they are published again, as
        the push that stored them may have been cut off before its end.
    version
        The table version that holds the rows.
    warnings
        What the rows break that is not critical.
    """

    feature_group: str
    rows_written: int
    rows_updated: int
    rows_duplicate: int
    partitions: tuple[str, ...]
    version: int
    warnings: tuple[str, ...] = ()

    @property
    def rows_inserted(self) -> int:
        """Rows of facts that were not stored before."""
        return self.rows_written - self.rows_updated


_FLOATS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def named(value: Any) -> Any:
    """A float that JSON lacks by its name; anything else as it is.

    Examples
    --------
    >>> named(float("-inf")), named(1.5), named("text")
    ('-Infinity', 1.5, 'text')
    """
    if not isinstance(value, float) or math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def written(value: Any) -> Any:
    """A value, or a list of values, as JSON can tell it; NumPy's scalars and arrays, too.

    Examples
    --------
    >>> written([datetime(2024, 6, 3, tzinfo=UTC), date(2024, 6, 3), 7])
    ['2024-06-03T00:00:00+00:00', '2024-06-03', 7]
    """
    if isinstance(value, str | int) or value is None:
        return value
    if isinstance(value, date):  # a datetime is one
        return value.isoformat()
    if isinstance(value, UUID):
        return str(value)
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [written(each) for each in value]
    return named(value)


def text_type(value: Any) -> str | None:
    """The type of a value, or of a list of values, that is written as text; None for others."""
    if isinstance(value, datetime):
        return "timestamp[us, UTC]"
    if isinstance(value, date):
        return "date32"
    if isinstance(value, float) and not math.isfinite(value):
        return "float64"
    if isinstance(value, list | tuple):
        found = next((kind for each in value if (kind := text_type(each))), None)
        return found and f"list<{found}>"
    return None


@cache
def reader(kind: str) -> Callable[[Any], Any] | None:
    """What makes a type's values out of JSON's; None for a type whose values JSON has.

    What is no text passes as it is; a text that is no such value is a `ValueError`.

    Examples
    --------
    >>> read = reader("list<date32>")
    >>> read and read(["2024-06-03", None])
    [datetime.date(2024, 6, 3), None]
    """
    read = _READERS.get(kind.removeprefix("list<").removesuffix(">"))
    if read is None:
        return None

    def scalar(value: Any) -> Any:
        return read(value) if isinstance(value, str) else value

    def items(value: Any) -> Any:
        return [scalar(each) for each in value] if isinstance(value, list) else value

    return items if kind.startswith("list<") else scalar


def _float(text: str) -> float:
    if text not in _FLOATS:
        raise ValueError
    return _FLOATS[text]


def _instant(text: str) -> datetime:
    instant = datetime.fromisoformat(text)
    try:
        return instant.astimezone(UTC) if instant.tzinfo is not None else instant
    except OverflowError:  # the first or the last hours of the calendar, in another zone
        raise ValueError from None


_READERS: dict[str, Callable[[str], Any]] = {
    "float64": _float,
    "date32": date.fromisoformat,
    "timestamp[us, UTC]": _instant,
}

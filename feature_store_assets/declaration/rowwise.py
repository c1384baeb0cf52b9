"""The trial of a request-time function: typed, row by row, repeatable.

Training hands it millions of rows and serving one, so a function that looks at other rows (a mean,
a shift, a rank) would serve other values than it was trained on. It is found out on a few made-up
rows, together and one by one.
"""

import warnings
from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

from feature_store_assets.declaration.request import RequestFeature, fault
from feature_store_assets.declaration.types import polars_type
from feature_store_assets.errors import DeclarationError

if TYPE_CHECKING:
    import polars as pl

_ROWS = 24
# NumPy computes whole vectors and their last few values by different instructions.
_TOLERANCE = 1e-9
# The plain values come first: some rows hold nothing else, whatever a function refuses.
_VALUES: dict[str, tuple[Any, ...]] = {
    "int64": (3, 10, 1, None, 0, -7, 2**40),
    "float64": (2.5, 40.0, 1.0, None, 0.0, -7.25, float("nan"), float("inf"), 1e-9),
    "bool": (True, False, None),
    "string": ("a", "Zürich", "10", None, "", " b ", "2024-01-31"),
    "date32": (date(2024, 2, 29), date(1970, 1, 1), date(2100, 1, 1), None, date(1969, 12, 31)),
    "timestamp[us, UTC]": (
        datetime(2024, 2, 29, 23, 59, 59, 999_999, tzinfo=UTC),
        datetime(1970, 1, 1, tzinfo=UTC),
        datetime(2024, 7, 1, 12, tzinfo=UTC),
        None,
        datetime(1969, 12, 31, 23, tzinfo=UTC),
    ),
}


def check_function(feature: RequestFeature, kinds: Sequence[str]) -> None:
    """Run a function on columns without rows, then on made-up rows.

    Parameters
    ----------
    feature
        What it computes.
    kinds
        The types of its inputs.

    Raises
    ------
    DeclarationError
        It raises on columns without rows; returns another type or number of rows; changes its
        inputs; gives two answers to one question; or mixes rows. A row that it raises on proves
        nothing and is left out.
    """
    rows = _made_up(feature.inputs, kinds)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _run_empty(feature, [column.clear() for column in rows])
        _compare(feature, rows)


def _made_up(names: Sequence[str], kinds: Sequence[str]) -> "list[pl.Series]":
    """Return columns in which the values of several meet in many ways."""
    import polars as pl

    columns = []
    for place, (name, kind) in enumerate(zip(names, kinds, strict=True)):
        values = _VALUES.get(kind)
        if values is None:
            items = _VALUES[kind[5:-1]]
            values = (list(items[:2]), list(items), [items[0]], None, [], [None])
        count = len(values)
        drawn = [values[(row + place * (1 + row // count)) % count] for row in range(_ROWS)]
        columns.append(pl.Series(name, drawn, dtype=polars_type(kind)))
    return columns


def _run_empty(feature: RequestFeature, columns: "list[pl.Series]") -> None:
    try:
        result = feature.load()(*columns)
    except Exception as error:
        raise _refused(
            feature,
            f"raises {type(error).__name__} on columns without rows ({error}): it must take them",
        ) from error
    if reason := fault(feature, result, 0):
        raise _refused(feature, reason)


def _compare(feature: RequestFeature, columns: "list[pl.Series]") -> None:
    """Refuse a function whose value for a row depends on the rows beside it, or on the time."""
    import polars as pl

    alone = [_tried(feature, [column[row : row + 1] for column in columns]) for row in range(_ROWS)]
    kept = [row for row, result in enumerate(alone) if result is not None]
    together = _tried(feature, columns)
    if together is None:
        # Some values are not for it: those rows say nothing about the others.
        columns = [column.gather(kept) for column in columns]
        together = _tried(feature, columns)
    elif len(kept) < _ROWS:
        raise _refused(feature, _MIXES)
    if not kept:
        return
    again = _tried(feature, columns)
    if together is None or again is None:
        raise _refused(feature, _MIXES)
    if not _same(together, again):
        raise _refused(
            feature,
            "gives two answers for the same rows (a random number, the time of day): training "
            "could never see what serving saw. Make what it depends on a request value",
        )
    backwards = _tried(feature, [column.reverse() for column in columns])
    singles = pl.concat([result for result in alone if result is not None])
    if backwards is None or not (_same(together, singles) and _same(together, backwards.reverse())):
        raise _refused(feature, _MIXES)


_MIXES = (
    "mixes rows (an aggregate, a shift, a rank, ...): serving sees one row at a time. Compute what "
    "needs several rows in a feature group"
)


def _tried(feature: RequestFeature, columns: "list[pl.Series]") -> "pl.Series | None":
    """Return what the function makes of the columns; None where it raises."""
    given = [column.clone() for column in columns]
    try:
        result = feature.load()(*given)
    except Exception:  # noqa: BLE001  # the author's function may raise anything
        return None
    if not all(_same(*pair) for pair in zip(given, columns, strict=True)):
        raise _refused(feature, "changes its inputs: work on copies, other features read them too")
    if reason := fault(feature, result, len(columns[0])):
        raise _refused(feature, reason)
    return result


def _same(one: "pl.Series", other: "pl.Series") -> bool:
    """Tell whether values are equal, nulls and NaN too, and floats up to the last digits."""
    if one.equals(other, check_dtypes=True):
        return True
    if one.dtype != other.dtype or len(one) != len(other) or not one.dtype.is_float():
        return False
    near = (one - other).abs() <= _TOLERANCE * other.abs()
    return bool((one.eq_missing(other) | near.fill_null(value=False)).all())


def _refused(feature: RequestFeature, reason: str) -> DeclarationError:
    return DeclarationError(f"'{feature.function}', the function of '{feature.name}', {reason}.")

"""Arrow columns of timestamps and dates: what lies outside the calendar is refused, or shown near.

The calendar is the years 1 to 9999 in UTC: see `declaration/instants.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from feature_store_assets.declaration.instants import (
    FIRST_MICRO,
    FIRST_NUMBER,
    LAST_MICRO,
    LAST_NUMBER,
)
from feature_store_assets.declaration.mask import mask_value
from feature_store_assets.errors import OutsideCalendar

if TYPE_CHECKING:
    from collections.abc import Mapping

_SHOWN = 5
# Microseconds of each unit; nanoseconds cannot leave the calendar, they end in 1677 and 2262.
_UNITS = {"s": 1_000_000, "ms": 1_000, "us": 1}
_DAY = 86_400_000_000
# By what factor an instant is too far off, if epochs were read in the wrong unit.
_MISTAKES = {
    1_000: "milliseconds that were read as seconds, or microseconds as milliseconds",
    1_000_000: "microseconds that were read as seconds, or nanoseconds as milliseconds",
    1_000_000_000: "nanoseconds that were read as seconds",
    86_400: "seconds that were read as days",
    86_400_000: "milliseconds that were read as days",
}
_OPEN = "Use null for an open end of a feature, or 9999-12-31."
# Where an epoch in the right unit most likely lies: 1980 to 2100.
_LIKELY = range(315_532_800_000_000, 4_102_444_800_000_000)


def refuse_outside(
    column: pa.ChunkedArray[Any],
    *,
    owner: str,
    name: str,
    masked: bool = False,
    beside: Mapping[str, pa.ChunkedArray[Any]] | None = None,
) -> None:
    """Refuse timestamps and dates outside the years 1 to 9999 (UTC); other types pass.

    Parameters
    ----------
    masked
        Whether the values must not be shown: those of keys, and personal ones.
    beside
        Keys of the rows, which are shown masked.

    Raises
    ------
    OutsideCalendar
    """
    if _is_inside(column):
        return
    flat, rows = _flattened(column)
    low, high = _limits(flat.type) or (0, 0)
    numbers = _numbers(flat)
    outside = np.flatnonzero((numbers < low) | (numbers > high))
    _, first = np.unique(rows[outside], return_index=True)
    shown = []
    for at in outside[first][:_SHOWN].tolist():
        row, text = int(rows[at]), _text(int(numbers[at]), flat.type)
        keys = {key: mask_value(values[row].as_py()) for key, values in _safe(beside)}
        shown.append((row, {**keys, name: mask_value(text) if masked else text}))
    hint = _hint(int(numbers[outside[0]]), flat.type)
    raise OutsideCalendar(owner, name, len(first), shown, hint=hint)


def shown(table: pa.Table) -> pa.Table:
    """Return a table in which Python can hold each timestamp and date.

    What lies outside the years 1 to 9999 becomes the nearest instant within: such rows were written
    before they were refused, or past the store.
    """
    for at, field in enumerate(table.schema):
        column = table.column(at)
        if not _is_inside(column):
            near = _near(column.combine_chunks())
            table = table.set_column(at, field, near.cast(field.type))
    return table


def _limits(kind: Any) -> tuple[int, int] | None:
    """Return the least and the greatest number of a type; None if each is in the calendar."""
    if pa.types.is_date32(kind):
        return FIRST_NUMBER, LAST_NUMBER
    if pa.types.is_timestamp(kind) and kind.unit in _UNITS:
        size = _UNITS[kind.unit]
        return -(-FIRST_MICRO // size), LAST_MICRO // size
    return None


def _is_nested(kind: pa.DataType) -> bool:
    types = pa.types
    return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))


def _is_inside(column: Any) -> bool:
    kind = column.type
    while _is_nested(kind) or pa.types.is_dictionary(kind):
        kind = kind.value_type
    limits = _limits(kind)
    if limits is None:
        return True
    while column.type != kind:
        column = _inner(column)
    found: Any = pc.min_max(column)
    low, high = found["min"].value, found["max"].value
    return low is None or (limits[0] <= low and high <= limits[1])


def _inner(column: Any) -> Any:
    """Return the items of lists, or the values behind a dictionary."""
    if _is_nested(column.type):
        return pc.list_flatten(column)
    return column.cast(column.type.value_type)


def _flattened(column: pa.ChunkedArray[Any]) -> tuple[Any, Any]:
    """Return the values of a column, those in lists one by one, and the row of each."""
    values: Any = column.combine_chunks()
    rows = np.arange(len(values))
    while _is_nested(values.type) or pa.types.is_dictionary(values.type):
        if _is_nested(values.type):
            rows = np.repeat(rows, _lengths(values))
        values = _inner(values)
    return values, rows


def _lengths(lists: Any) -> Any:
    return pc.list_value_length(lists).fill_null(0).to_numpy(zero_copy_only=False)


def _numbers(values: Any) -> Any:
    """Return instants as whole numbers of their unit, nulls as zero."""
    whole = pa.int32() if pa.types.is_date32(values.type) else pa.int64()
    return values.cast(whole).fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)


def _near(values: Any) -> Any:
    """Move the instants of an array into the calendar."""
    kind = values.type
    if pa.types.is_dictionary(kind):
        return _near(values.cast(kind.value_type))
    if _is_nested(kind):
        ends: Any = pa.array(np.concatenate(([0], np.cumsum(_lengths(values)))), pa.int32())
        inner = _near(pc.list_flatten(values))
        return pa.ListArray.from_arrays(ends, inner, mask=values.is_null())
    low, high = _limits(kind) or (0, 0)
    moved: Any = pa.array(np.clip(_numbers(values), low, high), mask=np.asarray(values.is_null()))
    if pa.types.is_date32(kind):
        moved = moved.cast(pa.int32())
    return moved.cast(kind)


def _text(number: int, kind: Any) -> str:
    """Write an instant that Python's datetime does not have."""
    if pa.types.is_date32(kind):
        return str(np.datetime64(number, "D"))
    return f"{np.datetime64(number, kind.unit)}{'' if kind.tz is None else 'Z'}"


def _hint(number: int, kind: Any) -> str:
    """Guess why an instant lies outside."""
    number *= _DAY if pa.types.is_date32(kind) else _UNITS[kind.unit]
    for factor, mistake in _MISTAKES.items():
        if number // factor in _LIKELY:
            return f"They look like {mistake}: read them in their own unit. {_OPEN}"
    return _OPEN


def _safe(columns: Mapping[str, Any] | None) -> Any:
    """Return columns as Python can show them."""
    table = shown(pa.table(dict(columns or {})))
    return zip(table.column_names, table.columns, strict=True)

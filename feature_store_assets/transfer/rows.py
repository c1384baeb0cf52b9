"""Values of the registry's columns as JSON brought them from elsewhere."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from feature_store_assets.registry.database import Instant, training_sets
from feature_store_assets.storage.foreign import check_name

_ODD_FLOATS = ("nan", "inf", "-inf")
# Columns whose text is JSON.
_JSON = frozenset({"profile", "features", "owners", "manifest", "tags", "definition"})


def decoded(column: sa.Column[Any], value: Any, *, strict: bool = True) -> Any:
    """Return a value as its column takes it; TypeError or ValueError if it takes no such.

    Parameters
    ----------
    strict
        Whether texts must be what the column promises. Not so for what an SQLite registry held,
        which does not look at lengths: that comes back as it was.
    """
    kind = column.type
    if value is None and column.nullable:
        return None
    if isinstance(kind, Instant):
        return _instant(value)
    if isinstance(kind, sa.Float):
        if type(value) not in (int, float) and value not in _ODD_FLOATS:
            raise TypeError
        return _float(value)
    if isinstance(kind, sa.Integer):
        bits = 63 if isinstance(kind, sa.BigInteger) else 31
        if type(value) is not int or not -(2**bits) <= value < 2**bits:
            raise TypeError
        return value
    return _text(column, value, strict=strict)


def _text(column: sa.Column[Any], value: Any, *, strict: bool) -> str:
    if not isinstance(value, str):
        raise TypeError
    value.encode()  # half a surrogate pair is no text
    if strict:
        longest = column.type.length if isinstance(column.type, sa.String) else None
        if "\0" in value or len(value) > (longest or len(value)):
            raise TypeError
        if column.name in _JSON:
            _load(value)
    if column.table is training_sets and column.name == "name":
        check_name(value, "training")
    return value


def _instant(value: Any) -> datetime:
    at = datetime.fromisoformat(value)
    if at.tzinfo is None:
        raise ValueError
    try:
        return at.astimezone(UTC)
    except OverflowError:
        raise ValueError from None


def _float(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:
        raise ValueError from None


def _load(text: str) -> Any:
    """Return what a text of a registry says, whose odd floats are written as Python does."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deep") from None

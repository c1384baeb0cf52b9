"""Values of the registry's columns as JSON: written for elsewhere, checked when they come back."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

import sqlalchemy as sa

from feature_store_assets.registry.database import Instant, audit, pins, training_sets
from feature_store_assets.registry.pins import owner_of
from feature_store_assets.storage.untrusted import UNSOUND, check_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

_T = TypeVar("_T")
_ODD_FLOATS = ("nan", "inf", "-inf")
# Columns whose text is JSON.
_JSON = frozenset({"profile", "features", "owners", "manifest", "tags", "definition"})
# Tables as earlier schemas had them; no other table ever changed.
_OLD_AUDIT = sa.Table(
    "audit",
    sa.MetaData(),
    *(
        sa.Column(each.name, each.type, primary_key=each.primary_key, nullable=each.nullable)
        for each in audit.columns
        if each.name != "source"
    ),
)
_OLD_PINS = sa.Table(
    "pins",
    sa.MetaData(),
    sa.Column("snapshot", sa.String(128), primary_key=True),
    sa.Column("feature_group", sa.String(128), primary_key=True),
    sa.Column("group_version", sa.Integer, primary_key=True),
    sa.Column("table_version", sa.Integer, nullable=False),
    sa.Column("description", sa.Text, nullable=False),
    sa.Column("created_by", sa.String(128), nullable=False),
    sa.Column("created_at", Instant, nullable=False),
)


def in_schema(table: sa.Table, schema: str) -> sa.Table:
    """Return a table with the columns that it has in a schema."""
    if table is audit and schema < "0009":
        return _OLD_AUDIT
    return _OLD_PINS if table is pins and schema < "0010" else table


def as_now(table: sa.Table, row: dict[str, Any]) -> dict[str, Any]:
    """Return a row of a table as the newest schema has it."""
    if table is _OLD_PINS:
        row["owner_kind"], row["owner"] = owner_of(row.pop("snapshot"))
    if table is _OLD_AUDIT:
        row["source"] = ""
    return row


def encoded(value: Any) -> Any:
    """Return a value of a row as JSON holds it."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def decoded(
    columns: Sequence[sa.Column[Any]], values: Iterable[Any], *, strict: bool = True
) -> dict[str, Any]:
    """Return a row as its table takes it; ValueError names the column that takes no such value.

    Parameters
    ----------
    strict
        Whether texts must be what the column promises. Not so for what an SQLite registry held,
        which does not look at lengths: that comes back as it was.
    """
    row = {}
    for column, value in zip(columns, values, strict=True):
        try:
            row[column.name] = _value(column, value, strict=strict)
        except UNSOUND as error:
            why = f": {error}" if str(error) else ""
            raise ValueError(f"has no sound '{column.name}'{why}") from None
    return row


def _value(column: sa.Column[Any], value: Any, *, strict: bool) -> Any:
    kind = column.type
    if value is None and column.nullable:
        return None
    if isinstance(kind, Instant):
        return _instant(value)
    if isinstance(kind, sa.Float):
        if type(value) not in (int, float) and value not in _ODD_FLOATS:
            raise TypeError
        return _within(float, value)
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
            content = _within(json.loads, value)  # odd floats are written as Python does
            if column.name == "profile":
                from feature_store_assets.quality.statistics import Profile

                Profile.from_json(content)
    if column.table is training_sets and column.name == "name":
        check_name(value, "training")
    return value


def _instant(value: Any) -> datetime:
    at = datetime.fromisoformat(value)
    if at.tzinfo is None:
        raise ValueError
    return _within(at.astimezone, UTC)


def _within(made: Callable[[Any], _T], value: Any) -> _T:
    """Return what is made of a value; ValueError where that is too far out."""
    try:
        return made(value)
    except OverflowError:
        raise ValueError from None
    except RecursionError:
        raise ValueError("it is nested too deep") from None

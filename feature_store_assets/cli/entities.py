"""Entities as they are typed: `7`, `JFK,LAX` or `origin=JFK,dest=LAX`."""

import csv
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from typing import Any

import feature_store_assets as fs
from feature_store_assets.declaration.instants import utc
from feature_store_assets.errors import DataError, suggestion


def key_types(
    store: "fs.FeatureStore", name: str, features: Sequence[str] | None
) -> dict[str, str]:
    """Return the join keys of a group or view, with their types."""
    types: dict[str, str] = {}
    for chosen in store.applied.resolve(name, features).parts:
        table, entity = store.table(chosen.group), chosen.group.entity
        stored = dict(table.schema.keys) if table.exists else {}
        for key, kind in zip(entity.join_keys, entity.key_types, strict=True):
            types[key] = kind or stored.get(key) or "string"
    return types


def _truth(text: str) -> bool:
    return {"true": True, "false": False}[text.lower()]


def _utc(text: str) -> datetime:
    return utc(datetime.fromisoformat(text), "The time")


_VALUES: dict[str, tuple[Callable[[str], Any], str]] = {
    "int64": (int, "a whole number"),
    "bool": (_truth, "true or false"),
    "date32": (date.fromisoformat, "a date such as 2024-01-31"),
    "timestamp[us, UTC]": (_utc, "a time such as 2024-01-31T12:00+00:00"),
    "string": (str, "text"),
}


def read_entity(text: str, keys: Mapping[str, str], owner: str) -> dict[str, Any]:
    """Read one entity, `7`, `JFK,LAX` or `origin=JFK,dest=LAX`; quotes keep a comma.

    Values are not repeated in errors: they may be personal.
    """
    parts = next(csv.reader([text]), [""]) if len(keys) > 1 else [text]
    pairs = [part.partition("=") for part in parts]
    named = {key.strip(): value for key, equals, value in pairs if equals}
    if len(named) < len(parts) or (len(keys) == 1 and not named.keys() & keys.keys()):
        if len(parts) != len(keys):
            raise DataError(
                f"An entity of '{owner}' has the join keys {', '.join(keys)}: write "
                f"{','.join(f'{key}=...' for key in keys)}, or the values alone in this order."
            )
        named = dict(zip(keys, parts, strict=True))
    for key in named:
        if key not in keys:
            raise DataError(f"'{owner}' has no join key '{key}'." + suggestion(key, keys))
    for key in keys:
        if key not in named:
            raise DataError(f"An entity of '{owner}' lacks its join key '{key}'.")
    return {key: _value(key, named[key], kind) for key, kind in keys.items()}


def _value(key: str, text: str, kind: str) -> Any:
    reader, wanted = _VALUES[kind]
    try:
        return reader(text)
    except (ValueError, KeyError):
        raise DataError(f"Join key '{key}' is {kind}: write {wanted}.") from None

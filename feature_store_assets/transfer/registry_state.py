"""The state of a registry as JSON: to keep, to compare, and to bring into another registry.

Tokens and the outbox of alerts stay where they are. A state carries the digest of its content:
whoever edits it by accident is found out; it is no signature.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, get_args

import sqlalchemy as sa

from feature_store_assets.declaration.canonical import canonical, content_hash, group_hash
from feature_store_assets.declaration.group import FeatureGroup
from feature_store_assets.declaration.view import FeatureView
from feature_store_assets.errors import (
    CodeNotTrusted,
    DataError,
    ImportConflict,
    suggestion,
)
from feature_store_assets.registry import database as tables
from feature_store_assets.registry.audit import append
from feature_store_assets.registry.compatibility import breaking
from feature_store_assets.registry.database import actor_of
from feature_store_assets.registry.declarations import admitted, put
from feature_store_assets.registry.trusted_functions import trust, untrusted
from feature_store_assets.storage.sealed_json import opened, seal
from feature_store_assets.storage.untrusted import UNSOUND
from feature_store_assets.transfer.row_codec import as_now, decoded, encoded, in_schema

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from feature_store_assets.registry.database import Database
    from feature_store_assets.registry.declarations import Declared

OnConflict = Literal["refuse", "keep", "replace"]
Row = dict[str, Any]
Place = tuple[str, str, int]

_FORMAT, _VERSION = "feature-store registry", 1
_DECLARATIONS, _HISTORY = "declarations", "history"


@dataclass(frozen=True)
class _Part:
    """Rows of one table that are brought over.

    Attributes
    ----------
    unit
        Columns that name one thing; its rows stay or go together.
    content
        Columns in which two things of the same name may differ.
    called
        What the thing is called.
    """

    table: sa.Table
    unit: tuple[str, ...]
    content: tuple[str, ...]
    called: str

    def grouped(self, rows: Iterable[Mapping[Any, Any]]) -> dict[tuple[Any, ...], list[Any]]:
        """Return rows by the thing that they are of."""
        found: dict[tuple[Any, ...], list[Any]] = {}
        for row in rows:
            found.setdefault(tuple(row[name] for name in self.unit), []).append(row)
        return found

    def same(self, these: Iterable[Row], those: Iterable[Row]) -> bool:
        told = [
            {tuple(row[name] for name in self.content) for row in rows} for rows in (these, those)
        ]
        return told[0] == told[1]


_TABLE = ("feature_group", "group_version")
_PARTS: dict[str, _Part] = {
    "stages": _Part(
        tables.stages,
        ("kind", "name", "version"),
        ("stage", "successor"),
        "stage of {kind} {name} v{version}",
    ),
    "snapshots": _Part(tables.snapshots, ("name",), ("digest",), "snapshot {name}"),
    "pins": _Part(
        tables.pins, ("owner_kind", "owner"), (*_TABLE, "table_version"), "pins of {owner}"
    ),
    "holds": _Part(tables.holds, ("kind", "name"), ("reason",), "hold on {kind} {name}"),
    "training_sets": _Part(
        tables.training_sets, ("name",), ("digest", "view", "rows"), "training set {name}"
    ),
    "models": _Part(
        tables.models,
        ("name",),
        ("training_set", "view", "features", "owners", "endpoint", "description"),
        "model {name}",
    ),
    "statistics": _Part(
        tables.statistics,
        (*_TABLE, "partition"),
        ("feature", "rows", "profile"),
        "statistics of {feature_group} v{group_version}",
    ),
    "drift_references": _Part(
        tables.drift_references,
        (*_TABLE, "against"),
        ("feature", "profile"),
        "drift reference {against} of {feature_group} v{group_version}",
    ),
    "usage": _Part(
        tables.usage,
        ("feature_group", "feature", "consumer", "path", "day"),
        ("reads", "rows"),
        "usage of {feature_group}",
    ),
}
# What an import can bring; a declaration's history comes with it.
PARTS = (_DECLARATIONS, *_PARTS)
_TABLES = {
    _DECLARATIONS: tables.applied,
    _HISTORY: tables.history,
    **{name: part.table for name, part in _PARTS.items()},
}


@dataclass(frozen=True)
class Imported:
    """What an import did.

    Attributes
    ----------
    digest
        Of the imported state; the audit log names it.
    added
        How many things of each part are new.
    replaced, kept
        The things that were here otherwise: `group people v1`, `snapshot s`.
    """

    digest: str
    added: Mapping[str, int]
    replaced: tuple[str, ...]
    kept: tuple[str, ...]


def export_state(database: Database) -> dict[str, Any]:
    """Return the state of a registry, as JSON holds it, read at one instant.

    Returns
    -------
    `parts` holds the rows of each part, `audit` the log as it is here; `digest` is the SHA-256 of
    all the rest.
    """
    parts: dict[str, list[Row]] = {name: [] for name in _TABLES}
    audit: list[Row] = []
    if database.exists:
        with database.read() as connection:
            parts = {name: _rows(connection, table) for name, table in _TABLES.items()}
            audit = _rows(connection, tables.audit)
    state = {
        "format": _FORMAT,
        "version": _VERSION,
        "exported_at": datetime.now(UTC).isoformat(),
        "schema": tables.SCHEMAS[-1],
        "parts": parts,
        "audit": audit,
    }
    return seal(state)


def import_state(
    database: Database,
    state: Mapping[str, Any],
    on_conflict: OnConflict = "refuse",
    *,
    parts: Collection[str] | None = None,
    prepare: Callable[[FeatureGroup], object] = lambda _: None,
    modules: Collection[str] = (),
    trust_code: bool = False,
) -> Imported:
    """Bring an exported state into a registry: all of it in one transaction, or nothing.

    The audit log of the state is not spliced into the one here, which tells of the import.

    Parameters
    ----------
    on_conflict
        What happens to things that are here under the same name, but otherwise: refuse the
        import, keep what is here, or replace it.
    parts
        Only these of `PARTS`. Pins and snapshots mean nothing beside other tables.
    prepare
        Called for each new or changed group before anything is written: makes its table.
    modules, trust_code
        Modules whose functions may run here; whether all functions that the state names may.

    Raises
    ------
    DataError
        The state cannot be read, or is not what was exported.
    CodeNotTrusted
        Views compute features by functions that this registry does not know.
    ImportConflict
        Naming all that is here otherwise; or what cannot be replaced, as the stored rows of a
        group could not follow.
    """
    check_conflict(on_conflict)
    wanted = set(PARTS if parts is None else parts)
    for name in wanted.difference(PARTS):
        raise DataError(f"No part of a state is named '{name}'." + suggestion(name, PARTS))
    rows = read_state(state)
    declared = {_place(row): _declared(row) for row in rows[_DECLARATIONS]}
    with database.write() as connection:
        found = _Found(replacing=on_conflict == "replace")
        if _DECLARATIONS in wanted:
            _compare_declarations(connection, rows[_DECLARATIONS], declared, found)
        for name, part in _PARTS.items():
            if name in wanted:
                _compare(connection, name, part, rows[name], found)
        if found.otherwise and on_conflict == "refuse":
            raise ImportConflict(list(dict.fromkeys(found.otherwise)))
        if found.final and found.replacing:
            raise ImportConflict(found.final, final=True)
        taken = [declared[place] for place in found.taken.pop(_DECLARATIONS, ())]
        foreign = untrusted(connection, taken, modules)
        if foreign and not trust_code:
            raise CodeNotTrusted(foreign)
        trust(connection, foreign, reason="import")
        _write_declarations(connection, rows, taken, prepare)
        for name, units in found.taken.items():
            _write(connection, _PARTS[name], units)
        names = tuple(dict.fromkeys(found.otherwise))
        sides = (names, ()) if found.replacing else ((), names)
        done = Imported(state["digest"], found.added, *sides)
        told = {**vars(done), "exported_at": state["exported_at"]}
        append(connection, "import", "registry state", told)
    return done


def declared_in(state: Mapping[str, Any]) -> list[Declared]:
    """Return the groups and views of a state; DataError if it is not sound."""
    return [_declared(row) for row in read_state(state)[_DECLARATIONS]]


def check_conflict(on_conflict: str) -> None:
    """Refuse a way to resolve conflicts that there is not."""
    if on_conflict not in (known := get_args(OnConflict)):
        raise DataError(f"on_conflict cannot be '{on_conflict}'." + suggestion(on_conflict, known))


@dataclass
class _Found:
    """What a state brings, held against what is here.

    Attributes
    ----------
    added, taken
        How many things of each part are new; the rows of all that are to be written.
    otherwise, final
        The things that are here otherwise, and those that cannot be replaced.
    """

    replacing: bool
    added: dict[str, int] = field(default_factory=dict)
    taken: dict[str, dict[Any, list[Row]]] = field(default_factory=dict)
    otherwise: list[str] = field(default_factory=list)
    final: list[str] = field(default_factory=list)

    def note(self, part: str, unit: Any, rows: list[Row], otherwise: str = "") -> None:
        """Note a thing that is new, or called so and here otherwise."""
        if otherwise:
            self.otherwise.append(otherwise)
        else:
            self.added[part] = self.added.get(part, 0) + 1
        if self.replacing or not otherwise:
            self.taken.setdefault(part, {})[unit] = rows


# Reading a state


def read_state(state: Any) -> dict[str, list[Row]]:
    """Return the rows of a state by part, as the tables take them; DataError if it is not sound."""
    try:
        opened(state, _FORMAT, _VERSION)
    except (TypeError, ValueError, RecursionError) as error:
        raise DataError(f"This is not the exported state of a registry: {error}.") from None
    if (schema := state.get("schema")) not in tables.SCHEMAS:
        raise DataError(
            f"The state comes from a registry of schema {schema!r}; this code knows up to "
            f"{tables.SCHEMAS[-1]}. Upgrade feature_store_assets here."
        )
    parts = state.get("parts")
    if not isinstance(parts, dict) or not isinstance(state.get("exported_at"), str):
        raise DataError("The state has no parts, or does not say when it was exported.")
    for name in parts:
        if name not in _TABLES:
            raise DataError(f"The state has a part '{name}' that this code does not know.")
    return {name: _sound(name, parts.get(name, []), schema) for name in _TABLES}


def _sound(part: str, given: Any, schema: str) -> list[Row]:
    """Return the rows of a part with their types; refuse what its table would not take."""
    table = in_schema(_TABLES[part], schema)
    columns = _columns(table)
    keys = [column.name for column in columns if column.primary_key]
    seen: set[tuple[Any, ...]] = set()
    found = []
    if not isinstance(given, list):
        raise DataError(f"Part '{part}' of the state is no list.")
    for number, told in enumerate(given, 1):
        where = f"Row {number} of part '{part}' of the state"
        if not isinstance(told, dict) or told.keys() != {column.name for column in columns}:
            raise DataError(f"{where} does not have the columns of its table.")
        try:
            row = decoded(columns, (told[column.name] for column in columns))
        except ValueError as error:
            raise DataError(f"{where} {error}.") from None
        key = tuple(row[name] for name in keys)
        if keys and key in seen:
            raise DataError(f"{where} is there twice.")
        seen.add(key)
        found.append(as_now(table, row))
    return found


_KINDS: dict[str, tuple[type[FeatureGroup | FeatureView], Callable[[Any], str]]] = {
    "group": (FeatureGroup, group_hash),
    "view": (FeatureView, content_hash),
}


def _declared(row: Row) -> Declared:
    called = f"{row['kind']} '{row['name']}' v{row['version']}"
    try:
        content = json.loads(row["definition"])
        kind, hash_of = _KINDS[row["kind"]]
        declared: Declared = kind.from_json(content)
        hashed = hash_of(content)
    except UNSOUND as error:
        raise DataError(f"The definition of {called} in the state is not sound: {error}") from None
    if _place_of(declared) != _place(row) or hashed != row["hash"]:
        raise DataError(f"The definition of {called} in the state is not what its hash says.")
    return declared


def _columns(table: sa.Table) -> list[sa.Column[Any]]:
    # History is numbered by each registry.
    return [column for column in table.columns if (table, column.name) != (tables.history, "id")]


def _rows(connection: sa.Connection, table: sa.Table) -> list[Row]:
    query = sa.select(*_columns(table)).order_by(*table.primary_key)
    return [
        {name: encoded(value) for name, value in row.items()}
        for row in connection.execute(query).mappings()
    ]


# Holding it against what is here


def _place(row: Mapping[Any, Any]) -> Place:
    return row["kind"], row["name"], row["version"]


def _place_of(declared: Declared) -> Place:
    if isinstance(declared, FeatureGroup):
        return "group", declared.name, declared.version
    return "view", declared.name, 1


def _compare_declarations(
    connection: sa.Connection,
    rows: Sequence[Row],
    declared: Mapping[Place, Declared],
    found: _Found,
) -> None:
    stored = connection.execute(sa.select(tables.applied)).mappings().all()
    here = {_place(row): row for row in stored}
    kinds = {row["name"]: row["kind"] for row in stored}
    for row in rows:
        place = _place(row)
        kind, name, version = place
        called = f"{kind} {name} v{version}"
        if kinds.get(name, kind) != kind:
            called += f" (a {kinds[name]} has that name)"
            found.final.append(called)
        elif place not in here:
            called = ""
        elif here[place]["hash"] == row["hash"]:
            continue
        elif isinstance(becomes := declared[place], FeatureGroup):
            was = FeatureGroup.from_json(json.loads(here[place]["definition"]))
            broken = breaking(was, becomes)
            found.final += [f"{called}: {'; '.join(broken)}"] if broken else []
        found.note(_DECLARATIONS, place, [row], called)


def _compare(
    connection: sa.Connection, name: str, part: _Part, rows: Sequence[Row], found: _Found
) -> None:
    columns = [part.table.c[each] for each in dict.fromkeys((*part.unit, *part.content))]
    here = part.grouped(connection.execute(sa.select(*columns)).mappings()) if rows else {}
    for unit, its in part.grouped(rows).items():
        if unit not in here:
            found.note(name, unit, its)
        elif not part.same(its, here[unit]):
            found.note(name, unit, its, part.called.format(**its[0]))


# Writing


def _write_declarations(
    connection: sa.Connection,
    rows: Mapping[str, Sequence[Row]],
    taken: Sequence[Declared],
    prepare: Callable[[FeatureGroup], object],
) -> None:
    by_place = {_place(row): row for row in rows[_DECLARATIONS]}
    checked = admitted(connection, taken)
    for each, _ in checked:
        if isinstance(each, FeatureGroup):
            prepare(each)
    changes: list[Row] = []
    for each, change in checked:
        row = by_place[_place_of(each)]
        if change.action == "changed":  # what is here has a past, and a table with an order
            row = {**row, "definition": canonical(each.to_json())}
            content = {name: value for name, value in row.items() if name != "applied_at"}
            now = {"changed_by": actor_of(connection).name, "changed_at": datetime.now(UTC)}
            changes.append({**content, "action": change.action, **now})
        put(connection, row)
    new = {_place_of(each) for each, change in checked if change.action == "added"}
    if past := [row for row in rows[_HISTORY] if _place(row) in new] + changes:
        connection.execute(sa.insert(tables.history), past)


def _write(connection: sa.Connection, part: _Part, units: Mapping[Any, list[Row]]) -> None:
    for unit in units:
        this = (part.table.c[name] == value for name, value in zip(part.unit, unit, strict=True))
        connection.execute(sa.delete(part.table).where(*this))
    if rows := [row for its in units.values() for row in its]:
        connection.execute(sa.insert(part.table), rows)

"""A registry as a file that any database takes back: lines of JSON with explicit types.

The first line names the schema version, and the type of each column; every other line is a row.
What is derived (the search index) is not in it, nor which functions may run: whoever restores
decides that anew.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import sqlalchemy as sa
from sqlalchemy import exc

from feature_store_assets.declaration.view import FeatureView
from feature_store_assets.errors import (
    BackupUnusable,
    FeatureStoreError,
    RegistryUnusable,
    RestoreRefused,
)
from feature_store_assets.registry import database as tables
from feature_store_assets.registry.audit import append
from feature_store_assets.registry.search import index_all
from feature_store_assets.registry.trusted_functions import trust, untrusted
from feature_store_assets.storage.untrusted import LARGEST, UNSOUND, read_json, shown
from feature_store_assets.transfer.row_codec import decoded, encoded, in_schema

if TYPE_CHECKING:
    from feature_store_assets.registry.database import Database

    Row = dict[str, Any]

# What is made anew, and what only the store itself may say of the code that it runs.
_LEFT_OUT, _INDEX = ("search_entries", "functions", "leases"), "search_index"
_AT_ONCE = 1_000
_KINDS: dict[type[sa.types.TypeEngine[Any] | tables.Instant], str] = {
    tables.Instant: "instant",
    sa.Integer: "integer",
    sa.Float: "float",
    sa.String: "text",
}
# Rows that are read before they are written.
_BYTES_AT_ONCE = 16 << 20
# Columns that are counted on from, so that there is a number after the last one.
_COUNTED, _LAST = {"sequence", "id"}, 2**62
RESTORE = "restore"


@dataclass(frozen=True)
class Dumped:
    """What a dump holds that tables and folders must match.

    Attributes
    ----------
    training_sets
        Names, and the digests of their manifests.
    pins
        (group, its version, table version) of all that snapshots and training sets hold.
    store
        The digest of the audit log's first entry.
    """

    training_sets: dict[str, str]
    pins: frozenset[tuple[str, int, int]]
    store: str


def dump(connection: sa.Connection, path: Path) -> Dumped:
    """Write what a transaction sees of a registry to a file.

    Pins of work that was under way, such as this backup's own, mean nothing elsewhere.
    """
    recorded = {row.name: row.digest for row in connection.execute(sa.select(tables.training_sets))}
    kept = set[tuple[str, int, int]]()
    every = [each for each in tables.metadata.sorted_tables if each.name not in _LEFT_OUT]
    told = {each.name: {column.name: _kind(column) for column in each.columns} for each in every}
    with gzip.open(path, "wt", compresslevel=3, encoding="utf-8") as file:
        file.write(json.dumps({"schema": tables.SCHEMAS[-1], "tables": told}) + "\n")
        for table in every:
            query = sa.select(table).order_by(*table.primary_key.columns)
            for row in connection.execute(query.execution_options(yield_per=_AT_ONCE)):
                if table is tables.pins:
                    made = row.owner_kind == "training_set" and row.owner in recorded
                    if row.owner_kind != "snapshot" and not made:
                        continue
                    kept.add((row.feature_group, row.group_version, row.table_version))
                file.write(json.dumps([table.name, [encoded(value) for value in row]]) + "\n")
    first = sa.select(tables.audit.c.digest).order_by(tables.audit.c.sequence).limit(1)
    return Dumped(recorded, frozenset(kept), connection.execute(first).scalar() or "")


def _kind(column: sa.Column[Any]) -> str:
    return next(kind for of, kind in _KINDS.items() if isinstance(column.type, of))


def load(
    database: Database,
    path: Path,
    detail: Mapping[str, Any],
    *,
    over: str | None = None,
    modules: Collection[str] = (),
    trust_code: bool = False,
) -> list[str]:
    """Bring a dump into an empty registry, in one transaction; the audit log goes on with it.

    Parameters
    ----------
    detail
        What the audit log tells of it.
    over
        The `token` in the detail of a restore that was killed after this: its rows are replaced.
    modules, trust_code
        Modules whose functions may run here; whether all functions that views name may.

    Returns
    -------
    The functions that views name and that may not run here.

    Raises
    ------
    RestoreRefused
        The registry holds something.
    RegistryUnusable, BackupUnusable
        The database refused the rows, or the dump is of a newer schema.
    """
    with _readable(path), gzip.open(path) as opened:
        lines = _lines(cast("BinaryIO", opened))
        schema, found = _header(next(lines, b""))
        with database.write() as connection:
            check_empty(connection, database.shown, over=over)
            _clear(connection)
            older = schema != tables.SCHEMAS[-1]
            if older:
                _drop(connection)
                tables.migrate(connection, schema)
            _check_there(connection, found)
            for name, rows in _tables(lines, found):
                _insert(connection, found[name], rows)
            if older:
                tables.migrate(connection)
            # Whatever the dump and its migrations say: nobody here has trusted this code yet.
            connection.execute(sa.delete(tables.functions))
            _count_on(connection)
            index_all(connection)
            foreign = _foreign(connection, modules)
            if trust_code:
                trust(connection, foreign, reason=RESTORE)
            # The last entry, by which a killed restore is known.
            append(connection, RESTORE, "store", detail)
    return [] if trust_code else foreign


def _foreign(connection: sa.Connection, modules: Collection[str]) -> list[str]:
    """Return the functions that views name and that may not run here."""
    query = sa.select(tables.applied.c.definition).where(tables.applied.c.kind == "view")
    texts = connection.execute(query).scalars().all()
    return untrusted(
        connection, [FeatureView.from_json(json.loads(text)) for text in texts], modules
    )


# Reading a dump


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Tell of whatever is wrong with a dump, which somebody else may have written."""
    try:
        yield
    except FeatureStoreError as error:
        if isinstance(error, _OURS):
            raise
        raise BackupUnusable(path.name, [f"its registry is not sound: {error}"]) from None
    except UNSOUND as error:
        raise BackupUnusable(path.name, [f"its registry is not sound: {error}"]) from error


# Not about the rows: the registry's own state, and what was said already.
_OURS = (BackupUnusable, RestoreRefused, RegistryUnusable)


def _lines(file: BinaryIO) -> Iterator[bytes]:
    try:
        while line := file.readline(LARGEST + 1):
            if len(line) > LARGEST:
                raise ValueError(f"a row has more than {LARGEST >> 20} MiB")
            yield line
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise ValueError("it is cut off or garbled") from None


def _header(line: bytes) -> tuple[str, dict[str, sa.Table]]:
    """Return the schema version of a dump, and the tables of that version that it names."""
    told = read_json(line)
    if not isinstance(told, dict) or told.keys() != {"schema", "tables"}:
        raise ValueError("it does not begin with what it holds")
    schema, found = told["schema"], told["tables"]
    if schema not in tables.SCHEMAS:
        known = f"this code knows up to {tables.SCHEMAS[-1]}"
        raise ValueError(f"it has schema {shown(schema)}, {known}")
    if not isinstance(found, dict):
        raise TypeError("it names no tables")
    there: dict[str, sa.Table] = {}
    for name, columns in found.items():
        table = tables.metadata.tables.get(name)
        if table is None or name in _LEFT_OUT:
            raise ValueError(f"schema {schema} has no table {shown(name)} to be filled")
        table = in_schema(table, schema)
        if columns != {column.name: _kind(column) for column in table.columns}:
            raise ValueError(f"table '{name}' has other columns in schema {schema}")
        there[name] = table
    return schema, there


def _check_there(connection: sa.Connection, named: Collection[str]) -> None:
    """Refuse tables that the schema of a dump did not have yet."""
    for name in set(named).difference(sa.inspect(connection).get_table_names()):
        raise ValueError(f"its schema has no table '{name}'")


def check_empty(connection: sa.Connection, shown: str, *, over: str | None = None) -> None:
    """Refuse a registry that holds anything but what a killed restore left."""
    there = set(sa.inspect(connection).get_table_names())
    if over is not None and tables.audit.name in there:
        query = sa.select(tables.audit).order_by(tables.audit.c.sequence.desc()).limit(1)
        last = connection.execute(query).first()
        if last and last.action == RESTORE and json.loads(last.detail).get("token") == over:
            return
    for table in tables.metadata.sorted_tables:
        if table.name in there:
            count = connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
            if count:
                raise RestoreRefused(f"The registry at {shown}", f"holds {count} {table.name}")


def check_free(database: Database, *, over: str | None = None) -> None:
    """Refuse a registry that holds something; nothing is made where there is none."""
    if not database.exists:
        return
    with database.mapped(), database.engine.connect() as connection:
        check_empty(connection, database.shown, over=over)


def clear(database: Database, token: str) -> None:
    """Take back what a restore that failed later brought into a registry."""
    with database.write() as connection:
        check_empty(connection, database.shown, over=token)
        _clear(connection)


def _clear(connection: sa.Connection) -> None:
    for table in tables.metadata.sorted_tables:
        connection.execute(sa.delete(table))
    connection.execute(sa.delete(sa.table(_INDEX)))


def _tables(
    lines: Iterator[bytes], named: Mapping[str, sa.Table]
) -> Iterator[tuple[str, list[Row]]]:
    """Yield rows, some of one table at a time."""
    found: dict[str, list[Row]] = {}
    count = size = 0
    for line in lines:
        name, row = _row(line, named)
        found.setdefault(name, []).append(row)
        count, size = count + 1, size + len(line)
        if count >= _AT_ONCE or size >= _BYTES_AT_ONCE:
            yield from found.items()
            found, count, size = {}, 0, 0
    yield from found.items()


def _row(line: bytes, named: Mapping[str, sa.Table]) -> tuple[str, Row]:
    """Return a row of a dump and its table's name; TypeError or ValueError if it fits none."""
    match read_json(line):
        case [str(name), list(values)] if name in named:
            columns = named[name].columns
        case _:
            raise ValueError("a line of it is no row of the tables that it names")
    if len(values) != len(columns):
        raise ValueError(f"a row of '{name}' has {len(values)} values")
    try:
        row = decoded([*columns], values, strict=False)
    except ValueError as error:
        raise ValueError(f"a row of '{name}' {error}") from None
    for counted in _COUNTED & row.keys():
        if row[counted] >= _LAST:
            raise ValueError(f"a row of '{name}' has too great a '{counted}'")
    return name, row


def _insert(connection: sa.Connection, table: sa.Table, rows: list[Row]) -> None:
    try:
        connection.execute(sa.insert(table), rows)
    except (exc.IntegrityError, exc.DataError) as error:
        reason = str(error.orig).strip().partition("\n")[0]
        raise ValueError(f"rows of '{table.name}' do not fit: {reason}") from None


def _drop(connection: sa.Connection) -> None:
    """Make room for the tables of an older schema, all in the transaction."""
    for table in (*tables.metadata.sorted_tables, sa.Table(_INDEX, sa.MetaData())):
        table.drop(connection)
    connection.execute(sa.text("DELETE FROM alembic_version"))


def _count_on(connection: sa.Connection) -> None:
    """Let PostgreSQL number new rows from where the old ones ended."""
    if connection.dialect.name != "postgresql":
        return
    for table in (tables.alerts, tables.history):
        last = connection.execute(sa.select(sa.func.max(table.c.id))).scalar()
        if last is not None:
            sequence = sa.func.pg_get_serial_sequence(table.name, "id")
            connection.execute(sa.select(sa.func.setval(sequence, last)))

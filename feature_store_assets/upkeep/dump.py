"""A registry as a file that any database takes back: lines of JSON with explicit types.

The first line names the schema version, and the type of each column; every other line is a row.
What is derived (the search index) is not in it, nor which functions may run: whoever restores
decides that anew.
"""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from feature_store_assets.declaration.view import FeatureView
from feature_store_assets.errors import (
    BackupUnusable,
    FeatureStoreError,
    RegistryUnusable,
    RestoreRefused,
)
from feature_store_assets.registry import database as tables
from feature_store_assets.registry.audit import append
from feature_store_assets.registry.functions import trust, untrusted
from feature_store_assets.registry.pins import training_pin
from feature_store_assets.registry.search import index_all

if TYPE_CHECKING:
    from feature_store_assets.registry.database import Database

# What is made anew, and what only the store itself may say of the code that it runs.
_LEFT_OUT, _INDEX = ("search_entries", "functions"), "search_index"
_MIGRATIONS = Path(tables.__file__).parent / "migrations"
_AT_ONCE = 1_000
_KINDS: dict[type[sa.types.TypeEngine[Any] | tables.Instant], str] = {
    tables.Instant: "instant",
    sa.Integer: "integer",
    sa.Float: "float",
    sa.String: "text",
}
_TYPES: dict[str, Any] = {
    "instant": tables.Instant,
    "integer": sa.BigInteger,
    "float": sa.Float,
    "text": sa.Text,
}
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
    training = {training_pin(name) for name in recorded}
    every = [each for each in tables.metadata.sorted_tables if each.name not in _LEFT_OUT]
    told = {each.name: {column.name: _kind(column) for column in each.columns} for each in every}
    with gzip.open(path, "wt", compresslevel=3, encoding="utf-8") as file:
        file.write(json.dumps({"schema": tables.SCHEMAS[-1], "tables": told}) + "\n")
        for table in every:
            query = sa.select(table).order_by(*table.primary_key.columns)
            for row in connection.execute(query.execution_options(yield_per=_AT_ONCE)):
                if table is tables.pins:
                    if ":" in row.snapshot and row.snapshot not in training:
                        continue
                    kept.add((row.feature_group, row.group_version, row.table_version))
                file.write(json.dumps([table.name, [_told(value) for value in row]]) + "\n")
    first = sa.select(tables.audit.c.digest).order_by(tables.audit.c.sequence).limit(1)
    return Dumped(recorded, frozenset(kept), connection.execute(first).scalar() or "")


def _kind(column: sa.Column[Any]) -> str:
    return next(kind for of, kind in _KINDS.items() if isinstance(column.type, of))


def _told(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def _read(value: Any, kind: str) -> Any:
    if value is None:
        return None
    if kind == "instant":
        return datetime.fromisoformat(value)
    return float(value) if kind == "float" else value


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
    with gzip.open(path, "rt", encoding="utf-8") as file:
        header = json.loads(file.readline())
        if header["schema"] not in tables.SCHEMAS:
            newer = f"its registry has schema {header['schema']}, this code knows up to "
            raise BackupUnusable(path.name, [f"{newer}{tables.SCHEMAS[-1]}"])
        with database.write() as connection:
            check_empty(connection, database.shown, over=over)
            _clear(connection)
            older = header["schema"] != tables.SCHEMAS[-1]
            if older:
                _drop(connection)
                _migrate(connection, header["schema"])
            for name, rows in _tables(file):
                _insert(connection, name, header["tables"][name], rows)
            if older:
                _migrate(connection, tables.SCHEMAS[-1])
            # Whatever the dump and its migrations say: nobody here has trusted this code yet.
            connection.execute(sa.delete(tables.functions))
            _count_on(connection)
            index_all(connection)
            foreign = _foreign(connection, path, modules)
            if trust_code:
                trust(connection, foreign, reason=RESTORE)
            # The last entry, by which a killed restore is known.
            append(connection, RESTORE, "store", detail)
    return [] if trust_code else foreign


def _foreign(connection: sa.Connection, path: Path, modules: Collection[str]) -> list[str]:
    """Return the functions that may not run here; BackupUnusable if views cannot be read."""
    query = sa.select(tables.applied.c.definition).where(tables.applied.c.kind == "view")
    texts = connection.execute(query).scalars().all()
    try:
        views = [FeatureView.from_json(json.loads(text)) for text in texts]
    except (FeatureStoreError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise BackupUnusable(path.name, [f"a view in it is not sound: {error}"]) from None
    return untrusted(connection, views, modules)


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
    with _mapped(database), database.engine.connect() as connection:
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


def _tables(file: Any) -> Iterator[tuple[str, list[list[Any]]]]:
    """Yield rows, some of one table at a time."""
    while lines := list(islice(file, _AT_ONCE)):
        found: dict[str, list[list[Any]]] = {}
        for line in lines:
            name, values = json.loads(line)
            found.setdefault(name, []).append(values)
        yield from found.items()


def _insert(
    connection: sa.Connection, name: str, kinds: Mapping[str, str], rows: list[list[Any]]
) -> None:
    columns = [sa.column(column, _TYPES[kind]) for column, kind in kinds.items()]
    named = [
        {
            column: _read(value, kind)
            for (column, kind), value in zip(kinds.items(), row, strict=True)
        }
        for row in rows
    ]
    connection.execute(sa.insert(sa.table(name, *columns)), named)


def _drop(connection: sa.Connection) -> None:
    """Make room for the tables of an older schema, all in the transaction."""
    for table in (*tables.metadata.sorted_tables, sa.Table(_INDEX, sa.MetaData())):
        table.drop(connection)
    connection.execute(sa.text("DELETE FROM alembic_version"))


def _migrate(connection: sa.Connection, to: str) -> None:
    """Bring the schema, and the rows that are there, up to a version."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, to)


def _count_on(connection: sa.Connection) -> None:
    """Let PostgreSQL number new rows from where the old ones ended."""
    if connection.dialect.name != "postgresql":
        return
    for table in (tables.alerts, tables.history):
        last = connection.execute(sa.select(sa.func.max(table.c.id))).scalar()
        if last is not None:
            sequence = sa.func.pg_get_serial_sequence(table.name, "id")
            connection.execute(sa.select(sa.func.setval(sequence, last)))


@contextmanager
def _mapped(database: Database) -> Iterator[None]:
    try:
        yield
    except DBAPIError as error:
        reason = str(error.orig).strip().partition("\n")[0]
        raise RegistryUnusable(database.shown, reason, "Is it there, and may you use it?") from None

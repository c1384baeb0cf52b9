"""A new database in milliseconds: what Alembic makes of an empty one is worked out once.

Most tests begin with an empty registry, and many with an empty Dagster instance. Both are made by
migrations, which would take a third of all time. So would compiling the same SQL for each.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory

from feature_store_assets.registry import database

migrate = database.migrate
_read_scripts = ScriptDirectory.from_config
_READING = ("SELECT", "PRAGMA")


class _Compiled(dict[Any, Any]):
    """SQL of all SQLite databases: the key is what to compile, without the database's dialect."""

    def get(self, key: Any, default: Any = None) -> Any:
        return super().get(key[1:], default)

    def __setitem__(self, key: Any, compiled: Any) -> None:
        super().__setitem__(key[1:], compiled)


_compiled = _Compiled()


@contextmanager
def quick_migrations() -> Iterator[None]:
    """Within the block an empty SQLite registry gets its tables by the statements of the first."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(database, "migrate", _migrate_quickly)
        patch.setattr(ScriptDirectory, "from_config", _scripts)
        sa.event.listen(sa.Engine, "engine_connect", _compile_once)
        yield
        sa.event.remove(sa.Engine, "engine_connect", _compile_once)


def _compile_once(connection: sa.Connection) -> None:
    if connection.dialect.name == "sqlite":
        connection.execution_options(compiled_cache=_compiled)


def downgrade(connection: sa.Connection, schema: str) -> None:
    """Bring a registry back to how an earlier schema had it."""
    config = Config()
    config.set_main_option("script_location", str(Path(database.__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    command.downgrade(config, schema)


def _migrate_quickly(connection: sa.Connection, to: str = database.SCHEMAS[-1]) -> None:
    if connection.dialect.name != "sqlite" or sa.inspect(connection).get_table_names():
        migrate(connection, to)
        return
    cursor = connection.connection.cursor()
    for statement, parameters in _statements():
        cursor.execute(statement, parameters)
    cursor.close()


@cache
def _statements() -> list[tuple[str, Any]]:
    """What migrations tell an empty SQLite database to do."""
    told: list[tuple[str, Any]] = []

    def hear(_: Any, __: Any, statement: str, parameters: Any, *___: Any) -> None:
        if not statement.lstrip().startswith(_READING):
            told.append((statement, parameters))

    engine = sa.create_engine("sqlite://")
    sa.event.listen(engine, "before_cursor_execute", hear)
    with engine.begin() as connection:
        migrate(connection)
    engine.dispose()
    return told


def _scripts(config: Config) -> ScriptDirectory:
    """The migrations of a folder, each read once."""
    return _read(config.get_main_option("script_location"))


@cache
def _read(folder: str | None) -> ScriptDirectory:
    config = Config()
    config.set_main_option("script_location", str(folder).replace("%", "%%"))
    return _read_scripts(config)

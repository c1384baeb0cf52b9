"""The registry's database: its schema, its versions, and what is said when it cannot be used."""

import socket
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

import feature_store_assets.registry.database as module
from feature_store_assets.errors import RegistryUnusable, StorageUnusable
from feature_store_assets.registry.alerts import Alerts
from feature_store_assets.registry.database import SCHEMAS, Database, metadata
from feature_store_assets.registry.declarations import Applied
from feature_store_assets.registry.pins import Pins
from feature_store_assets.registry.tokens import Tokens
from feature_store_assets.registry.training_sets import TrainingSetTable
from feature_store_assets.transfer.row_codec import in_schema
from feature_store_assets_tests.migrations import migrate


@pytest.fixture(autouse=True)
def _by_alembic(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here registries are made by the migrations themselves."""
    monkeypatch.setattr(module, "migrate", migrate)


def migrated(database: Database) -> None:
    with database.write():
        pass


def declared(name: str | None, _kind: str, _parents: object) -> bool:
    """Full-text tables are of each database's own kind: no declaration of ours describes them."""
    return name is None or "search_index" not in name


def test_the_migrations_make_the_tables_that_the_code_reads(database: Database) -> None:
    migrated(database)
    with database.engine.connect() as connection:
        options = {"compare_type": True, "include_name": declared}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, metadata) == []


def test_the_code_knows_the_migrations_in_their_order() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(module.__file__).parent / "migrations"))
    scripts = ScriptDirectory.from_config(config)
    assert scripts.get_heads() == [SCHEMAS[-1]]
    assert tuple(each.revision for each in scripts.walk_revisions())[::-1] == SCHEMAS


def test_a_registry_newer_than_the_code_is_neither_read_nor_written(url: str) -> None:
    database = Database(url)
    migrated(database)
    with database.engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    database.close()
    newer = Database(url)
    message = f"schema 9999 is newer than this code, which knows up to {SCHEMAS[-1]}. Upgrade"
    with pytest.raises(RegistryUnusable, match=message):
        Applied(newer).groups()
    with pytest.raises(RegistryUnusable, match=message):
        Applied(newer).apply([])
    with newer.engine.connect() as connection:
        assert connection.scalar(sa.text("SELECT version_num FROM alembic_version")) == "9999"
    newer.close()


def test_a_registry_without_its_tables_says_what_to_run(url: str, tmp_path: Path) -> None:
    (tmp_path / "registry.db").touch()
    database = Database(url)
    with pytest.raises(RegistryUnusable, match=r"schema is not there.*Run `feature-store apply`"):
        Applied(database).groups()
    Applied(database).apply([])
    assert Applied(database).groups() == []
    database.close()


def test_a_registry_of_the_first_schema_keeps_its_rows_and_is_brought_up_to_date_by_a_write(
    url: str,
) -> None:
    old = Database(url)
    row = {"snapshot": "s", "feature_group": "g", "group_version": 1, "table_version": 7,
           "description": "why", "created_by": "me", "created_at": sa.func.now()}  # fmt: skip
    scripts = Config()
    scripts.set_main_option("script_location", str(Path(module.__file__).parent / "migrations"))
    with old.engine.execution_options(writes=True).begin() as connection:
        scripts.attributes["connection"] = connection
        command.upgrade(scripts, "0001")
        connection.execute(sa.insert(in_schema(module.pins, "0001")).values(**row))
        assert not sa.inspect(connection).has_table("training_sets")
    old.close()

    database = Database(url)
    message = rf"its schema is 0001, this code reads {SCHEMAS[-1]}\. Run `feature-store apply`"
    for read in (
        Applied(database).groups,
        Pins(database).all,
        TrainingSetTable(database).all,
        Tokens(database).names,
        Alerts(database).pending,
    ):
        with pytest.raises(RegistryUnusable, match=message):
            read()
    Applied(database).apply([])
    assert [(pin.owner, pin.table_version) for pin in Pins(database).of("s")] == [("s", 7)]
    assert TrainingSetTable(database).all() == []
    assert Tokens(database).names() == []
    assert Alerts(database).pending() == []
    database.close()


def test_refused_work_leaves_a_registry_that_reads(database: Database) -> None:
    with pytest.raises(StorageUnusable), database.write():
        raise StorageUnusable("/data", "it is full")
    assert Applied(database).groups() == []


def test_a_reader_sees_one_state_throughout(url: str, database: Database) -> None:
    migrated(database)
    row = {"name": "t", "digest": "0", "created_at": sa.func.now()}
    with database.read() as connection:
        names = sa.select(module.api_tokens.c.name)
        before = connection.execute(names).all()
        other = Database(url)
        with other.write() as writing:
            writing.execute(sa.insert(module.api_tokens).values(**row))
        other.close()
        assert connection.execute(names).all() == before == []
    with database.read() as connection:
        assert connection.execute(names).all() == [("t",)]


def test_what_a_refused_transaction_wrote_is_undone(database: Database) -> None:
    migrated(database)
    row = {"owner_kind": "snapshot", "owner": "s", "feature_group": "g", "group_version": 1,
           "table_version": 1, "description": "", "created_by": "",
           "created_at": sa.func.now()}  # fmt: skip
    twice = [sa.insert(module.pins).values(**row)] * 2
    with pytest.raises(RegistryUnusable, match=r"UNIQUE|unique"), database.write() as connection:
        list(map(connection.execute, twice))
    with database.read() as connection:
        assert connection.execute(sa.select(module.pins)).all() == []


def test_an_sqlite_file_appears_with_the_first_write(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'new' / 'registry.db'}")
    assert not database.exists
    migrated(database)
    assert database.exists
    database.close()


def test_a_folder_that_cannot_be_made_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    database = Database(f"sqlite:///{tmp_path / 'file' / 'registry.db'}")
    with pytest.raises(RegistryUnusable, match=r"file/registry.db cannot be used: .*File exists"):
        migrated(database)


def test_a_file_that_is_no_database_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "registry.db").write_text("not a database " * 100)
    database = Database(f"sqlite:///{tmp_path / 'registry.db'}")
    with pytest.raises(RegistryUnusable, match="file is not a database"):
        Applied(database).groups()
    database.close()


def test_what_is_no_url_is_refused_without_being_shown() -> None:
    for wrong in ("registry secret", "nosuchsql://me:secret@host/db"):
        with pytest.raises(RegistryUnusable, match="FEATURE_STORE_REGISTRY_URL") as error:
            Database(wrong)
        assert "secret" not in str(error.value)


def test_a_driver_that_is_not_installed_names_the_line_that_installs_it() -> None:
    with pytest.raises(RegistryUnusable, match=r"pip install 'feature_store_assets\[postgres\]'"):
        Database("postgresql+pg8000://me:secret@host/db")


def test_a_postgresql_that_refuses_is_told_without_its_password() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, not listening: connections are refused
        port = taken.getsockname()[1]
        database = Database(f"postgresql+psycopg2://me:secret@127.0.0.1:{port}/db")
        with pytest.raises(RegistryUnusable, match="Is it there, and may you use it") as error:
            Applied(database).groups()
    assert "me:***@127.0.0.1" in str(error.value)
    assert "secret" not in str(error.value)


@pytest.mark.slow
def test_a_postgresql_that_never_answers_is_given_up_within_seconds() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        database = Database(f"postgresql+psycopg2://me:secret@127.0.0.1:{port}/db")
        patience: list[Any] = []

        @sa.event.listens_for(database.engine, "do_connect")
        def connecting(_: Any, __: Any, ___: Any, given: dict[str, Any]) -> None:
            patience.append(given["connect_timeout"])

        with pytest.raises(RegistryUnusable, match=r"me:[*]{3}@") as error:
            Applied(database).groups()
    assert patience == [5]
    assert "secret" not in str(error.value)

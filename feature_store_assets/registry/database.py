"""The registry's database: tables, schema versions, transactions that see each other."""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager
from copy import copy
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError

from feature_store_assets.errors import FeatureStoreError, RegistryUnusable
from feature_store_assets.registry.actor import Actor

if TYPE_CHECKING:
    from collections.abc import Iterator


class Instant(sa.TypeDecorator[datetime]):
    """A moment in UTC; SQLite gives it back without saying so."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_result_value(self, value: datetime | None, _dialect: sa.Dialect) -> datetime | None:
        return value.replace(tzinfo=UTC) if value is not None and value.tzinfo is None else value


metadata = sa.MetaData()
applied = sa.Table(
    "applied",
    metadata,
    sa.Column("kind", sa.String(16), primary_key=True),
    sa.Column("name", sa.String(128), primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True),
    sa.Column("hash", sa.String(32), nullable=False),
    sa.Column("definition", sa.Text, nullable=False),
    sa.Column("applied_at", Instant, nullable=False),
)
pins = sa.Table(
    "pins",
    metadata,
    # `snapshot`, `training_set`, `export` or `backup`.
    sa.Column("owner_kind", sa.String(16), primary_key=True),
    sa.Column("owner", sa.String(128), primary_key=True),
    sa.Column("feature_group", sa.String(128), primary_key=True),
    sa.Column("group_version", sa.Integer, primary_key=True),
    sa.Column("table_version", sa.Integer, nullable=False),
    sa.Column("description", sa.Text, nullable=False),
    sa.Column("created_by", sa.String(128), nullable=False),
    sa.Column("created_at", Instant, nullable=False),
)
training_sets = sa.Table(
    "training_sets",
    metadata,
    sa.Column("name", sa.String(128), primary_key=True),
    sa.Column("digest", sa.String(64), nullable=False),
    sa.Column("view", sa.String(128), nullable=False),
    sa.Column("rows", sa.BigInteger, nullable=False),
    sa.Column("description", sa.Text, nullable=False),
    sa.Column("created_by", sa.String(128), nullable=False),
    sa.Column("created_at", Instant, nullable=False),
)
api_tokens = sa.Table(
    "api_tokens",
    metadata,
    sa.Column("name", sa.String(128), primary_key=True),
    sa.Column("digest", sa.String(64), nullable=False),
    sa.Column("created_at", Instant, nullable=False),
)
statistics = sa.Table(
    "statistics",
    metadata,
    sa.Column("feature_group", sa.String(128), primary_key=True),
    sa.Column("group_version", sa.Integer, primary_key=True),
    sa.Column("partition", sa.String(255), primary_key=True),
    sa.Column("feature", sa.String(128), primary_key=True),
    sa.Column("table_version", sa.Integer, nullable=False),
    sa.Column("computed_at", Instant, nullable=False),
    sa.Column("rows", sa.BigInteger, nullable=False),
    sa.Column("missing", sa.BigInteger, nullable=False),
    sa.Column("distinct", sa.BigInteger),
    sa.Column("mean", sa.Float),
    sa.Column("stddev", sa.Float),
    sa.Column("minimum", sa.Float),
    sa.Column("maximum", sa.Float),
    sa.Column("profile", sa.Text, nullable=False),
)
drift_references = sa.Table(
    "drift_references",
    metadata,
    sa.Column("feature_group", sa.String(128), primary_key=True),
    sa.Column("group_version", sa.Integer, primary_key=True),
    sa.Column("against", sa.String(160), primary_key=True),
    sa.Column("feature", sa.String(128), primary_key=True),
    sa.Column("profile", sa.Text, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
)
alerts = sa.Table(
    "alerts",
    metadata,
    # SQLite counts up nothing but an Integer.
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True),
    sa.Column("key", sa.String(255), nullable=False),
    sa.Column("kind", sa.String(32), nullable=False),
    sa.Column("severity", sa.String(16), nullable=False),
    sa.Column("feature_group", sa.String(128)),
    sa.Column("owners", sa.Text, nullable=False),
    sa.Column("title", sa.Text, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    # Which places have heard of it and when, as JSON; each by the digest of its URL.
    sa.Column("told", sa.Text, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("sent_at", Instant, index=True),
)
history = sa.Table(
    "history",
    metadata,
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("name", sa.String(260), nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("action", sa.String(16), nullable=False),
    sa.Column("hash", sa.String(32), nullable=False),
    sa.Column("definition", sa.Text, nullable=False),
    sa.Column("changed_by", sa.String(128), nullable=False),
    sa.Column("changed_at", Instant, nullable=False),
    sa.Index("ix_history_name", "kind", "name", "version"),
)
stages = sa.Table(
    "stages",
    metadata,
    sa.Column("kind", sa.String(16), primary_key=True),
    sa.Column("name", sa.String(260), primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True),
    sa.Column("stage", sa.String(16), nullable=False),
    sa.Column("successor", sa.String(260), nullable=False),
    sa.Column("changed_by", sa.String(128), nullable=False),
    sa.Column("changed_at", Instant, nullable=False),
)
audit = sa.Table(
    "audit",
    metadata,
    sa.Column("sequence", sa.BigInteger, primary_key=True, autoincrement=False),
    # Text, for the hash is over the very characters.
    sa.Column("at", sa.String(32), nullable=False),
    sa.Column("actor", sa.String(128), nullable=False),
    sa.Column("action", sa.String(64), nullable=False),
    sa.Column("subject", sa.String(300), nullable=False),
    sa.Column("detail", sa.Text, nullable=False),
    sa.Column("previous", sa.String(64), nullable=False),
    sa.Column("digest", sa.String(64), nullable=False),
    # How it is known who; empty in entries of schemas before 0009.
    sa.Column("source", sa.String(16), nullable=False),
)
usage = sa.Table(
    "usage",
    metadata,
    sa.Column("feature_group", sa.String(128), primary_key=True),
    sa.Column("feature", sa.String(128), primary_key=True),
    sa.Column("consumer", sa.String(128), primary_key=True),
    sa.Column("path", sa.String(32), primary_key=True),
    sa.Column("day", sa.String(10), primary_key=True),
    sa.Column("reads", sa.BigInteger, nullable=False),
    sa.Column("rows", sa.BigInteger, nullable=False),
)
models = sa.Table(
    "models",
    metadata,
    sa.Column("name", sa.String(128), primary_key=True),
    sa.Column("training_set", sa.String(128), nullable=False),
    sa.Column("view", sa.String(128), nullable=False),
    # JSON lists: "group.feature", owners.
    sa.Column("features", sa.Text, nullable=False),
    sa.Column("owners", sa.Text, nullable=False),
    sa.Column("endpoint", sa.String(300), nullable=False),
    sa.Column("description", sa.Text, nullable=False),
    sa.Column("logged_by", sa.String(128), nullable=False),
    sa.Column("logged_at", Instant, nullable=False),
)
snapshots = sa.Table(
    "snapshots",
    metadata,
    sa.Column("name", sa.String(128), primary_key=True),
    sa.Column("digest", sa.String(64), nullable=False),
    # JSON: what the snapshot holds, file by file; its tags.
    sa.Column("manifest", sa.Text, nullable=False),
    sa.Column("tags", sa.Text, nullable=False),
    sa.Column("description", sa.Text, nullable=False),
    sa.Column("created_by", sa.String(128), nullable=False),
    sa.Column("created_at", Instant, nullable=False),
)
holds = sa.Table(
    "holds",
    metadata,
    sa.Column("kind", sa.String(16), primary_key=True),
    sa.Column("name", sa.String(128), primary_key=True),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("placed_by", sa.String(128), nullable=False),
    sa.Column("placed_at", Instant, nullable=False),
)
removals = sa.Table(
    "removals",
    metadata,
    sa.Column("feature_group", sa.String(128), primary_key=True),
    sa.Column("group_version", sa.Integer, primary_key=True),
    sa.Column("partition", sa.String(255), primary_key=True),
    # The event times that it held.
    sa.Column("first", Instant),
    sa.Column("last", Instant),
    sa.Column("rows", sa.BigInteger, nullable=False),
    sa.Column("bytes", sa.BigInteger, nullable=False),
    # Of the commit that removed it; null until then.
    sa.Column("table_version", sa.BigInteger),
    sa.Column("removed_at", Instant, nullable=False),
    sa.Column("freed_at", Instant),
)
floors = sa.Table(
    "floors",
    metadata,
    sa.Column("feature_group", sa.String(128), primary_key=True),
    sa.Column("group_version", sa.Integer, primary_key=True),
    # Snapshots of older versions come too late: files of theirs may be gone.
    sa.Column("table_version", sa.BigInteger, nullable=False),
)
# Functions that request-time features may run here. What comes from elsewhere never fills it.
functions = sa.Table(
    "functions",
    metadata,
    sa.Column("function", sa.Text, primary_key=True),
    sa.Column("trusted_by", sa.String(128), nullable=False),
    sa.Column("trusted_at", Instant, nullable=False),
)

leases = sa.Table(
    "leases",
    metadata,
    sa.Column("name", sa.String(260), primary_key=True),
    # Empty where nobody holds it.
    sa.Column("holder", sa.String(260), nullable=False),
    sa.Column("epoch", sa.BigInteger, nullable=False),
    sa.Column("expires_at", Instant, nullable=False),
)

# What search finds. The words by which are in `search_index`, a table of each database's own kind.
search_entries = sa.Table(
    "search_entries",
    metadata,
    sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("name", sa.String(260), nullable=False),
    # The group or view that it is of.
    sa.Column("owner", sa.String(128), nullable=False, index=True),
    sa.Column("version", sa.Integer, nullable=False),
    # The words of its name, and of the group that it is in.
    sa.Column("own", sa.String(128), nullable=False),
    sa.Column("within", sa.String(129), nullable=False),
    sa.Column("entity", sa.String(128), nullable=False),
    sa.Column("dtype", sa.String(64), nullable=False),
    # JSON: what its author says of it.
    sa.Column("card", sa.Text, nullable=False),
)

# The newest schema that this code knows, and all before it; a test holds them against Alembic's.
SCHEMAS = ("0001", "0002", "0003", "0004", "0005", "0006", "0007", "0008", "0009", "0010")
_MIGRATIONS = Path(__file__).parent / "migrations"
# Any number will do, as long as every process takes the same lock.
_POSTGRES_LOCK = 0x66736131
_WRITERS_WAIT = 30  # seconds for the SQLite writers before this one
_PATIENCE = 5  # seconds until a PostgreSQL that does not answer is given up


class Database:
    """Connections to the registry's database.

    Parameters
    ----------
    url
        A SQLAlchemy URL, `sqlite:///...` or `postgresql+psycopg2://...`.
    actor
        Who writes; by default the user who runs this process.
    """

    def __init__(self, url: str, actor: Actor | str | None = None) -> None:
        self.actor = Actor.of(actor)
        try:
            self._url = make_url(url)
            self.shown = self._url.render_as_string(hide_password=True)
            self._sqlite = self._url.get_backend_name() == "sqlite"
            # A host that swallows packets would hold a job for minutes.
            settled = self._sqlite or "connect_timeout" in self._url.query
            given = {} if settled else {"connect_timeout": _PATIENCE}
            self.engine = sa.create_engine(self._url, pool_pre_ping=True, connect_args=given)
        except (ArgumentError, NoSuchModuleError):
            raise RegistryUnusable(
                "the given URL", "it is no SQLAlchemy URL", "See FEATURE_STORE_REGISTRY_URL."
            ) from None
        except ModuleNotFoundError as error:
            hint = "Install it: pip install 'feature_store_assets[postgres]'."
            raise RegistryUnusable(self.shown, str(error), hint) from None
        if self._sqlite:
            sa.event.listen(self.engine, "connect", _on_connect)
            sa.event.listen(self.engine, "begin", _on_begin)
        else:
            sa.event.listen(self.engine, "connect", _in_utc)
        # In SQLite a transaction never sees what others commit meanwhile.
        steady = {} if self._sqlite else {"isolation_level": "REPEATABLE READ"}
        self._reading = self.engine.execution_options(**steady)
        self._checked = False

    def acting_as(self, actor: Actor) -> Database:
        """Return the same database, over the same connections, in which somebody else writes."""
        other = copy(self)
        other.actor = actor
        return other

    @property
    def exists(self) -> bool:
        """False while an SQLite file has not been made yet."""
        path = self._url.database
        return not (self._sqlite and path and path != ":memory:" and not Path(path).exists())

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """Open a transaction that only reads, and sees one state of the registry throughout."""
        with self.mapped(), self._reading.connect() as connection:
            self._check(connection)
            yield connection

    def rows(self, query: sa.Select[Any]) -> list[sa.RowMapping]:
        """Return what a query finds; nothing while there is no registry yet."""
        if not self.exists:
            return []
        with self.read() as connection:
            return list(connection.execute(query).mappings())

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """Open a transaction that no other writer interleaves with; migrate first if needed."""
        with self.mapped():
            if self._sqlite and self._url.database:
                Path(self._url.database).parent.mkdir(parents=True, exist_ok=True)
            if not self._checked:
                # A transaction of its own: work that is refused leaves a registry that reads.
                with self._alone() as connection:
                    if _schema(connection) != SCHEMAS[-1]:
                        self._refuse_newer(connection)
                        migrate(connection)
                self._checked = True
            with self._alone() as connection:
                yield connection

    @contextmanager
    def _alone(self) -> Iterator[sa.Connection]:
        opened = self.engine.connect().execution_options(writes=True, actor=self.actor)
        with opened as connection, connection.begin():
            if not self._sqlite:
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_POSTGRES_LOCK)))
            yield connection

    def remove(
        self, table: sa.Table, which: sa.ColumnElement[bool], *, dry_run: bool = False
    ) -> int:
        """Remove rows of a table; return how many there are."""
        if not self.exists:
            return 0
        if dry_run:
            with self.read() as connection:
                count = sa.select(sa.func.count()).select_from(table).where(which)
                return connection.execute(count).scalar_one()
        with self.write() as connection:
            return connection.execute(sa.delete(table).where(which)).rowcount

    def close(self) -> None:
        self.engine.dispose()

    def _check(self, connection: sa.Connection) -> None:
        if self._checked:
            return
        self._refuse_newer(connection)
        if _schema(connection) != SCHEMAS[-1]:
            raise RegistryUnusable(
                self.shown,
                f"its schema is {_schema(connection) or 'not there'}, this code reads "
                f"{SCHEMAS[-1]}",
                "Run `feature-store apply`, which brings it up to date.",
            )
        self._checked = True

    def _refuse_newer(self, connection: sa.Connection) -> None:
        found = _schema(connection)
        if found is not None and found not in SCHEMAS:
            raise RegistryUnusable(
                self.shown,
                f"its schema {found} is newer than this code, which knows up to {SCHEMAS[-1]}",
                "Upgrade feature_store_assets here.",
            )

    @contextmanager
    def mapped(self) -> Iterator[None]:
        """Tell of a registry that cannot be used, whatever its schema is."""
        try:
            yield
        except DBAPIError as error:
            reason = str(error.orig).strip().partition("\n")[0]
            raise RegistryUnusable(self.shown, reason, "Is it there, and may you use it?") from None
        except FeatureStoreError:
            raise  # ours are OSErrors too, and speak for themselves
        except OSError as error:
            raise RegistryUnusable(self.shown, str(error)) from None


def actor_of(connection: sa.Connection) -> Actor:
    """Return who writes in a transaction that `Database.write` opened."""
    actor: Actor = connection.get_execution_options()["actor"]
    return actor


def _schema(connection: sa.Connection) -> str | None:
    """Return the schema version that the database records, None for an empty one."""
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()


def migrate(connection: sa.Connection, to: str = SCHEMAS[-1]) -> None:
    """Bring the schema, and the rows that are there, up to a version."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, to)


def _on_connect(connection: Any, _record: object) -> None:
    # The driver's own transactions start too late to keep writers apart: begin explicitly.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {_WRITERS_WAIT * 1000}")
    _wait_for_wal(cursor)
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.close()


def _wait_for_wal(cursor: Any) -> None:
    """Turn the write-ahead log on; beside others who do, SQLite refuses without waiting."""
    from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_random

    def is_busy(error: BaseException) -> bool:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK)
        return code & 0xFF == sqlite3.SQLITE_BUSY

    patiently = Retrying(
        retry=retry_if_exception(is_busy),
        stop=stop_after_delay(_WRITERS_WAIT),
        wait=wait_random(0.001, 0.05),
        reraise=True,
    )
    patiently(cursor.execute, "PRAGMA journal_mode = WAL")


def _in_utc(connection: Any, _record: object) -> None:
    """Let the server give instants in UTC: a zone could move the first and last out of Python's."""
    with connection.cursor() as cursor:
        cursor.execute("SET TIME ZONE 'UTC'")
    connection.commit()


def _on_begin(connection: sa.Connection) -> None:
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

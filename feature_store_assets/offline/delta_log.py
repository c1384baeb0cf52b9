"""One Delta table as files: create it, commit to it, list what is live.

Commits are atomic, retried on conflict, and on the disk before they are reported.
"""

from __future__ import annotations

import threading
import uuid
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import pyarrow as pa

from feature_store_assets.declaration.instants import FIRST_MICRO, LAST_MICRO
from feature_store_assets.errors import StorageUnusable, VersionExpired, WriteConflict
from feature_store_assets.offline.commit_history import (
    COMMITTED_AT,
    entry_path,
    read_entry,
)
from feature_store_assets.offline.scan import DataFile, times_in
from feature_store_assets.offline.schema import CREATED, PARTITION
from feature_store_assets.storage.untrusted import check_path

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    import polars as pl
    from deltalake import DeltaTable

    from feature_store_assets.storage import Location

    Removed = Callable[[int], Collection[str]]

_ATTEMPTS = 20
# The log's statistics cut timestamps to milliseconds; in microseconds.
_STATISTIC_STEP = 1_000
# What a path outside of the table has to hold; few others do.
_OUTSIDE = r"(?i)^/|^[a-z]:|\.\.|//|\\|%2e|%2f|%5c"
_COMMIT = "feature_store.commit"
_MOVE = "Set FEATURE_STORE_STORAGE_PATH to a plain folder that you may write to."
_APPENDS = "feature_store.appends"
_CODECS: dict[str, Any] = {
    "zstd": "ZSTD",
    "snappy": "SNAPPY",
    "gzip": "GZIP",
    "lz4": "LZ4",
    "none": "UNCOMPRESSED",
}


@dataclass(frozen=True)
class Commit:
    """A write that is on disk: table version, rows written, when."""

    version: int
    rows: int
    committed_at: datetime


class DeltaLog:
    """The table in a location, kept open and followed incrementally.

    Parameters
    ----------
    location
        The table's folder.
    owner
        The group's or asset's name, for messages.
    timestamp
        The column whose statistics date the files, if there is one.
    compression
        Parquet codec of new files.
    removed
        Returns which partitions may be missing from a version, because retention removed them.
    """

    def __init__(
        self,
        location: Location,
        owner: str,
        timestamp: str | None,
        *,
        compression: str = "zstd",
        removed: Removed = lambda _: (),
    ) -> None:
        self.location = location
        self._owner = owner
        self._timestamp = timestamp
        self._compression = compression
        self._removed = removed
        self._lock = threading.RLock()
        self._table: DeltaTable | None = None
        self._held = False
        self._newest: tuple[int, list[DataFile]] = -1, []

    # State

    def open(self, version: int | None = None) -> DeltaTable | None:
        """Return the table at its newest version (kept open), or at another one.

        Raises
        ------
        VersionExpired
            The table has not got that far.
        """
        from deltalake import DeltaTable
        from deltalake.exceptions import TableNotFoundError

        with self._lock:
            try:
                if self._held and self._table is not None and self._table.version() == version:
                    return self._table
                if version is not None:
                    return self._at(version)
                if self._table is None:
                    self._table = DeltaTable(self.location.uri)
                elif not self._held:
                    self._table.update_incremental()
            except TableNotFoundError:
                return None
            return self._table

    def _at(self, version: int) -> DeltaTable:
        from deltalake import DeltaTable
        from deltalake.exceptions import DeltaError, TableNotFoundError

        try:
            return DeltaTable(self.location.uri, version=version)
        except TableNotFoundError:
            raise
        except DeltaError:
            # Somebody remembers a version of a table that stood here before: a restored backup.
            if version > self.version():
                raise VersionExpired(self._owner, version) from None
            raise

    @property
    def exists(self) -> bool:
        return self.open() is not None

    @property
    def schema(self) -> pa.Schema:
        """The stored columns; the table must exist."""
        table = self.open()
        if table is None:
            raise StorageUnusable(self.location.shown, "nothing has been written to it yet")
        return _arrow_schema(table)

    def version(self) -> int:
        """Return the newest version, looked up afresh; -1 while there is no table."""
        table = self.open()
        return -1 if table is None else table.version()

    def version_at(self, moment: datetime) -> int:
        """Return the version that was newest at an instant, by our own record of commits."""
        table = self.open()
        for entry in [] if table is None else table.history():
            at = entry.get(COMMITTED_AT)
            if at is not None and datetime.fromisoformat(at) <= moment:
                return int(entry["version"])
        return 0

    def files(
        self, *, version: int | None = None, partitions: Sequence[str] | None = None
    ) -> list[DataFile]:
        """Return the live files of a version, by partition.

        Raises
        ------
        VersionExpired
            Files of that version are gone, and not by retention.
        """
        chosen = None if partitions is None else set(partitions)
        files = [
            file for file in self._at_version(version) if chosen is None or file.partition in chosen
        ]
        if version is None:
            return files
        gone = self.location.missing(file.path for file in files)
        missing = {file.partition for file in files if file.path in gone} if gone else set()
        if missing and not missing <= set(self._removed(version)):
            raise VersionExpired(self._owner, version)
        return [file for file in files if file.partition not in missing]

    def partitions(self, version: int | None = None) -> list[str]:
        """Return the partitions of which a version has files, in order."""
        if version is not None:
            return sorted({file.partition for file in self.files(version=version)})
        table = self.open()
        if table is None:
            return []
        import polars as pl

        added: Any = table.get_add_actions(flatten=True)
        return pl.DataFrame(added)[f"partition.{PARTITION}"].unique().sort().to_list()

    def _at_version(self, version: int | None) -> list[DataFile]:
        table = self.open(version)
        if table is None or table is not self._table:
            return [] if table is None else self._listed(table)
        # Asked for again and again, within one push too; a table opened anew may be another one.
        newest, files = self._newest
        if newest != table.version():
            newest, files = self._newest = table.version(), self._listed(table)
        return files

    def _listed(self, table: DeltaTable) -> list[DataFile]:
        import polars as pl

        added: Any = table.get_add_actions(flatten=True)
        actions = pl.DataFrame(added)
        partition = f"partition.{PARTITION}"
        chosen = actions.select(
            "path",
            partition,
            "num_records",
            "size_bytes",
            _bound(actions, f"min.{self._timestamp}"),
            _bound(actions, f"max.{self._timestamp}", _STATISTIC_STEP),
        )
        folder = self.location.uri
        for path in chosen.filter(pl.col("path").str.contains(_OUTSIDE))["path"]:
            try:
                check_path(unquote(path), "its table")
            except ValueError as error:
                raise StorageUnusable(
                    self.location.shown, f"its log names a file: {error}"
                ) from None
        return [
            self._dated(DataFile(unquote(path), key, rows, size, first, last, folder))
            for path, key, rows, size, first, last in chosen.sort(partition, "path").iter_rows()
        ]

    def _dated(self, file: DataFile) -> DataFile:
        """Fill in times that the log does not tell: it cannot write years of five digits."""
        if self._timestamp is None or not file.rows or (file.first and file.last):
            return file
        first, last = times_in(self.location, file.path, self._timestamp)
        return replace(file, first=file.first or first, last=file.last or last)

    # Change

    def create(self, schema: pa.Schema) -> None:
        """Create the table if it is not there; safe beside other creators."""
        from deltalake import DeltaTable
        from deltalake.exceptions import TableNotFoundError

        place = self.location.uri
        if any(sign in place for sign in "%#?"):
            # delta-rs reads paths as addresses: it would look in another folder.
            raise StorageUnusable(place, "its name holds a '%', '#' or '?'", _MOVE)
        statistics = [name for name in (self._timestamp, CREATED) if name in schema.names]
        configuration: dict[str, str | None] = {
            # Pins name versions: their log entries are kept for ever.
            "delta.logRetentionDuration": "interval 36500 days",
            "delta.enableExpiredLogCleanup": "false",
            "delta.deletedFileRetentionDuration": "interval 7 days",
            "delta.checkpointInterval": "20",
            # No ids or personal values: the log outlives an erasure.
            "delta.dataSkippingStatsColumns": ",".join(map(str, statistics)),
        }
        for attempt in self._attempts():
            with attempt:
                if self.open() is not None:
                    return
                try:
                    DeltaTable.create(
                        place,
                        schema=schema,
                        partition_by=[PARTITION],
                        mode="ignore",
                        configuration=configuration,
                    )
                except (TableNotFoundError, OSError) as error:
                    reason = str(error).partition("\n")[0]
                    raise StorageUnusable(place, reason, _MOVE) from None
                self._sync(0)

    def add_columns(self, wanted: pa.Schema) -> None:
        """Add the columns that the table lacks; old rows read null."""
        from deltalake import Schema

        for attempt in self._attempts():
            with attempt, self._lock:
                table = self._opened()
                stored = _arrow_schema(table).names
                added = [field for field in wanted if field.name not in stored]
                if added:
                    table.alter.add_columns(list(Schema.from_arrow(pa.schema(added)).fields))
                    self._sync(table.version())

    def commit(
        self,
        prepare: Callable[[int], pa.Table],
        *,
        mode: Any,
        partitions: Sequence[str] | None = None,
        order: Sequence[str] = (),
        metadata: Mapping[str, str] | None = None,
        columns: pa.Schema | None = None,
    ) -> Commit:
        """Write rows in one atomic commit.

        Parameters
        ----------
        prepare
            Returns the rows, with their `partition`, given the version that they are written
            upon; called again when another writer was faster.
        mode
            `"append"`, where appenders take turns, or `"overwrite"`.
        partitions
            Which partitions to overwrite; None for all.
        order
            Columns to sort by within a partition.
        metadata
            Kept with the commit: run, partition.
        columns
            What the table has from then on; by default what it had.
        """
        from deltalake import CommitProperties, Transaction, WriterProperties, write_deltalake

        name = uuid.uuid4().hex
        level = 3 if self._compression == "zstd" else None
        codec = WriterProperties(compression=_CODECS[self._compression], compression_level=level)
        for attempt in self._attempts():
            with attempt, self._lock:
                table = self._opened()
                # Conflicts are found against this version: nothing may move the table on below.
                base = table.version()
                self._held = True
                try:
                    rows = prepare(base)
                finally:
                    self._held = False
                now = datetime.now(UTC)
                if mode == "append" and rows.num_rows == 0:
                    return Commit(base, 0, now)
                turn = [Transaction(_APPENDS, base + 1)] if mode == "append" else None
                noted = {**(metadata or {}), _COMMIT: name, COMMITTED_AT: now.isoformat()}
                write_deltalake(
                    table,
                    _ordered(rows, columns or _arrow_schema(table), order),
                    mode=mode,
                    schema_mode=None if columns is None else "overwrite",
                    predicate=None if partitions is None else _among(partitions),
                    writer_properties=codec,
                    commit_properties=CommitProperties(
                        custom_metadata=noted, app_transactions=turn, max_commit_retries=50
                    ),
                )
        version = self._version_of(name)
        self._sync(version)
        return Commit(version, rows.num_rows, now)

    def remove(self, partitions: Sequence[str]) -> int:
        """Remove whole partitions in one commit that rewrites nothing; their files stay.

        Returns
        -------
        The table version without them.
        """
        from deltalake import CommitProperties

        for attempt in self._attempts():
            with attempt, self._lock:
                table = self._opened()
                if self.files(partitions=partitions):
                    noted = {COMMITTED_AT: datetime.now(UTC).isoformat()}
                    table.delete(
                        _among(sorted(set(partitions))),
                        commit_properties=CommitProperties(custom_metadata=noted),
                    )
                    self._sync(table.version())
        return self._opened().version()

    def files_of(self, versions: Collection[int]) -> set[str]:
        """Return the files of versions, by their paths within the table."""
        return {file.path for version in versions for file in self._at_version(version)}

    # Under the commits

    def _opened(self) -> DeltaTable:
        table = self.open()
        assert table is not None
        return table

    def _attempts(self) -> Iterator[Any]:
        """Attempts at a commit, until none meets another writer's."""
        from deltalake.exceptions import CommitFailedError
        from tenacity import (
            RetryError,
            Retrying,
            retry_if_exception_type,
            stop_after_attempt,
            wait_random_exponential,
        )

        retrying = Retrying(
            stop=stop_after_attempt(_ATTEMPTS),
            wait=wait_random_exponential(multiplier=0.05, max=2),
            retry=retry_if_exception_type(CommitFailedError),
        )
        try:
            yield from retrying
        except RetryError:
            raise WriteConflict(self._owner, _ATTEMPTS) from None

    def _sync(self, version: int) -> None:
        """Push a commit, its files and their folders to the disk: delta-rs never does."""
        if self.location.local is not None:
            added = read_entry(self.location, version).added
            self.location.sync([*(file.path for file in added), entry_path(version)])

    def _version_of(self, commit: str) -> int:
        table = self._opened()
        for count in (20, None):
            for entry in table.history(count):
                if entry.get(_COMMIT) == commit:
                    return int(entry["version"])
        raise StorageUnusable(self.location.shown, f"the log lost commit {commit}")


def _arrow_schema(table: DeltaTable) -> pa.Schema:
    exported: Any = table.schema().to_arrow()
    return pa.schema(exported)


def _ordered(rows: pa.Table, stored: pa.Schema, order: Sequence[str]) -> pa.Table:
    """Sort rows for compression and lookups; columns as the table has them."""
    for field in stored:
        if field.name not in rows.column_names:
            # A feature added by a newer declaration than this writer's.
            rows = rows.append_column(field, pa.nulls(rows.num_rows, field.type))
    keys: list[Any] = [(name, "ascending") for name in (PARTITION, *order)]
    return rows.select(stored.names).sort_by(keys)


def _bound(actions: pl.DataFrame, name: str, step: int = 0) -> pl.Expr:
    """Return a statistic of instants, so many microseconds later, as Python can hold it."""
    import polars as pl

    kind = actions.schema.get(name)
    if not isinstance(kind, pl.Datetime):
        return pl.lit(None).alias(name)
    number = pl.col(name).cast(pl.Int64) + step
    return number.clip(FIRST_MICRO, LAST_MICRO).cast(kind).alias(name)


def _among(partitions: Sequence[str]) -> str:
    quoted = ", ".join("'" + key.replace("'", "''") + "'" for key in partitions)
    return f"{PARTITION} IN ({quoted})"

"""One Delta table as files: create it, commit to it, list what is live, remove what is not.

Commits are atomic, retried on conflict, and on the disk before they are reported.
"""

from __future__ import annotations

import json
import os
import threading
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import pyarrow as pa

from feature_store_assets.errors import StorageUnusable, VersionExpired, WriteConflict
from feature_store_assets.offline.frames import fsync
from feature_store_assets.offline.reading import DataFile
from feature_store_assets.offline.schema import CREATED, PARTITION

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from deltalake import DeltaTable

_ATTEMPTS = 20
# The log's statistics cut timestamps to milliseconds.
_STATISTIC_STEP = timedelta(milliseconds=1)
_COMMIT, _COMMITTED_AT = "feature_store.commit", "feature_store.committed_at"
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


@dataclass(frozen=True)
class Dropped:
    """What a removal freed, or would free."""

    partitions: tuple[str, ...]
    rows: int
    files: int
    bytes: int


class DeltaLog:
    """The table in a folder, kept open and followed incrementally.

    Parameters
    ----------
    path
        The table's folder.
    owner
        The group's or asset's name, for messages.
    timestamp
        The column whose statistics date the files, if there is one.
    compression
        Parquet codec of new files.
    """

    def __init__(
        self, path: Path, owner: str, timestamp: str | None, *, compression: str = "zstd"
    ) -> None:
        self.path = path
        self._owner = owner
        self._timestamp = timestamp
        self._compression = compression
        self._lock = threading.RLock()
        self._table: DeltaTable | None = None
        self._held = False

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
                if version is not None:
                    return self._at(version)
                if self._table is None:
                    self._table = DeltaTable(str(self.path))
                elif not self._held:
                    self._table.update_incremental()
            except TableNotFoundError:
                return None
            return self._table

    def _at(self, version: int) -> DeltaTable:
        from deltalake import DeltaTable
        from deltalake.exceptions import DeltaError, TableNotFoundError

        try:
            return DeltaTable(str(self.path), version=version)
        except TableNotFoundError:
            raise
        except DeltaError:
            # Somebody remembers a version of a table that stood here before: a restored backup.
            if version > self.version():
                raise VersionExpired(self._owner, version) from None
            raise

    @property
    def exists(self) -> bool:
        return (self.path / "_delta_log").is_dir() and self.open() is not None

    @property
    def schema(self) -> pa.Schema:
        """The stored columns; the table must exist."""
        table = self.open()
        if table is None:
            raise StorageUnusable(str(self.path), "nothing has been written to it yet")
        return _arrow_schema(table)

    def version(self) -> int:
        """Return the newest version, looked up afresh; -1 while there is no table."""
        table = self.open()
        return -1 if table is None else table.version()

    def version_at(self, moment: datetime) -> int:
        """Return the version that was newest at an instant, by our own record of commits."""
        table = self.open()
        for entry in [] if table is None else table.history():
            at = entry.get(_COMMITTED_AT)
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
            Files of that version are gone.
        """
        table = self.open(version)
        chosen = None if partitions is None else set(partitions)
        found = [] if table is None else self._listed(table)
        files = [file for file in found if chosen is None or file.partition in chosen]
        if version is not None and not all(os.path.exists(file.path) for file in files):  # noqa: PTH110  # thousands of files
            raise VersionExpired(self._owner, version)
        return files

    def _listed(self, table: DeltaTable) -> list[DataFile]:
        import polars as pl

        added: Any = table.get_add_actions(flatten=True)
        actions = pl.DataFrame(added)
        low, high = f"min.{self._timestamp}", f"max.{self._timestamp}"
        for name in (low, high):
            if name not in actions.columns:
                actions = actions.with_columns(pl.lit(None).alias(name))
        partition = f"partition.{PARTITION}"
        chosen = actions.select("path", partition, "num_records", "size_bytes", low, high)
        return [
            DataFile(
                str(self.path / unquote(path)),
                key,
                rows,
                size,
                first,
                None if last is None else last + _STATISTIC_STEP,
            )
            for path, key, rows, size, first, last in chosen.sort(partition, "path").iter_rows()
        ]

    # Change

    def create(self, schema: pa.Schema) -> None:
        """Create the table if it is not there; safe beside other creators."""
        from deltalake import DeltaTable

        if any(sign in str(self.path) for sign in "%#?"):
            # delta-rs reads paths as addresses: it would look in another folder.
            raise StorageUnusable(str(self.path), "its name holds a '%', '#' or '?'", _MOVE)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageUnusable(str(self.path), error.strerror or str(error), _MOVE) from None
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
                if self.open() is None:
                    DeltaTable.create(
                        str(self.path),
                        schema=schema,
                        partition_by=[PARTITION],
                        mode="ignore",
                        configuration=configuration,
                    )

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
                    self._fsync(table.version())

    def commit(
        self,
        prepare: Callable[[int], pa.Table],
        *,
        mode: Any,
        partitions: Sequence[str] | None = None,
        order: Sequence[str] = (),
        metadata: Mapping[str, str] | None = None,
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
                noted = {**(metadata or {}), _COMMIT: name, _COMMITTED_AT: now.isoformat()}
                write_deltalake(
                    table,
                    _ordered(rows, _arrow_schema(table), order),
                    mode=mode,
                    predicate=None if partitions is None else _among(partitions),
                    writer_properties=codec,
                    commit_properties=CommitProperties(
                        custom_metadata=noted, app_transactions=turn, max_commit_retries=50
                    ),
                )
        version = self._version_of(name)
        self._fsync(version)
        return Commit(version, rows.num_rows, now)

    def drop(
        self, partitions: Sequence[str], *, keep_versions: Sequence[int], dry_run: bool
    ) -> Dropped:
        """Remove whole partitions, and their files from disk unless a kept version needs them.

        Parameters
        ----------
        partitions
            Partition keys.
        keep_versions
            Versions that snapshots pin.
        dry_run
            Only say what would go.
        """
        from deltalake import CommitProperties

        gone = sorted(set(partitions))
        live = self.files(partitions=gone)
        kept = {file.path for version in keep_versions for file in self.files(version=version)}
        paths = [path for path in self.ever_in(gone) if str(path) not in kept]
        freed = [(path, path.stat().st_size) for path in paths if path.exists()]
        dropped = Dropped(
            tuple(gone),
            sum(file.rows for file in live),
            len(freed),
            sum(size for _, size in freed),
        )
        if dry_run:
            return dropped
        for attempt in self._attempts() if live else ():
            with attempt, self._lock:
                table = self._opened()
                noted = {_COMMITTED_AT: datetime.now(UTC).isoformat()}
                table.delete(
                    _among(gone), commit_properties=CommitProperties(custom_metadata=noted)
                )
                self._fsync(table.version())
        for path, _ in freed:
            path.unlink(missing_ok=True)
        return dropped

    def sweep(self, *, older_than: timedelta, keep_versions: Sequence[int], dry_run: bool) -> int:
        """Remove superseded files that no kept version needs; return how many.

        Only files that the log has marked as removed go: files of writers at work are safe.
        """
        if not self.exists:
            return 0
        for attempt in self._attempts():
            with attempt, self._lock:
                removed = self._opened().vacuum(
                    retention_hours=int(older_than.total_seconds() // 3600),
                    enforce_retention_duration=False,
                    dry_run=dry_run,
                    full=False,
                    keep_versions=list(keep_versions) or None,
                )
        return len(removed)

    def ever_in(self, partitions: Sequence[str]) -> list[Path]:
        """Every file that any commit ever added to the partitions."""
        found = []
        for entry in sorted((self.path / "_delta_log").glob("*.json")):
            for line in entry.read_text().splitlines():
                added = json.loads(line).get("add")
                if added and added["partitionValues"].get(PARTITION) in partitions:
                    found.append(self.path / unquote(added["path"]))
        return found

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

    def _fsync(self, version: int) -> None:
        """Push a commit, its files and their folders to the disk: delta-rs never does."""
        entry = self.path / "_delta_log" / f"{version:020d}.json"
        lines = [json.loads(line) for line in entry.read_text().splitlines()]
        added = [self.path / unquote(line["add"]["path"]) for line in lines if "add" in line]
        files = [*added, entry]
        folders = {folder for file in files for folder in (file.parent, self.path)}
        for path in [*files, *sorted(folders)]:
            fsync(path)

    def _version_of(self, commit: str) -> int:
        table = self._opened()
        for count in (20, None):
            for entry in table.history(count):
                if entry.get(_COMMIT) == commit:
                    return int(entry["version"])
        raise StorageUnusable(str(self.path), f"the log lost commit {commit}")


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


def _among(partitions: Sequence[str]) -> str:
    quoted = ", ".join("'" + key.replace("'", "''") + "'" for key in partitions)
    return f"{PARTITION} IN ({quoted})"

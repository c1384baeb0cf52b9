"""One offline table: Parquet files and a Delta log, written atomically, read at any version."""

from __future__ import annotations

import os
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from feature_store_assets.errors import (
    BreakingChange,
    SchemaMismatch,
    StorageUnusable,
    VersionExpired,
)
from feature_store_assets.offline.log import COMMIT, COMMITTED_AT, DeltaLog
from feature_store_assets.offline.reading import DataFile, gather, partitions_of, scan
from feature_store_assets.offline.schema import CREATED, PARTITION, TableSchema, declared_type

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import timedelta

    import polars as pl
    from deltalake import DeltaTable

_APPENDS = "feature_store.appends"


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


class OfflineTable:
    """The table of one version of a feature group.

    Parameters
    ----------
    path
        The table's folder.
    schema
        Its columns as declared. Undeclared key types are taken from the stored table.
    compression
        Parquet codec of new files.
    """

    def __init__(self, path: Path, schema: TableSchema, *, compression: str = "zstd") -> None:
        self.path = path
        self._declared = schema
        self._compression = compression
        self._log = DeltaLog(path, schema.owner, schema.timestamp)

    # Shape

    @property
    def exists(self) -> bool:
        return (self.path / "_delta_log").is_dir() and self._log.open() is not None

    @cached_property
    def schema(self) -> TableSchema:
        """The columns, key types included; the table must exist."""
        return self._declared.with_key_types(self._stored())

    def _stored(self) -> pa.Schema:
        table = self._log.open()
        if table is None:
            raise StorageUnusable(str(self.path), "nothing has been written to it yet")
        return _arrow_schema(table)

    @property
    def owner(self) -> str:
        """The group's name."""
        return self._declared.owner

    @property
    def keys(self) -> list[str]:
        return self._declared.key_names

    @property
    def timestamp(self) -> str:
        return self._declared.timestamp

    @property
    def created(self) -> str:
        return CREATED

    @property
    def features(self) -> list[tuple[str, str]]:
        """The features' names and types, in the order in which they were added."""
        return list(self._declared.features)

    @property
    def columns(self) -> dict[str, str]:
        """Every column but the partition, name -> declared type."""
        keys = {name: kind or "string" for name, kind in self.schema.keys}
        times = dict.fromkeys((self.timestamp, CREATED), "timestamp[us, UTC]")
        return {**keys, **times, **dict(self._declared.features)}

    def ensure(self, incoming: pa.Schema | None = None) -> TableSchema:
        """Create the table, or add the features that it lacks; safe beside other writers.

        Parameters
        ----------
        incoming
            Where keys have no declared type, the columns that give it.

        Raises
        ------
        BreakingChange
            A stored column has another type, or a stored feature is no longer declared.
        """
        for attempt in self._log.attempts():
            with attempt, self._log.lock:
                table = self._log.open()
                if table is None:
                    schema = self._declared.with_key_types(incoming or pa.schema([]))
                    for name, kind in schema.keys:
                        if kind is None:
                            raise SchemaMismatch(schema.owner, name, wanted="a key", got=None)
                    self._create(schema)
                else:
                    self._evolve(table)
        return self.schema

    def _create(self, schema: TableSchema) -> None:
        from deltalake import DeltaTable

        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            hint = "Set FEATURE_STORE_STORAGE_PATH to a folder that you may write to."
            raise StorageUnusable(str(self.path), error.strerror or str(error), hint) from None
        DeltaTable.create(
            str(self.path),
            schema=schema.arrow,
            partition_by=[PARTITION],
            mode="ignore",
            configuration={
                # Pins name versions: their log entries are kept for ever.
                "delta.logRetentionDuration": "interval 36500 days",
                "delta.enableExpiredLogCleanup": "false",
                "delta.deletedFileRetentionDuration": "interval 7 days",
                "delta.checkpointInterval": "20",
                # No ids or personal values: the log outlives an erasure.
                "delta.dataSkippingStatsColumns": f"{self.timestamp},{CREATED}",
            },
        )

    def _evolve(self, table: DeltaTable) -> None:
        from deltalake import Schema

        stored = _arrow_schema(table)
        wanted = self._declared.with_key_types(stored).arrow
        broken = [
            f"column '{field.name}' is {declared_type(stored.field(field.name).type)} in the table"
            for field in wanted
            if field.name in stored.names and stored.field(field.name).type != field.type
        ]
        if broken:
            raise BreakingChange(self.owner, self._number, broken)
        added = [field for field in wanted if field.name not in stored.names]
        if added:
            table.alter.add_columns(list(Schema.from_arrow(pa.schema(added)).fields))
            self._log.fsync(table.version())

    @property
    def _number(self) -> int:
        digits = self.path.name.removeprefix("v")
        return int(digits) if digits.isdigit() else 1

    # Versions

    def version(self) -> int:
        """Return the newest version, looked up afresh; -1 while there is no table."""
        table = self._log.open()
        return -1 if table is None else table.version()

    def version_at(self, moment: datetime) -> int:
        """Return the version that was newest at an instant, by our own record of commits."""
        return self._log.version_at(moment)

    def files(
        self,
        *,
        version: int | None = None,
        partitions: Sequence[str] | None = None,
        start: datetime | None = None,
        end: datetime | None = None,
    ) -> list[DataFile]:
        """Return the live files of a version, by partition, pruned by the log's statistics.

        Raises
        ------
        VersionExpired
            Files of that version are gone.
        """
        table = self._log.open(version)
        chosen = None if partitions is None else set(partitions)
        found = [] if table is None else self._log.files(table)
        files = [
            file
            for file in found
            if (chosen is None or file.partition in chosen) and file.overlaps(start, end)
        ]
        if version is not None and not all(os.path.exists(file.path) for file in files):  # noqa: PTH110  # thousands of files
            raise VersionExpired(self.owner, version)
        return files

    def partitions(self, version: int | None = None) -> list[str]:
        """Return the partitions that hold rows."""
        return sorted({file.partition for file in self.files(version=version)})

    # Reading

    def read(
        self,
        columns: Sequence[str] | None = None,
        *,
        start: datetime | None = None,
        end: datetime | None = None,
        partitions: Sequence[str] | None = None,
        entities: pl.DataFrame | None = None,
        version: int | None = None,
        limit: int | None = None,
    ) -> pa.Table:
        """Read rows, all revisions of them, by partition.

        Parameters
        ----------
        columns
            Which columns; all by default.
        start, end
            Event times in `[start, end)`.
        partitions, entities, version, limit
            Partition keys; a frame of entity keys; a table version; at most so many rows.
        """
        import polars as pl

        types = self.columns
        wanted = {name: types[name] for name in (columns or types)}
        files = self.files(version=version, partitions=partitions, start=start, end=end)
        inner = {**wanted, **{name: types[name] for name in (*self.keys, self.timestamp)}}
        frame = scan(files, inner)
        if start is not None:
            frame = frame.filter(pl.col(self.timestamp) >= start)
        if end is not None:
            frame = frame.filter(pl.col(self.timestamp) < end)
        if entities is not None:
            frame = frame.join(entities.lazy(), on=self.keys, how="semi", maintain_order="left")
        if limit is not None:
            frame = frame.head(limit)
        return self._arrow(frame.select(*wanted).collect())

    def rows(self, *, version: int, partitions: Sequence[str] | None = None) -> pa.Table:
        """Read keys, times and `partition` of all rows of partitions.

        Raises
        ------
        VersionExpired
            Files of that version are gone.
        """
        files = self.files(version=version, partitions=partitions)
        types = self.columns
        names = [*self.keys, self.timestamp, CREATED]
        frame = scan(files, {name: types[name] for name in names}, numbered=True).collect()
        return self._arrow(frame.select(*names, partitions_of(files, frame["__row"])))

    def newest(
        self,
        *,
        version: int,
        until: datetime,
        partitions: Sequence[str] | None = None,
        keys: pa.Table | None = None,
    ) -> pa.Table:
        """Read the newest row of each entity: greatest event, then created timestamp.

        Parameters
        ----------
        version, partitions
            The table version, and which partitions of it (all by default).
        until
            Rows with a later event time do not count.
        keys
            Only these entities.

        Returns
        -------
        Keys, both timestamps, features and `partition`, at most one row per entity.
        """
        import polars as pl

        types = self.columns
        files = self.files(version=version, partitions=partitions, end=until)
        order = [self.timestamp, CREATED]
        index = scan(files, {name: types[name] for name in (*self.keys, *order)}, numbered=True)
        index = index.filter(pl.col(self.timestamp) <= until)
        if keys is not None:
            asked = pl.DataFrame(keys).select(self.keys).unique()
            index = index.join(asked.lazy(), on=self.keys, how="semi")
        winners = (
            index.sort(*order, "__row").unique(self.keys, keep="last").select("__row").collect()
        )
        rows = winners["__row"].sort()
        found = gather(files, rows, types)
        return self._arrow(found.with_columns(partitions_of(files, rows)))

    def _arrow(self, frame: pl.DataFrame) -> pa.Table:
        fields = {field.name: field for field in self.schema.arrow}
        return frame.to_arrow().cast(pa.schema([fields[name] for name in frame.columns]))

    # Writing

    def replace(
        self,
        rows: pa.Table,
        partitions: Sequence[str] | None,
        *,
        metadata: Mapping[str, str] | None = None,
        guard: Callable[[], None] = lambda: None,
    ) -> Commit:
        """Replace whole partitions in one atomic commit.

        Parameters
        ----------
        rows
            Rows as `conform` returns them, with their `partition`. A partition without rows
            becomes empty.
        partitions
            The partitions to replace; None for all.
        metadata
            Kept with the commit: run, partition.
        guard
            Called before each attempt; what it raises stops the write.

        Raises
        ------
        WriteConflict
            Other writers won every retry.
        """
        predicate = None
        if partitions is not None:
            predicate = f"{PARTITION} IN ({', '.join(_quoted(key) for key in partitions)})"

        def guarded(_version: int) -> pa.Table:
            guard()
            return rows

        return self._write(guarded, "overwrite", predicate, metadata or {})

    def append(
        self,
        prepare: Callable[[int], pa.Table],
        *,
        metadata: Mapping[str, str] | None = None,
    ) -> Commit:
        """Append rows; appenders are serialised by the log.

        Parameters
        ----------
        prepare
            Returns the rows to append to a version of the table; called again when another
            appender was faster.
        """
        return self._write(prepare, "append", None, metadata or {})

    def _write(
        self,
        prepare: Callable[[int], pa.Table],
        mode: Any,
        predicate: str | None,
        metadata: Mapping[str, str],
    ) -> Commit:
        from deltalake import CommitProperties, Transaction, WriterProperties, write_deltalake

        commit = uuid.uuid4().hex
        for attempt in self._log.attempts():
            with attempt, self._log.lock:
                table = self._log.open()
                assert table is not None
                # Conflicts are found against this version: nothing may move the table on below.
                base = table.version()
                rows = prepare(base)
                if mode == "append" and rows.num_rows == 0:
                    return Commit(base, 0, datetime.now(UTC))
                now = datetime.now(UTC)
                turn = [Transaction(_APPENDS, base + 1)] if mode == "append" else None
                write_deltalake(
                    table,
                    self._ordered(rows, _arrow_schema(table)),
                    mode=mode,
                    predicate=predicate,
                    writer_properties=WriterProperties(
                        compression=_CODECS[self._compression],
                        compression_level=3 if self._compression == "zstd" else None,
                    ),
                    commit_properties=CommitProperties(
                        custom_metadata={
                            **metadata,
                            COMMIT: commit,
                            COMMITTED_AT: now.isoformat(),
                        },
                        app_transactions=turn,
                        max_commit_retries=50,
                    ),
                )
        version = self._log.version_of(commit)
        self._log.fsync(version)
        return Commit(version, rows.num_rows, now)

    def _ordered(self, rows: pa.Table, stored: pa.Schema) -> pa.Table:
        """Sort rows for compression and lookups; columns as the table has them."""
        for field in stored:
            if field.name not in rows.column_names:
                # A feature added by a newer declaration than this writer's.
                rows = rows.append_column(field, pa.nulls(rows.num_rows, field.type))
        order = [PARTITION, *self.keys, self.timestamp, CREATED]
        return rows.select(stored.names).sort_by([(name, "ascending") for name in order])

    # Removing

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

        gone = set(partitions)
        live = self.files(partitions=partitions)
        kept = {file.path for version in keep_versions for file in self.files(version=version)}
        paths = [Path(path) for path in self._log.ever_in(gone) if path not in kept]
        freed = [(path, path.stat().st_size) for path in paths if path.exists()]
        dropped = Dropped(
            tuple(sorted(gone)),
            sum(file.rows for file in live),
            len(freed),
            sum(size for _, size in freed),
        )
        if dry_run:
            return dropped
        predicate = f"{PARTITION} IN ({', '.join(_quoted(key) for key in sorted(gone))})"
        if live:
            for attempt in self._log.attempts():
                with attempt, self._log.lock:
                    table = self._log.open()
                    assert table is not None
                    table.delete(
                        predicate,
                        commit_properties=CommitProperties(
                            custom_metadata={COMMITTED_AT: datetime.now(UTC).isoformat()}
                        ),
                    )
                    self._log.fsync(table.version())
        for path, _ in freed:
            path.unlink(missing_ok=True)
        return dropped

    def sweep(self, *, older_than: timedelta, keep_versions: Sequence[int], dry_run: bool) -> int:
        """Remove superseded files that no kept version needs; return how many.

        Only files that the log has marked as removed go: files of writers at work are safe.
        """
        for attempt in self._log.attempts():
            with attempt, self._log.lock:
                table = self._log.open()
                if table is None:
                    return 0
                removed = table.vacuum(
                    retention_hours=int(older_than.total_seconds() // 3600),
                    enforce_retention_duration=False,
                    dry_run=dry_run,
                    full=False,
                    keep_versions=list(keep_versions) or None,
                )
        return len(removed)


_CODECS: dict[str, Any] = {
    "zstd": "ZSTD",
    "snappy": "SNAPPY",
    "gzip": "GZIP",
    "lz4": "LZ4",
    "none": "UNCOMPRESSED",
}


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _arrow_schema(table: DeltaTable) -> pa.Schema:
    exported: Any = table.schema().to_arrow()
    return pa.schema(exported)

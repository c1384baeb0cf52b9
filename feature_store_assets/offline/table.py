"""One offline table: the rows of a group's version, by entity and time."""

from __future__ import annotations

from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING

import pyarrow as pa

from feature_store_assets.declaration.slots import is_empty, stale
from feature_store_assets.offline.commit_history import SAME_ROWS, added_with, changed, last_write
from feature_store_assets.offline.delta_log import Commit, DeltaLog
from feature_store_assets.offline.evolution import evolve
from feature_store_assets.offline.scan import DataFile, gather, partitions_of, portions, scan
from feature_store_assets.offline.schema import CREATED, TableSchema
from feature_store_assets.offline.vacuum import Freed, free, sweep

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import polars as pl

    from feature_store_assets.offline.delta_log import Removed
    from feature_store_assets.storage import Location


class OfflineTable:
    """The table of one version of a feature group.

    Parameters
    ----------
    location
        The table's folder.
    schema
        Its columns as declared. Undeclared key types are taken from the stored table.
    compression
        Parquet codec of new files.
    removed
        Returns which partitions may be missing from a version, because retention removed them.
    """

    def __init__(
        self,
        location: Location,
        schema: TableSchema,
        *,
        compression: str = "zstd",
        removed: Removed = lambda _: (),
    ) -> None:
        self.location = location
        self._declared = schema
        self._log = DeltaLog(
            location, schema.owner, schema.timestamp, compression=compression, removed=removed
        )

    # Shape

    @property
    def exists(self) -> bool:
        return self._log.exists

    @cached_property
    def schema(self) -> TableSchema:
        """The columns, key types included; the table must exist."""
        return self._declared.with_key_types(self._log.schema)

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
    def slots(self) -> list[str]:
        """The feature in each slot of an online row; no name where it was dropped."""
        slots = self._declared.slots or self._declared.feature_names
        return ["" if is_empty(slot) else slot for slot in slots]

    @property
    def stale(self) -> list[str]:
        """Features whose stored column still holds a dropped feature's values: see `ensure`."""
        return stale(self._declared.slots)

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
        evolve(self._log, self._declared, self._number, incoming)
        return self.schema

    @property
    def _number(self) -> int:
        digits = self.location.uri.rpartition("/")[2].removeprefix("v")
        return int(digits) if digits.isdigit() else 1

    # Versions

    def version(self) -> int:
        """Return the newest version, looked up afresh; -1 while there is no table."""
        return self._log.version()

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
        found = self._log.files(version=version, partitions=partitions)
        return [file for file in found if file.overlaps(start, end)]

    def partitions(self, version: int | None = None) -> list[str]:
        """Return the partitions that hold rows."""
        return self._log.partitions(version)

    def last_write(self) -> datetime | None:
        """Return when rows were last written; None if they never were."""
        return last_write(self.location, self.version())

    def size(self) -> int:
        """Return the bytes that the newest version's files take."""
        return sum(file.bytes for file in self.files())

    def changes(self, since: int) -> tuple[int, dict[str, int]]:
        """Return the newest version, and the last after `since` that changed each partition."""
        newest = self.version()
        return newest, changed(self.location, since, newest)

    def portions(self, partitions: Sequence[str]) -> Iterator[list[str]]:
        """Cut partitions into portions that fit into memory, in their order."""
        rows = dict.fromkeys(partitions, 0)
        for file in self.files(partitions=partitions):
            rows[file.partition] += file.rows
        return portions(rows)

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
        frame = self._scan(
            columns or list(self.columns),
            start=start,
            end=end,
            partitions=partitions,
            entities=entities,
            version=version,
        )
        return self.arrow((frame if limit is None else frame.head(limit)).collect())

    def facts(
        self,
        features: Sequence[str] | None = None,
        *,
        revised: bool,
        start: datetime | None = None,
        end: datetime | None = None,
        partitions: Sequence[str] | None = None,
        entities: pl.DataFrame | None = None,
        version: int | None = None,
    ) -> pl.LazyFrame:
        """Scan keys, event timestamp and features: the newest revision of each fact.

        Parameters
        ----------
        features
            Which features; all by default.
        revised
            Whether a fact, (keys, event timestamp), may be stored more than once.
        start, end, partitions, entities, version
            As `read` takes them.
        """
        names = [name for name, _ in self.features] if features is None else list(features)
        fact = [*self.keys, self.timestamp]
        frame = self._scan(
            [*fact, *([CREATED] if revised else []), *names],
            start=start,
            end=end,
            partitions=partitions,
            entities=entities,
            version=version,
        )
        if revised:
            ordered = frame.sort(CREATED, maintain_order=True)
            frame = ordered.unique(fact, keep="last", maintain_order=True).drop(CREATED)
        return frame

    def _scan(
        self,
        columns: Sequence[str],
        *,
        start: datetime | None,
        end: datetime | None,
        partitions: Sequence[str] | None,
        entities: pl.DataFrame | None,
        version: int | None,
    ) -> pl.LazyFrame:
        import polars as pl

        types = self.columns
        wanted = {name: types[name] for name in columns}
        files = self.files(version=version, partitions=partitions, start=start, end=end)
        inner = {**wanted, **{name: types[name] for name in (*self.keys, self.timestamp)}}
        frame = scan(files, inner)
        if start is not None:
            frame = frame.filter(pl.col(self.timestamp) >= start)
        if end is not None:
            frame = frame.filter(pl.col(self.timestamp) < end)
        if entities is not None:
            frame = frame.join(entities.lazy(), on=self.keys, how="semi", maintain_order="left")
        return frame.select(*wanted)

    def rows(
        self,
        *,
        version: int,
        partitions: Sequence[str] | None = None,
        columns: Sequence[str] | None = None,
    ) -> pa.Table:
        """Read columns (keys and times by default) and `partition` of all rows of partitions.

        Raises
        ------
        VersionExpired
            Files of that version are gone.
        """
        files = self.files(version=version, partitions=partitions)
        types = self.columns
        names = columns or [*self.keys, self.timestamp, CREATED]
        frame = scan(files, {name: types[name] for name in names}, numbered=True).collect()
        return self.arrow(frame.select(*names, partitions_of(files, frame["__row"])))

    def newest(
        self,
        *,
        version: int,
        until: datetime,
        partitions: Sequence[str] | None = None,
        keys: pa.Table | None = None,
        columns: Sequence[str] | None = None,
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
        columns
            Which features; all by default.

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
        features = [name for name, _ in self.features] if columns is None else columns
        wanted = [*self.keys, *order, *features]
        found = gather(files, rows, {name: types[name] for name in wanted})
        return self.arrow(found.with_columns(partitions_of(files, rows)))

    def arrow(self, frame: pl.DataFrame) -> pa.Table:
        """Return columns of the table as Arrow, typed as they are declared."""
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

        def guarded(_version: int) -> pa.Table:
            guard()
            return rows

        return self._log.commit(
            guarded,
            mode="overwrite",
            partitions=partitions,
            order=self._order,
            metadata=metadata,
        )

    def rewrite(
        self,
        prepare: Callable[[int], pa.Table],
        partitions: Sequence[str],
        *,
        metadata: Mapping[str, str],
    ) -> Commit:
        """Replace whole partitions by what is made of a version of the table; one commit.

        Parameters
        ----------
        prepare
            Returns the rows, with their `partition`, given the version that they are written
            upon; called again when another writer was faster. What it raises stops the write.
        partitions
            The partitions to replace.
        metadata
            Kept with the commit: `left_by` finds it.
        """
        return self._log.commit(
            prepare, mode="overwrite", partitions=partitions, order=self._order, metadata=metadata
        )

    def left_by(self, metadata: Mapping[str, str]) -> set[str]:
        """Return the partitions that hold just what commits with such metadata wrote."""
        wrote = added_with(self.location, metadata)
        files = self.files() if wrote else []
        others = {file.partition for file in files if file.path not in wrote}
        return {file.partition for file in files} - others

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
        return self._log.commit(prepare, mode="append", order=self._order, metadata=metadata)

    @property
    def _order(self) -> list[str]:
        return [*self.keys, self.timestamp, CREATED]

    # Removing

    def remove(self, partitions: Sequence[str]) -> int:
        """Remove whole partitions, rewriting nothing; return the version without them."""
        return self._log.remove(partitions)

    def free(self, removed: Mapping[str, int], *, keep_versions: Sequence[int]) -> Freed:
        """Remove from disk what partitions held before they were removed.

        Parameters
        ----------
        removed
            Partition to the version without it. What was written to it later stays.
        keep_versions
            Versions that snapshots pin: their files stay.
        """
        return free(self.location, removed, keep=self._log.files_of(keep_versions))

    def sweep(self, *, oldest: int, keep_versions: Sequence[int], dry_run: bool) -> Freed:
        """Remove files that no version from `oldest` on and no kept one needs.

        What killed writers left goes as well, once no run can be that old.
        """
        if not self.exists:
            return Freed(0, 0)
        keep = self._log.files_of(keep_versions)
        return sweep(self.location, oldest=oldest, keep=keep, dry_run=dry_run)

    def compact(self, partitions: Sequence[str]) -> Commit:
        """Write each partition's rows into one file again, in order; one commit, equal rows.

        What others append meanwhile stays beside it.
        """

        def prepare(version: int) -> pa.Table:
            return self.rows(version=version, partitions=partitions, columns=list(self.columns))

        return self.rewrite(prepare, partitions, metadata={SAME_ROWS: "true"})

"""Archives: groups as plain Parquet files in a folder, which says itself what it holds.

Any tool reads the files; `archive.json`, which is written last, names each with its digest. A
folder without it is an unfinished export. docs/archives.md describes the format field by field.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from feature_store_assets.declaration.group import FeatureGroup
from feature_store_assets.declaration.types import arrow_type
from feature_store_assets.declaration.view import FeatureView
from feature_store_assets.errors import ArchiveUnusable, DataError, WriteRefused
from feature_store_assets.offline.digest import TableDigest
from feature_store_assets.offline.schema import PARTITION, TableSchema, conform
from feature_store_assets.progress import each_file
from feature_store_assets.storage import location
from feature_store_assets.storage.folder import UNFINISHED
from feature_store_assets.storage.sealed_json import read_sealed
from feature_store_assets.storage.untrusted import (
    UNSOUND,
    check_file,
    check_paths,
    read_file,
)
from feature_store_assets.transfer.registry_state import read_state

FORMAT, VERSION = "feature-store archive", 1
MANIFEST, REGISTRY = "archive.json", "registry.json"
# Where an unfinished export keeps what was asked, and which files are whole.
_PLAN, _FINISHED = "export.json", "finished.jsonl"
# How many files are read or written side by side: each is a whole partition in memory.
THREADS = 2
# How many rows are written, committed or published between two reports; a larger partition is
# one report by itself.
ROWS_AT_ONCE = 1_000_000


class ArchivedFile(msgspec.Struct, frozen=True):
    """The rows of one partition.

    Attributes
    ----------
    path
        Below the archive's folder, with slashes.
    sha256
        Of the file's bytes.
    columns
        The digest of each column's values, whatever file holds them; see `offline.digest`.
    """

    path: str
    partition: str
    rows: int
    bytes: int
    sha256: str
    columns: dict[str, str]


class ArchivedGroup(msgspec.Struct, frozen=True, dict=True):
    """One version of a group.

    Attributes
    ----------
    table_version
        The version of the table that was exported; None if the group held no rows.
    definition
        As `FeatureGroup.to_json` writes it.
    columns
        Every column but the partition, name -> declared type; empty without a table.
    files
        One for each partition that holds rows, by partition.
    """

    name: str
    version: int
    table_version: int | None
    definition: dict[str, Any]
    columns: dict[str, str]
    rows: int
    bytes: int
    files: list[ArchivedFile]

    @cached_property
    def group(self) -> FeatureGroup:
        """The group as it was declared."""
        return FeatureGroup.from_json(self.definition)

    @property
    def place(self) -> tuple[str, int]:
        return self.name, self.version

    @property
    def called(self) -> str:
        """Name and version in one: `spend v1`."""
        return f"{self.name} v{self.version}"

    @cached_property
    def schema(self) -> TableSchema:
        """The columns as the files have them: the created timestamp under its own name."""
        types = pa.schema([(name, arrow_type(kind)) for name, kind in self.columns.items()])
        return replace(TableSchema.of(self.group).with_key_types(types), created=None)


class Kept(msgspec.Struct, frozen=True):
    """A file beside the rows."""

    path: str
    bytes: int
    sha256: str


class Range(msgspec.Struct, frozen=True):
    """Event times in `[start, end)`, as ISO 8601 in UTC; None for no bound."""

    start: datetime | None = None
    end: datetime | None = None

    @property
    def everything(self) -> bool:
        return self.start is None and self.end is None

    def holds(self, times: pa.ChunkedArray[Any]) -> Any:
        """Return which timestamps lie within, as an Arrow array of booleans."""
        inside: Any = pa.chunked_array([pa.repeat(True, len(times))], pa.bool_())
        if self.start is not None:
            inside = pc.and_(inside, pc.greater_equal(times, pa.scalar(self.start, times.type)))
        if self.end is not None:
            inside = pc.and_(inside, pc.less(times, pa.scalar(self.end, times.type)))
        return inside


class What(msgspec.Struct, frozen=True):
    """What was asked for: groups and views by name, a snapshot, or neither for all there is."""

    features: list[str] | None = None
    snapshot: str | None = None


class Manifest(msgspec.Struct, frozen=True):
    """What `archive.json` says.

    Attributes
    ----------
    range
        Which event times were exported.
    packages
        Versions of Python and of what wrote the files.
    views
        Definitions, as `FeatureView.to_json` writes them.
    snapshot
        The manifest of the snapshot that was exported, if one was.
    registry
        What the registry knows of these groups and views: history, stages, statistics.
    digest
        SHA-256 of all the rest, in canonical JSON: it names the archive.
    """

    format: str
    version: int
    exported_at: datetime
    what: What
    range: Range
    packages: dict[str, str]
    groups: list[ArchivedGroup]
    views: list[dict[str, Any]]
    snapshot: dict[str, Any] | None
    registry: Kept
    digest: str


class _Held(msgspec.Struct, frozen=True):
    """What an import takes of the manifest of a snapshot."""

    name: str
    description: str
    created_by: str
    tags: dict[str, str]
    view: dict[str, Any] | None = None


def local_folder(place: str | Path) -> Path:
    """Return the folder of an archive.

    Raises
    ------
    DataError
        It names an object store.
    ConfigError
        It names nothing that this code knows.
    """
    found = location(place)
    if found.local is None:
        raise DataError(
            f"An archive lies in a folder, and '{found.shown}' is none: copy it by the "
            f"cloud's own tools."
        )
    return found.local if "://" in str(place) else Path(place)


class Archive:
    """An archive in a folder.

    Parameters
    ----------
    path
        The folder.

    Raises
    ------
    ArchiveUnusable
        It holds no archive, an unfinished one, or one of a format that this code cannot read.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = local_folder(path)
        self._place = location(path)
        self.manifest = self._read()

    @property
    def digest(self) -> str:
        """The SHA-256 that names the archive."""
        return self.manifest.digest

    @property
    def views(self) -> list[FeatureView]:
        """The views as they were declared."""
        return [FeatureView.from_json(each) for each in self.manifest.views]

    @cached_property
    def state(self) -> dict[str, Any]:
        """What the registry knew, as `registry_state` exports it.

        Raises
        ------
        ArchiveUnusable
            It is not sound.
        """
        name = self.manifest.registry.path
        try:
            found: dict[str, Any] = read_file(self.path / name)
            read_state(found)
        except UNSOUND as why:
            raise ArchiveUnusable(str(self.path), [f"{name} is not sound: {why}"]) from None
        return found

    def verify(self) -> int:
        """Compare all that the archive holds with its digests; return how many files there are.

        Each file's bytes, columns, types and values; that rows have keys, are unique, and lie in
        the archive's range and in their partition.

        Raises
        ------
        ArchiveUnusable
            Naming the files that are missing or other than they were written.
        """
        of = {file.path: group for group in self.manifest.groups for file in group.files}
        every = [file for group in self.manifest.groups for file in group.files]
        found = each_file(
            "Verifying the archive",
            every,
            lambda file: self._problem(of[file.path], file),
            threads=THREADS,
        )
        problems = [each for each in (*found, self._changed(self.manifest.registry)) if each]
        if problems:
            raise ArchiveUnusable(str(self.path), problems)
        _ = self.state
        return len(every) + 1

    def rows(self, group: ArchivedGroup, partitions: Iterable[str]) -> pa.Table:
        """Return rows of partitions as a table stores them, with their `partition`."""
        chosen = set(partitions)
        parts = [self._table(group, file) for file in group.files if file.partition in chosen]
        return pa.concat_tables(parts)

    # Reading

    def _read(self) -> Manifest:
        try:
            content = read_sealed(self._place, MANIFEST, FORMAT, VERSION)
            return _sound(msgspec.convert(content, Manifest))
        except FileNotFoundError:
            why, hint = f"it has no {MANIFEST}", "Name the folder of an archive."
            if (self.path / _PLAN).exists():
                why, hint = "its export is unfinished", "Run that export again, it goes on."
            raise ArchiveUnusable(str(self.path), [why], hint) from None
        except UNSOUND as why:
            problem = f"{MANIFEST} is not sound: {why}"
            raise ArchiveUnusable(str(self.path), [problem]) from None

    def _problem(self, group: ArchivedGroup, file: ArchivedFile) -> str:
        if told := self._changed(file):
            return told
        try:
            table = self._table(group, file)
            conform(table, group.schema, written=datetime.now(UTC))
        except (*UNSOUND, pa.ArrowException) as error:
            return f"{file.path} is not sound ({error})"
        if (table.num_rows, digested(table)) != (file.rows, file.columns):
            return f"{file.path} holds other values than {MANIFEST} says"
        elsewhere = pc.unique(table[PARTITION]).to_pylist() != [file.partition]
        inside = pc.all(self.manifest.range.holds(table[group.schema.timestamp])).as_py()
        if elsewhere or inside is False:
            return f"{file.path} holds rows of another partition or range"
        return ""

    def _changed(self, file: ArchivedFile | Kept) -> str:
        """Return in what a file's bytes are not those that were written."""
        if not (self.path / file.path).resolve().is_relative_to(self.path.resolve()):
            return f"'{file.path}' lies outside the archive"
        size = self._place.size(file.path)
        if size is None:
            return f"{file.path} is missing"
        if size != file.bytes:
            return f"{file.path} has {size} bytes instead of {file.bytes}"
        return "" if self._place.digest(file.path) == file.sha256 else f"{file.path} was changed"

    def _table(self, group: ArchivedGroup, file: ArchivedFile) -> pa.Table:
        import pyarrow.parquet as pq

        wanted = group.schema.arrow
        with pq.ParquetFile(self.path / file.path) as opened:
            table = opened.read()
        if table.schema.names != wanted.names:
            raise KeyError(f"its columns are {', '.join(table.schema.names)}")
        if table.schema.types != wanted.types:
            raise KeyError("its columns have other types")
        return table.cast(wanted)


def _sound(manifest: Manifest) -> Manifest:
    """Return a manifest whose definitions can be read; ValueError and others if they cannot."""
    times = (manifest.exported_at, manifest.range.start, manifest.range.end)
    if any(each is not None and each.tzinfo is None for each in times):
        raise ValueError("a time in it has no time zone")
    if manifest.snapshot is not None:
        msgspec.convert(manifest.snapshot, _Held)
    for each in manifest.groups:
        if (each.group.name, each.group.version) != each.place:
            raise ValueError(f"{each.called} is defined under another name")
        if each.files:
            _ = each.schema.arrow
    named = [each.called for each in manifest.groups]
    named += [f"partition {f.partition} of {g.called}" for g in manifest.groups for f in g.files]
    for name, count in Counter(named).items():
        if count > 1:
            raise ValueError(f"{name} is named twice")
    files: list[ArchivedFile | Kept] = [file for each in manifest.groups for file in each.files]
    files.append(manifest.registry)
    for file in files:
        check_file(file.bytes, file.sha256, file.path)
    check_paths((file.path for file in files), "the archive")
    for view in manifest.views:
        FeatureView.from_json(view)
    return manifest


def digested(table: pa.Table) -> dict[str, str]:
    """Return the digest of each column's values."""
    digest = TableDigest(table.schema)
    digest.update(table)
    return digest.columns()


# What an export that is not finished keeps in its folder


class Plan(msgspec.Struct, frozen=True):
    """What `export.json` says.

    Attributes
    ----------
    groups
        As the manifest will have them, still without their files.
    """

    format: str
    version: int
    what: What
    range: Range
    pin: str
    groups: list[ArchivedGroup]
    views: list[dict[str, Any]]
    snapshot: dict[str, Any] | None


class Target:
    """The folder of an export.

    Parameters
    ----------
    path
        It need not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.place = location(path)

    @property
    def is_whole(self) -> bool:
        """Whether the archive is written."""
        return (self.path / MANIFEST).exists()

    @property
    def plan(self) -> Plan | None:
        """What is being exported into it; None if nothing is."""
        try:
            plan = msgspec.json.decode(self.place.read(_PLAN), type=Plan)
        except (OSError, msgspec.DecodeError):
            return None
        # Before schema 0010 the registry had the kind of an owner in its name.
        return msgspec.structs.replace(plan, pin=plan.pin.removeprefix("export:"))

    def begin(self, plan: Plan) -> None:
        """Say what is exported into it."""
        self.place.write(_PLAN, msgspec.json.encode(plan))
        self.place.sync()

    def check_free(self) -> None:
        """Refuse a folder that holds anything but what a killed export leaves."""
        if self.path.is_file():
            raise WriteRefused(f"'{self.path}' is a file: name a folder for the archive.")
        names = self.place.names()
        if _PLAN in names:
            if self.plan is None:
                raise WriteRefused(f"'{self.path / _PLAN}' cannot be read. Take another folder.")
        elif MANIFEST in names:
            raise WriteRefused(f"'{self.path}' holds an archive already. Take another folder.")
        elif any(not each.startswith(f"{_PLAN}.") for each in names):
            raise WriteRefused(f"'{self.path}' is not empty. Take another folder, or empty it.")

    def note(self, files: Sequence[ArchivedFile]) -> None:
        """Note files as finished, once they and their names are on the disk."""
        self.place.sync()
        with (self.path / _FINISHED).open("ab") as notes:
            notes.writelines(msgspec.json.encode(file) + b"\n" for file in files)
            notes.flush()
            os.fsync(notes.fileno())

    @property
    def finished(self) -> dict[str, ArchivedFile]:
        """The files that were on the disk before they were noted; a torn last line is none."""
        place = self.path / _FINISHED
        found = {}
        for line in place.read_bytes().splitlines(keepends=True) if place.exists() else ():
            if line.endswith(b"\n"):
                file = msgspec.json.decode(line, type=ArchivedFile)
                found[file.path] = file
        return found

    def clear(self) -> None:
        """Remove what an export wrote of which nothing can be used."""
        shutil.rmtree(self.path / "data", ignore_errors=True)
        self.place.delete([_FINISHED, REGISTRY])

    def close(self) -> None:
        """Leave nothing but the archive."""
        for part in self.path.rglob(f"*{UNFINISHED}"):  # of a run that was killed
            part.unlink()
        self.place.delete([_FINISHED, _PLAN])
        self.place.sync()

"""Exports: groups, whole or over a range, into an archive.

What a killed export leaves is its folder with `export.json` (what was asked, which table versions
are exported), `finished.jsonl` (which files are whole) and a pin of these versions, so that
retention keeps their files. The same question goes on from there.
"""

from __future__ import annotations

import json
import socket
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pyarrow as pa

from feature_store_assets.declaration.group import FeatureGroup
from feature_store_assets.declaration.instants import bounds
from feature_store_assets.declaration.view import FeatureView
from feature_store_assets.errors import DataError, VersionExpired, WriteConflict, WriteRefused
from feature_store_assets.offline.scan import DataFile, portions, scan
from feature_store_assets.offline.schema import PARTITION
from feature_store_assets.progress import Told, progress
from feature_store_assets.registry.audit import append
from feature_store_assets.registry.leases import Leases
from feature_store_assets.registry.pins import pin, release
from feature_store_assets.registry.removed_partitions import floor_of
from feature_store_assets.snapshots.manifest import packages
from feature_store_assets.storage.sealed_json import write_sealed
from feature_store_assets.transfer.archive import (
    FORMAT,
    MANIFEST,
    REGISTRY,
    ROWS_AT_ONCE,
    THREADS,
    VERSION,
    Archive,
    ArchivedFile,
    ArchivedGroup,
    Kept,
    Manifest,
    Plan,
    Range,
    Target,
    What,
    digested,
)
from feature_store_assets.transfer.registry_state import export_state

if TYPE_CHECKING:
    from feature_store_assets.offline.table import OfflineTable
    from feature_store_assets.parts import Parts

_ATTEMPTS = 5


@dataclass(frozen=True)
class Counted:
    """What an archive holds of one group."""

    feature_group: str
    version: int
    partitions: int
    rows: int
    bytes: int


@dataclass(frozen=True)
class Exported:
    """A finished archive.

    Attributes
    ----------
    digest
        Names the archive; the audit log keeps it.
    reused
        How many files a run that was killed had finished.
    """

    path: Path
    digest: str
    groups: tuple[Counted, ...]
    reused: int


@dataclass(frozen=True)
class Exporting:
    """Exports from a store."""

    parts: Parts

    def export(
        self,
        target: Path,
        features: Any = None,
        *,
        snapshot: str | None = None,
        start: datetime | None = None,
        end: datetime | None = None,
        told: Told = lambda _: None,
    ) -> Exported:
        """Write an archive, or go on with one whose export was killed.

        Parameters
        ----------
        target
            A folder that is empty, not there yet, or holds an unfinished export of the same.
        features, snapshot
            Groups and views, by name or as declared; or a snapshot's name; by default every
            version of every group, and all views.
        start, end
            Event times in `[start, end)`; naive ones mean local time.
        told
            Hears of each portion that is on the disk.

        Raises
        ------
        WriteRefused
            The folder holds something else, or another process exports into it.
        """
        if features is not None and snapshot is not None:
            raise DataError("Export features, or a snapshot: not both.")
        what = What(None if features is None else _names(features), snapshot)
        within = Range(*bounds(start=start, end=end))
        if not within.everything and start is not None and end is not None and end <= start:
            raise DataError("The range is empty: its end is not after its start.")
        into = Target(target)
        # As long as a name of a lease may be.
        with Leases(self.parts.database).hold(f"export to {target.resolve()}"[-260:]) as lease:
            plan, finished = self._begun(into, what, within, features)
            reused = len(finished)
            if not into.is_whole:
                manifest = self._written(into, plan, finished, told)
                lease.check()
                write_sealed(into.place, MANIFEST, msgspec.to_builtins(manifest))
            archive = Archive(target)
            self._record(archive, plan)
            into.close()
        groups = tuple(
            Counted(each.name, each.version, len(each.files), each.rows, each.bytes)
            for each in archive.manifest.groups
        )
        return Exported(target, archive.digest, groups, reused)

    # What is exported

    def _chosen(self, features: Any) -> tuple[list[FeatureGroup], list[FeatureView]]:
        if features is None:
            rows = export_state(self.parts.database)["parts"]["declarations"]
            told = [json.loads(row["definition"]) for row in rows if row["kind"] == "group"]
            return [FeatureGroup.from_json(each) for each in told], self.parts.applied.views()
        resolved = [self.parts.applied.resolve(each) for each in _listed(features)]
        groups = {
            (part.group.name, part.group.version): part.group
            for each in resolved
            for part in each.parts
        }
        return list(groups.values()), [each.view for each in resolved if each.view is not None]

    def _begun(
        self, target: Target, what: What, within: Range, features: Any
    ) -> tuple[Plan, dict[str, ArchivedFile]]:
        """Return what is to be written and what is written already, the versions pinned."""
        target.check_free()
        self._clean()
        plan = target.plan
        if plan is not None:
            if (plan.what, plan.range) != (what, within):
                raise WriteRefused(
                    f"'{target.path}' holds an unfinished export of "
                    f"{_asked(plan.what, plan.range)}, not of {_asked(what, within)}. Export that "
                    f"again to finish it, or take another folder."
                )
            if target.is_whole or self._is_pinned(plan.pin):
                return plan, target.finished
            # Killed before it had pinned anything, or somebody let go of what it had.
            target.clear()
        for _ in range(_ATTEMPTS):
            with suppress(VersionExpired):
                return self._planned(target, what, within, features), {}
        raise WriteConflict(str(target.path), _ATTEMPTS)

    def _planned(self, target: Target, what: What, within: Range, features: Any) -> Plan:
        held: dict[str, Any] | None = None
        if what.snapshot is None:
            chosen, declared = self._chosen(features)
            pinned = [(group, self._version(group)) for group in chosen]
            views = [each.to_json() for each in declared]
        else:
            held = self.parts.snapshots.table.manifest(what.snapshot)
            pinned = [(self._defined(each), each["table_version"]) for each in held["groups"]]
            views = [] if held.get("view") is None else [held["view"]]
        groups = [
            ArchivedGroup(
                group.name, group.version, version, group.to_json(),
                {} if version is None else self.parts.table(group).columns, 0, 0, [],
            )
            for group, version in pinned
        ]  # fmt: skip
        plan = Plan(FORMAT, VERSION, what, within, str(uuid.uuid4()), groups, views, held)
        # First the file, by which others know that the pin has an owner.
        target.begin(plan)
        self._pin(target.path, plan)
        return plan

    def _version(self, group: FeatureGroup) -> int | None:
        table = self.parts.table(group)
        return table.version() if table.exists else None

    def _defined(self, held: dict[str, Any]) -> FeatureGroup:
        """Return a group of a snapshot as it was declared, if the snapshot still tells that."""
        definition = held.get("definition")
        if definition is None:
            return self.parts.applied.group(held["group"], held["version"])
        return FeatureGroup.from_json(definition)

    # Pins

    def _pin(self, target: Path, plan: Plan) -> None:
        versions = [
            (each.name, each.version, each.table_version)
            for each in plan.groups
            if each.table_version is not None
        ]
        with self.parts.database.write() as connection:
            for group, number, version in versions:
                # What a snapshot pins is there, however old it is.
                if plan.snapshot is None and version < floor_of(connection, group, number):
                    raise VersionExpired(group, version)
            if versions:
                pin(
                    connection,
                    plan.pin,
                    versions,
                    kind="export",
                    description=f"{socket.gethostname()}:{target.resolve()}",
                    created_by=self.parts.database.actor.name,
                )
        if plan.what.snapshot is not None:
            try:  # and was there when it was pinned, if it still is
                self.parts.snapshots.pins.of(plan.what.snapshot)
            except KeyError:
                self.parts.snapshots.pins.remove(plan.pin, "export")
                raise

    def _is_pinned(self, name: str) -> bool:
        every = self.parts.snapshots.pins.all()
        return any((each.owner_kind, each.owner) == ("export", name) for each in every)

    def _clean(self) -> None:
        """Let go of what exports on this host pinned whose folders are gone."""
        every = self.parts.snapshots.pins.all()
        exports = {each.owner: each.description for each in every if each.owner_kind == "export"}
        for name, description in exports.items():
            host, _, path = description.partition(":")
            if host != socket.gethostname():
                continue
            plan = Target(Path(path)).plan
            if plan is None or plan.pin != name:
                self.parts.snapshots.pins.remove(name, "export")

    # Writing

    def _written(
        self, target: Target, plan: Plan, finished: dict[str, ArchivedFile], told: Told
    ) -> Manifest:
        """Write all but the manifest; return that."""
        groups = []
        for each in plan.groups:
            files = list(self._exported(target, plan, each, finished, told))
            rows, size = sum(file.rows for file in files), sum(file.bytes for file in files)
            groups.append(msgspec.structs.replace(each, rows=rows, bytes=size, files=files))
        kept = self._keep_registry(target, groups, plan.views)
        return Manifest(
            FORMAT, VERSION, datetime.now(UTC), plan.what, plan.range, packages(), groups,
            plan.views, plan.snapshot, kept, "",
        )  # fmt: skip

    def _exported(
        self,
        target: Target,
        plan: Plan,
        group: ArchivedGroup,
        finished: dict[str, ArchivedFile],
        told: Told,
    ) -> Iterator[ArchivedFile]:
        """Write the files of one group, some partitions at a time, and return all of them."""
        table = self.parts.table(group.group)
        by_partition: dict[str, list[DataFile]] = {}
        if group.table_version is not None:
            start, end = plan.range.start, plan.range.end
            for file in table.files(version=group.table_version, start=start, end=end):
                by_partition.setdefault(file.partition, []).append(file)
        folder = f"data/{group.name}/v{group.version}"
        paths = {key: f"{folder}/{at:05d}.parquet" for at, key in enumerate(sorted(by_partition))}
        open_ = {
            key: sum(file.rows for file in by_partition[key])
            for key, path in paths.items()
            if path not in finished
        }
        write = partial(self._write_one, target, plan, table)
        with (
            progress(f"Exporting {group.called}", lambda: len(paths)) as advance,
            ThreadPoolExecutor(THREADS) as threads,
        ):
            advance(len(paths) - len(open_))
            for portion in portions(open_, ROWS_AT_ONCE):
                done = list(threads.map(lambda key: write(paths[key], by_partition[key]), portion))
                target.note(done)
                finished |= {file.path: file for file in done}
                told(f"'{group.name}': {len(portion)} partitions exported.")
                advance(len(portion))
        yield from (finished[path] for path in paths.values() if finished[path].rows)

    def _write_one(
        self, target: Target, plan: Plan, table: OfflineTable, path: str, files: Sequence[DataFile]
    ) -> ArchivedFile:
        import pyarrow.parquet as pq

        key = files[0].partition
        rows = table.arrow(scan(files, table.columns).collect())
        rows = rows.filter(plan.range.holds(rows[table.timestamp]))
        if len(files) > 1:
            order = [*table.keys, table.timestamp, table.created]
            rows = rows.sort_by([(name, "ascending") for name in order])
        # Beside the manifest, each row says its partition itself: any tool reads it.
        said: Any = pa.repeat(key, rows.num_rows)
        rows = rows.append_column(PARTITION, said).combine_chunks()
        if not rows.num_rows:
            return ArchivedFile(path, key, 0, 0, "", {})
        with target.place.create(path) as sink:
            pq.write_table(rows, sink, compression="zstd")
        written = sink.written
        return ArchivedFile(
            path, key, rows.num_rows, written.size, written.sha256, digested(rows)
        )  # fmt: skip

    def _keep_registry(
        self, target: Target, groups: Sequence[ArchivedGroup], views: Sequence[dict[str, Any]]
    ) -> Kept:
        """Write what the registry knows of groups and views, and of partitions that are whole."""
        state = export_state(self.parts.database)
        named = {(*("group", *each.place), each.group.hash) for each in groups}
        declared = [FeatureView.from_json(each) for each in views]
        named |= {("view", each.name, 1, each.hash) for each in declared}
        rows = state["parts"]
        declarations = [
            row
            for row in rows["declarations"]
            if (row["kind"], row["name"], row["version"], row["hash"]) in named
        ]
        places = {(row["kind"], row["name"], row["version"]) for row in declarations}

        def known(row: dict[str, Any]) -> bool:
            kind, name = row["kind"], row["name"]
            if kind == "feature":
                kind, name = "group", name.partition(".")[0]
            return (kind, name, row["version"]) in places

        held = {(*each.place, file.partition): file.rows for each in groups for file in each.files}
        keep = {
            "declarations": declarations,
            "history": [row for row in rows["history"] if known(row)],
            "stages": [row for row in rows["stages"] if known(row)],
            "statistics": [
                row
                for row in rows["statistics"]
                if held.get((row["feature_group"], row["group_version"], row["partition"]))
                == row["rows"]
            ],
        }
        parts = {name: keep.get(name, []) for name in rows}
        write_sealed(target.place, REGISTRY, {**state, "parts": parts, "audit": []})
        size = target.place.size(REGISTRY) or 0
        return Kept(REGISTRY, size, target.place.digest(REGISTRY))

    def _record(self, archive: Archive, plan: Plan) -> None:
        """Record the export and let go of what it pinned, at once."""
        groups = {
            each.called: {"partitions": len(each.files), "rows": each.rows}
            for each in archive.manifest.groups
        }
        told = {"digest": archive.digest, "groups": groups, "snapshot": plan.what.snapshot or ""}
        pinned = any(each.table_version is not None for each in plan.groups)
        with self.parts.database.write() as connection:
            gone = release(connection, plan.pin, "export")
            if gone or not pinned:  # else a run that was killed had come as far
                append(connection, "export", "archive", told)


def _listed(features: Any) -> list[Any]:
    single = isinstance(features, str) or not hasattr(features, "__iter__")
    return [features] if single else list(features)


def _names(features: Any) -> list[str]:
    """Return what groups and views are called, as `archive.json` tells it."""
    return [
        f"{each.name} v{each.version}"
        if isinstance(each, FeatureGroup)
        else each.name
        if isinstance(each, FeatureView)
        else str(each)
        for each in _listed(features)
    ]


def _asked(what: What, within: Range) -> str:
    """Say in words what is exported."""
    if what.snapshot is not None:
        named = f"snapshot '{what.snapshot}'"
    else:
        named = "the whole store" if what.features is None else ", ".join(what.features)
    if within.everything:
        return named
    start, end = (each.isoformat() if each else "..." for each in (within.start, within.end))
    return f"{named} from {start} to {end}"

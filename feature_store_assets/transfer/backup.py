"""Backups: all that a store is, consistent, while everybody goes on writing.

Why a backup is whole
---------------------
*Tables are cut off at a version.* Log entries and data files never change, so that a table can be
copied as it was at a version long after others have committed more. What has to agree is which
version of each table goes with which state of the registry.

*One moment decides both.* Within one write transaction of the registry, which no other writer of
it interleaves with, the backup looks up the newest version V of every table, pins these, and opens
the reading transaction by which the registry is dumped afterwards. Writers of the registry wait
for that look alone; writers of tables never wait. It follows that

- whatever the dump says of table versions (pins, floors, removals, statistics) was recorded
  before the look, after the commit it speaks of: it is no newer than V;
- whatever must be recorded before a commit (that retention is about to remove partitions) is in
  the dump for every commit up to V;
- the folder of each recorded training set is there: it gets its name before it is recorded.

*The pins hold the files.* Retention and sweeps keep what V and the recorded snapshots need. If a
snapshot is deleted meanwhile, its files may go: then the moment is chosen anew, and what was
copied need not be copied again. Files that only time travel needs are copied while they are there.

*The online store is copied before that moment.* So it knows of no version beyond V, whose rows a
restored table could never contradict. What was committed and published since is published again
by the restore, see there.

*The manifest comes last.* What a killed backup copied is not named by any, and its pins are taken
back by the next backup: a lease of the registry tells leftovers from a backup under way.

*Nothing good is pushed out.* A store that lost its registry or a table since the last backup is
refused before anything is written, see `store_integrity`; `backup_repository` says what is
removed.
"""

from __future__ import annotations

import secrets
import shutil
import subprocess
import sys
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa

from feature_store_assets.errors import DataError, StorageUnusable, WriteConflict, WriteRefused
from feature_store_assets.progress import Told, each_file
from feature_store_assets.registry.audit import append
from feature_store_assets.registry.database import SCHEMAS, pins
from feature_store_assets.registry.leases import Leases
from feature_store_assets.registry.pins import pin, unpin
from feature_store_assets.snapshots.manifest import packages
from feature_store_assets.storage import Location, location
from feature_store_assets.storage.file_writer import Written
from feature_store_assets.transfer.backup_inventory import (
    Wanted,
    loose,
    place_of,
    present,
    table_files,
    training_set,
    versions,
)
from feature_store_assets.transfer.backup_repository import (
    CONTENT,
    FORMAT,
    VERSION,
    Manifest,
    OnlineCopy,
    StoredFile,
    check_owner,
    clear,
    damaged,
    forget,
    manifests,
    mark,
    mark_owner,
    note,
    stored_sizes,
    write_manifest,
)
from feature_store_assets.transfer.registry_dump import Dumped, dump
from feature_store_assets.transfer.store_integrity import (
    BACKUP,
    Known,
    check_root,
    check_tables,
    known_to,
)

if TYPE_CHECKING:
    from feature_store_assets.parts import Parts

_SCRATCH = ".backup"
_ATTEMPTS = 5
# LMDB forbids a second environment of a path in a process, and the store may have the first.
_COPY = """
import lmdb, sys
for _ in range(100):
    try:
        with lmdb.open(sys.argv[1], readonly=True, max_readers=512) as store:
            store.copy(sys.argv[2], compact=True)
        break
    except lmdb.MapResizedError:
        continue
else:
    sys.exit("it grows too fast")
"""


@dataclass(frozen=True)
class BackedUp:
    """A finished backup.

    Attributes
    ----------
    files, bytes
        What it holds.
    copied, bytes_copied
        What of it no backup at the target had before.
    removed
        The backups that were removed, as `keep` asks.
    lost
        Files that the store itself had lost, for which nothing can be done here.
    mended
        Files that were gone or damaged at the target, and were copied again.
    """

    id: str
    created_at: datetime
    files: int
    bytes: int
    copied: int
    bytes_copied: int
    removed: tuple[str, ...]
    lost: tuple[str, ...]
    mended: tuple[str, ...]


@dataclass(frozen=True)
class _Plan:
    """What a backup holds, as decided at one moment."""

    tables: dict[str, int]
    store: str
    wanted: list[Wanted]
    lost: list[str]


class _Gone(Exception):
    """Files went away that the backup needs: their paths are its arguments."""


def back_up(
    parts: Parts, target: str | Path, *, keep: int | None = None, told: Told = lambda _: None
) -> BackedUp:
    """Write a backup, only what is new since the one before; readers and writers go on.

    Parameters
    ----------
    target
        A folder outside the data root, or the URL of an object store.
    keep
        How many backups stay; all by default.
    told
        Hears how it goes.

    Raises
    ------
    WriteRefused
        Another backup of this store is under way.
    BackupRefused
        The target is not this store's, or the store has lost a part that it had in the last
        backup: nothing was written or removed.
    WriteConflict
        Files went away at each attempt.
    """
    if keep is not None and keep < 1:
        raise DataError(f"keep={keep} would keep no backup: keep 1 or more.")
    root, database, place = parts.config.root, parts.database, location(target)
    if place.local is not None and place.local.resolve().is_relative_to(root.resolve()):
        raise DataError(f"'{target}' lies in the data root: back up to somewhere else.")
    known = known_to(database)
    check_root(root, known, place.shown)

    def checked() -> tuple[list[Manifest], list[str], Manifest | None]:
        found, bad = manifests(place)
        check_owner(place, known.store, found, bad)
        reference = known.reference(found)
        check_tables(versions(root, {}), known, reference, place.shown)
        return found, bad, reference

    if not known.store:
        checked()  # what is refused leaves nothing, not even an empty registry
    with Leases(database).hold(BACKUP) as lease, _scratch(root) as scratch:
        found, bad, reference = checked()
        mark_owner(place, known.store)
        clear(place, found, bad)
        began = datetime.now(UTC)
        name = f"{began:%Y%m%dT%H%M%S%fZ}-{secrets.token_hex(2)}"
        run = _Run(parts, place, scratch, name, told, known, reference)
        try:
            manifest = run.copy(began, found)
            lease.check()
            write_manifest(place, manifest)
        finally:
            with database.write() as connection:
                _release(connection, name)
        with database.write() as connection:
            done = {"id": name, "files": len(manifest.all), "digest": manifest.registry.sha256}
            append(connection, BACKUP, "store", done)
        mark(place, found=(), mended=run.mended)
        removed = forget(place, keep, name)
    if removed:
        told(f"Removed {len(removed)} older backups.")
    files = manifest.all
    return BackedUp(
        name, began, len(files), sum(file.bytes for file in files), len(run.copied),
        sum(run.copied), removed, tuple(manifest.lost), tuple(sorted(run.mended)),
    )  # fmt: skip


@dataclass
class _Run:
    """One backup being written.

    Attributes
    ----------
    copied
        The bytes of each new file.
    stored
        Bytes and SHA-256 of what the target has, or should have.
    damaged, mended
        What of that it has not; what was copied again.
    unnamed
        Files there that no backup names: somebody's own, or what a killed backup left.
    """

    parts: Parts
    place: Location
    scratch: Path
    name: str
    told: Told
    known: Known
    reference: Manifest | None
    copied: list[int] = field(default_factory=list)
    stored: dict[str, Written] = field(default_factory=dict)
    damaged: set[str] = field(default_factory=set)
    mended: set[str] = field(default_factory=set)
    unnamed: set[str] = field(default_factory=set)

    def copy(self, began: datetime, found: list[Manifest]) -> Manifest:
        """Copy what is new; return the manifest, by which it will be a backup."""
        every = [file for each in found for file in each.all]
        self.stored.update({file.stored: Written(file.bytes, file.sha256) for file in every})
        there = stored_sizes(self.place)
        self.unnamed |= there.keys() - self.stored.keys()
        self.damaged |= damaged(self.place)
        self.damaged |= {
            path for path, known in self.stored.items() if there.get(path) != known.size
        }
        # Of no use to another backup if this one is killed: the next one removes them.
        note(self.place, self.name, (self._registry, self._online_copy))
        online = self._online()
        gone = set[str]()
        for _ in range(_ATTEMPTS):
            try:
                plan = self._plan(gone)
                files, lost = self._copy(plan.wanted)
                break
            except _Gone as error:
                self.told(f"{len(error.args)} files went away meanwhile: looking again.")
                gone |= {*error.args}
        else:
            raise WriteConflict(str(self.root), _ATTEMPTS)
        registry = self._keep(self.scratch / "registry", self._registry)
        return Manifest(
            FORMAT, VERSION, self.name, began, plan.store, SCHEMAS[-1], packages(), plan.tables,
            files, registry, online, [*plan.lost, *lost], "",
        )  # fmt: skip

    @property
    def root(self) -> Path:
        return self.parts.config.root

    @property
    def _registry(self) -> str:
        return f"registry/{self.name}.jsonl.gz"

    @property
    def _online_copy(self) -> str:
        return f"online/{self.name}/data.mdb"

    def _keep(self, path: Path, stored: str) -> StoredFile:
        written = self.place.write(stored, location(path.parent).stream(path.name))
        self.copied.append(written.size)
        return StoredFile(path.name, stored, written.size, written.sha256)

    def _online(self) -> OnlineCopy | None:
        uri = self.parts.config.online
        source = Path(uri.removeprefix("lmdb://"))
        if not uri.startswith("lmdb://") or not (source / "data.mdb").exists():
            return None
        folder, began = self.scratch / "online", datetime.now(UTC)
        folder.mkdir()
        done = subprocess.run(  # noqa: S603 - our own code
            [sys.executable, "-c", _COPY, str(source), str(folder)],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            reason = done.stderr.strip().rpartition("\n")[2]
            raise StorageUnusable(str(source), f"it could not be copied: {reason}")
        self.told("Copied the online store.")
        return OnlineCopy(began, self._keep(folder / "data.mdb", self._online_copy))

    # What is kept

    def _plan(self, gone: Collection[str]) -> _Plan:
        """Decide on one moment, and list what belongs to it."""
        root, database = self.root, self.parts.database
        before = versions(root, {})
        with ExitStack() as reading, ExitStack() as looking:
            connection = looking.enter_context(database.write())
            _release(connection)
            tables = versions(root, before)
            newest = [
                (*place_of(folder), version)
                for folder, version in tables.items()
                if folder.startswith("offline/")
            ]
            seen = reading.enter_context(database.read())
            # Until its first look a transaction has not begun.
            seen.execute(sa.select(sa.func.count()).select_from(pins))
            if newest:
                pin(
                    connection,
                    self.name,
                    newest,
                    kind="backup",
                    description="a backup under way",
                    created_by=self.parts.database.actor.name,
                )
            looking.close()
            dumped = dump(seen, self.scratch / "registry")
        # They may have gone since the first look.
        check_tables(tables, self.known, self.reference, self.place.shown)
        if self.known.store and dumped.store != self.known.store:
            raise WriteRefused(
                f"The registry of '{root}' became another one meanwhile. Run the backup again."
            )
        return self._listed(tables, dumped, gone)

    def _listed(self, tables: dict[str, int], dumped: Dumped, gone: Collection[str]) -> _Plan:
        wanted: list[Wanted] = []
        for folder, version in tables.items():
            pinned = {
                at for group, number, at in dumped.pins if folder == f"offline/{group}/v{number}"
            }
            wanted += table_files(self.root, folder, version, pinned)
        lost: list[str] = []
        for name, digest in dumped.training_sets.items():
            try:
                wanted += training_set(self.root, name, digest)
            except ValueError as error:
                lost.append(str(error))
        wanted += loose(self.root)
        there, missing = present(self.root, wanted)
        if not {*missing} <= {*gone}:
            raise _Gone(*missing)
        return _Plan(tables, dumped.store, there, [*lost, *(f"{path} is gone" for path in missing)])

    # Copying

    def _copy(self, wanted: list[Wanted]) -> tuple[list[StoredFile], list[str]]:
        """Copy what is new; return the files, and those that are not what they should be."""
        gone, lost = list[str](), list[str]()

        def one(each: Wanted) -> StoredFile | None:
            try:
                return self._copied(each)
            except FileNotFoundError:
                if each.needed:
                    gone.append(each.path)
            except ValueError:
                if each.needed:
                    lost.append(f"{each.path} has changed")
            return None

        found = each_file("Backing up", wanted, one, self.told)
        if gone:
            raise _Gone(*gone)
        return [file for file in found if file is not None], lost

    def _copied(self, wanted: Wanted) -> StoredFile:
        """Return where a file is stored; it is copied if it is not there yet."""
        source, stored, digest = location(self.root), wanted.stored, wanted.sha256
        known = self.stored.get(stored)
        doubtful = known is not None and (known.size != wanted.bytes or stored in self.damaged)
        if doubtful and digest is None:
            digest = source.digest(wanted.path)
        if known is not None and digest not in (None, known.sha256):
            # Another file of that name, before the store was restored to an older state.
            stored = f"{CONTENT}/{digest}"
            known = self.stored.get(stored)
        if known is None and stored in self.unnamed:
            digest = source.digest(wanted.path)
            if self.place.digest(stored) == digest:  # a killed backup of ours got that far
                known = self.stored[stored] = Written(wanted.bytes, digest)
            else:
                stored = f"{CONTENT}/{digest}"
                known = self.stored.get(stored)
        if known is None or (stored in self.damaged and stored not in self.mended):
            written = self.place.write(stored, source.stream(wanted.path), sha256=digest)
            if written != Written(wanted.bytes, digest or written.sha256):
                raise ValueError(wanted.path)
            self.copied.append(written.size)
            if known is not None:
                self.mended.add(stored)
            self.stored[stored] = known = written
        return StoredFile(wanted.path, stored, known.size, known.sha256)


@contextmanager
def _scratch(root: Path) -> Iterator[Path]:
    """Give an empty folder on the store's disk, for who backs it up alone."""
    folder = root / _SCRATCH
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _release(connection: sa.Connection, name: str | None = None) -> None:
    """Take back what a backup pinned; without its name all, where only one is under way."""
    mine = pins.c.owner_kind == BACKUP
    for each in connection.execute(sa.select(pins.c.owner).where(mine).distinct()).scalars().all():
        if name in (None, each):
            unpin(connection, each, "backup")

"""What lies at a backup's target: files, each stored once, and a manifest for each backup.

    files/<path in the data root>   log entries, data files, training sets
    content/<sha256>                what may change under its name, or did
    registry/<id>.jsonl.gz          all tables of the registry
    online/<id>/data.mdb            the embedded online store
    backups/<id>.json               the manifest, written last: without it there is no backup

What else there is, `target` tells.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import msgspec

from feature_store_assets.errors import BackupNotFound, BackupUnusable
from feature_store_assets.storage import Location, location
from feature_store_assets.storage.foreign import check_file, check_path, check_paths, shown
from feature_store_assets.storage.sealed import read_sealed, write_sealed

Told = Callable[[str], object]

FORMAT, VERSION = "feature-store backup", 1
CONTENT = "content"
MANIFESTS = "backups"
FILES = "files"
FOLDERS = (FILES, CONTENT, "registry", "online")
_ID = re.compile(r"[0-9]{8}T[0-9]{12}Z-[0-9a-f]{4}")
_STORE = re.compile(r"|[0-9a-f]{64}")
# Where the files and the tables of a data root lie.
_PATH = re.compile(r"(offline/[^/]+/v[0-9]+|raw/[^/]+|training/[^/]+|quarantine|reports)/.+")
_TABLE = re.compile(r"offline/[^/]+/v[0-9]+|raw/.+")
_LOG = "_delta_log"
_ENTRY = re.compile(r"[0-9]{20}\.json")


class StoredFile(msgspec.Struct, frozen=True):
    """A file of a backup: its path in the data root, where it is stored, what it holds."""

    path: str
    stored: str
    bytes: int
    sha256: str


class OnlineCopy(msgspec.Struct, frozen=True):
    """The copy of an embedded online store, and when it was begun."""

    copied_at: datetime
    file: StoredFile


class Manifest(msgspec.Struct, frozen=True):
    """What `backups/<id>.json` says.

    Attributes
    ----------
    store
        The digest of the first entry of the audit log: the same for a store and what is restored
        of it.
    schema
        The schema version of the registry.
    tables
        The newest version of each table that the backup holds, by folder.
    lost
        What the store itself had lost.
    digest
        SHA-256 of all the rest.
    """

    format: str
    version: int
    id: str
    created_at: datetime
    store: str
    schema: str
    packages: dict[str, str]
    tables: dict[str, int]
    files: list[StoredFile]
    registry: StoredFile
    online: OnlineCopy | None
    lost: list[str]
    digest: str

    @property
    def all(self) -> list[StoredFile]:
        """Every file that the backup needs."""
        return [*self.files, self.registry, *([self.online.file] if self.online else [])]


@dataclass(frozen=True)
class Listed:
    """One backup, as `list_backups` shows it."""

    id: str
    created_at: datetime
    tables: int
    files: int
    bytes: int
    lost: tuple[str, ...]


def manifests(place: Location) -> tuple[list[Manifest], list[str]]:
    """Return the backups, the oldest first, and the manifests that cannot be used."""
    found, bad = [], []
    for path in sorted(place.list(MANIFESTS)):
        if path.endswith(".json"):
            try:
                content = read_sealed(place, path, FORMAT, VERSION)
                found.append(_sound(msgspec.convert(content, Manifest), path))
            except (ValueError, FileNotFoundError) as error:
                bad.append(f"{path}: {error}")
    return sorted(found, key=lambda each: (each.created_at, each.id)), bad


def manifest_of(place: Location, id: str | None) -> Manifest:  # noqa: A002 - as people say it
    """Return a backup, the newest by default.

    Raises
    ------
    BackupNotFound
        There is none, or none of that name.
    BackupUnusable
        Its manifest was edited, or is of a newer version.
    """
    found, bad = manifests(place)
    names = [each.id for each in found]
    chosen = names[-1] if id is None and names else id
    if chosen in names:
        return found[names.index(chosen)]
    mine = [each for each in bad if id is None or each.startswith(f"{MANIFESTS}/{id}.json:")]
    if mine:
        raise BackupUnusable(place.shown, mine)
    raise BackupNotFound(place.shown, id, names)


def write_manifest(place: Location, manifest: Manifest) -> None:
    """Make a backup exist: all else is on the disk."""
    path = f"{MANIFESTS}/{manifest.id}.json"
    _sound(manifest, path)
    place.sync()
    write_sealed(place, path, msgspec.to_builtins(manifest))


def check_stored(stored: Iterable[str]) -> None:
    """Refuse what is no file of a backup."""
    named = set(stored)
    check_paths(named, "the target")
    for each in named:
        if each.partition("/")[0] not in FOLDERS:
            raise ValueError(f"{shown(each)} is no file of a backup")


def _sound(manifest: Manifest, path: str) -> Manifest:
    """Return a manifest that names only what a backup holds; ValueError for any other."""
    if not _ID.fullmatch(manifest.id) or path != f"{MANIFESTS}/{manifest.id}.json":
        raise ValueError(f"{shown(manifest.id)} is not its name")
    times = [manifest.created_at, *([manifest.online.copied_at] if manifest.online else [])]
    if not _STORE.fullmatch(manifest.store) or any(each.tzinfo is None for each in times):
        raise ValueError("it does not say of which store, or when")
    _check_paths(manifest)
    _check_stored(manifest)
    for table, version in manifest.tables.items():
        check_path(table, "the data root")
        if not _TABLE.fullmatch(table) or not 0 <= version < 2**63:
            raise ValueError(f"{shown(table)} in version {shown(version)} is no table of a store")
    return manifest


def _check_paths(manifest: Manifest) -> None:
    """Refuse files that no data root has."""
    check_paths((file.path for file in manifest.files), "the data root")
    for file in manifest.files:
        folder, _, name = file.path.rpartition("/")
        inside = f"/{_LOG}/" in file.path
        if not _PATH.fullmatch(file.path) or (
            inside and not (folder.endswith(f"/{_LOG}") and _ENTRY.fullmatch(name))
        ):
            raise ValueError(f"{shown(file.path)} is no file of a store")


def _check_stored(manifest: Manifest) -> None:
    """Refuse files that no target has, or that are two in one."""
    check_stored(file.stored for file in manifest.all)
    sides = {manifest.registry.stored: "registry"}
    if manifest.online:
        sides[manifest.online.file.stored] = "online"
    held: dict[str, tuple[int, str]] = {}
    for file in manifest.all:
        check_file(file.bytes, file.sha256, file.stored)
        if file.stored.partition("/")[0] not in (sides.get(file.stored, FILES), CONTENT):
            raise ValueError(f"{shown(file.stored)} is no place of {shown(file.path)}")
        if held.setdefault(file.stored, (file.bytes, file.sha256)) != (file.bytes, file.sha256):
            raise ValueError(f"{shown(file.stored)} is named twice, with other bytes")


def list_backups(target: str | Path) -> list[Listed]:
    """Return the backups at a target, the oldest first."""
    return [listed(each) for each in manifests(location(target))[0]]


def listed(manifest: Manifest) -> Listed:
    """Return a backup as `list_backups` shows it."""
    files = manifest.all
    size = sum(file.bytes for file in files)
    tables, lost = len(manifest.tables), tuple(manifest.lost)
    return Listed(manifest.id, manifest.created_at, tables, len(files), size, lost)


def misfits(place: Location, manifest: Manifest) -> dict[str, str]:
    """Return which files of a backup are gone or have other sizes, and what to say of each."""
    there = stored_sizes(place)
    return {
        file.stored: f"{file.stored} is gone"
        if file.stored not in there
        else f"{file.stored} has {there[file.stored]} bytes, not {file.bytes}"
        for file in manifest.all
        if there.get(file.stored) != file.bytes
    }


def stored_sizes(place: Location) -> dict[str, int]:
    """Return the bytes of each file that a target has for backups."""
    return {path: size for folder in FOLDERS for path, size in place.list(folder).items()}

"""What lies at a backup's target: files, each stored once, and a manifest for each backup.

    files/<path in the data root>   log entries, data files, training sets
    content/<sha256>                what may change under its name, or did
    registry/<id>.jsonl.gz          all tables of the registry
    online/<id>/data.mdb            the embedded online store
    backups/<id>.json               the manifest, written last: without it there is no backup
    backup.json                     whose backups lie here: written before all else
    removed/<id>.json               the files of a backup that is being removed, or never finished
    damaged.json                    files that `verify_backup` found changed: the next backup
                                    copies them anew

Only what this store's backups wrote is ever removed. A backup goes in steps, of which any may be
the last: its files are noted, its manifest is removed, the files go that no other backup needs, the
note goes. The next run takes it up where it was. A file that no manifest and no note names is
somebody else's, or of use to the next backup: it stays.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import msgspec

from feature_store_assets.errors import (
    BackupNotFound,
    BackupRefused,
    BackupUnusable,
    LocationUnusable,
)
from feature_store_assets.progress import Told, each_file
from feature_store_assets.storage import Location, location
from feature_store_assets.storage.sealed_json import read_sealed, write_sealed
from feature_store_assets.storage.untrusted import check_file, check_path, check_paths, shown

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

_MARKER, _DAMAGED, _REMOVED = "backup.json", "damaged.json", "removed"
# Every new disk has that folder.
_OF_DISKS = "lost+found"
_GONE = (
    "Restore the newest backup (`feature-store restore`), or look where "
    "FEATURE_STORE_STORAGE_PATH and FEATURE_STORE_REGISTRY_URL point"
)
_OTHER = "Take another target"
_MEND = (
    "Run `feature-store backup create` again: it copies anew what the store still has, and makes a "
    "whole backup."
)
# What the files say that they are.
_OWNER = "feature-store backups"
_REMOVAL = "feature-store removed backup"
_DAMAGE = "feature-store damaged files"


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


# Whose it is


def check_owner(place: Location, store: str, found: Sequence[Manifest], bad: Sequence[str]) -> None:
    """Refuse a target that is not this store's, or a store that lost what made it this one.

    Raises
    ------
    BackupRefused
        The target holds something else, or another store's backups; or the store's registry is
        empty and the target knows it better.
    """
    names = place.names()
    owner = _owner(place) if _MARKER in names else None
    if owner is None and not found:
        rest = sorted(name for name in names if not _is_nothing(name))
        if rest:
            why = f"it holds '{rest[0]}' and no backup" + (f" ({bad[0]})" if bad else "")
            raise BackupRefused(place.shown, why, "Name an empty folder, or one that is not there.")
    owners = {*(each.store for each in found), owner or ""} - {""}
    if store and owners - {store}:
        why = f"'{place.shown}' holds backups of another store"
        raise BackupRefused(place.shown, why, f"{_GONE}. If it is meant: {_OTHER.lower()}.")
    if not store and (owners or found):
        last = f", the newest {found[-1].id}" if found else ""
        why = f"the registry is gone or empty, and backups of this store are there{last}"
        raise BackupRefused(place.shown, why, f"{_GONE}. If it is meant: {_OTHER.lower()}.")


def _is_nothing(name: str) -> bool:
    """Tell what an empty disk has, and what a kill left of the very first file."""
    return name == _OF_DISKS or (name.startswith(f"{_MARKER}.") and name.endswith(".part"))


def _owner(place: Location) -> str:
    """Return whose backups lie at a target; empty where the store had no audit log yet."""
    try:
        return str(read_sealed(place, _MARKER, _OWNER, VERSION)["store"])
    except (ValueError, KeyError, FileNotFoundError) as error:
        raise BackupRefused(place.shown, f"{_MARKER} says not whose: {error}", _OTHER) from None


def mark_owner(place: Location, store: str) -> None:
    """Say whose backups lie at a target."""
    if _MARKER not in place.names() or (store and not _owner(place)):
        _write(place, _MARKER, _OWNER, store=store)


def _write(place: Location, path: str, what: str, **content: str | list[str]) -> None:
    write_sealed(place, path, {"format": what, "version": VERSION, **content})


def _stored_in(place: Location, path: str, what: str) -> list[str]:
    """Return the files that a note names; none if it is not ours, torn or not there."""
    try:
        stored: list[str] = read_sealed(place, path, what, VERSION)["stored"]
        check_stored(stored)
    except (ValueError, TypeError, KeyError, AttributeError, FileNotFoundError):
        return []
    return stored


# What goes


def note(place: Location, backup: str, stored: Iterable[str]) -> None:
    """Note the files of a backup that goes, or that is not finished yet."""
    _write(place, f"{_REMOVED}/{backup}.json", _REMOVAL, stored=list(stored))


def forget(place: Location, keep: int | None, newest: str) -> tuple[str, ...]:
    """Remove all but the newest backups, and the files that only those removed had.

    The newest backup of which nothing was lost stays, whatever its age. What killed runs left of
    removals and of backups is removed too. Nothing is while a manifest cannot be read: nobody can
    tell which files it needs.
    """
    found, bad = manifests(place)
    kept = {each.id for each in found} if keep is None else _kept(found, keep, newest)
    old = [each for each in found if each.id not in kept]
    for each in old:
        note(place, each.id, (file.stored for file in each.all))
        place.delete([f"{MANIFESTS}/{each.id}.json"])
        place.sync()
    clear(place, [each for each in found if each.id in kept], bad)
    return tuple(each.id for each in old)


def _kept(found: Sequence[Manifest], keep: int, newest: str) -> set[str]:
    """Return the newest backups, and the newest one that is whole."""
    others = [each.id for each in found if each.id != newest]
    whole = [each.id for each in found if not each.lost]
    last = {newest} & {*whole} or {*whole[-1:]}
    return {newest, *others[max(0, len(found) - keep) :], *last}


def clear(place: Location, left: Sequence[Manifest], bad: Sequence[str]) -> None:
    """Remove the files that notes name and no backup that is left needs, then the notes."""
    if bad:
        return
    needed = {file.stored for each in left for file in each.all}
    for path in place.list(_REMOVED):
        backup = path.removeprefix(f"{_REMOVED}/").removesuffix(".json")
        if all(backup != each.id for each in left):  # else it was never removed, or is whole now
            named = _stored_in(place, path, _REMOVAL)
            if not named:
                continue  # whatever it is, it is not ours
            place.delete(each for each in named if each not in needed)
            place.sync()
        place.delete([path])
    place.sync()


# What is damaged


def damaged(place: Location) -> set[str]:
    """Return the files that were found changed at the target."""
    return {*_stored_in(place, _DAMAGED, _DAMAGE)}


def mark(place: Location, *, found: Collection[str], mended: Collection[str]) -> None:
    """Note which files were found changed, and which are whole again."""
    before = damaged(place)
    now = (before | {*found}) - {*mended}
    if now == before:
        return
    if now:
        _write(place, _DAMAGED, _DAMAGE, stored=sorted(now))
    else:
        place.delete([_DAMAGED])
        place.sync()


def verify_backup(
    target: str | Path,
    id: str | None = None,  # noqa: A002 - as people say it
    told: Told = lambda _: None,
) -> Listed:
    """Compare every file of a backup, the newest by default, with its digest.

    What is found is noted at the target, if it can be written: the next backup mends it.

    Raises
    ------
    BackupUnusable
        Naming the files that are gone or changed.
    """
    place = location(target)
    manifest = manifest_of(place, id)
    problems = misfits(place, manifest)

    def changed(file: StoredFile) -> bool:
        try:
            return place.digest(file.stored) != file.sha256
        except FileNotFoundError:  # since the look at their sizes
            return True

    files = [file for file in manifest.all if file.stored not in problems]
    found = zip(files, each_file("Verifying", files, changed, told), strict=True)
    wrong = {file.stored for file, is_wrong in found if is_wrong}
    problems |= {stored: f"{stored} has changed" for stored in wrong}
    with suppress(LocationUnusable):  # a place that may only be read is verified, too
        mark(place, found=problems, mended={file.stored for file in files} - wrong)
    if problems:
        raise BackupUnusable(place.shown, [*problems.values()], _MEND)
    return listed(manifest)

"""What a target says of itself, so that only what this store's backups wrote is ever removed.

    backup.json          whose backups lie here: written before all else
    removed/<id>.json    the files of a backup that is being removed, or was never finished
    damaged.json         files that `verify_backup` found changed: the next backup copies them anew

A backup goes in steps, of which any may be the last: its files are noted, its manifest is removed,
the files go that no other backup needs, the note goes. The next run takes it up where it was. A
file that no manifest and no note names is somebody else's, or of use to the next backup: it stays.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from feature_store_assets.errors import BackupRefused, BackupUnusable
from feature_store_assets.storage.foreign import UNSOUND
from feature_store_assets.transfer.backups import (
    MANIFESTS,
    VERSION,
    Listed,
    Manifest,
    StoredFile,
    Told,
    check_stored,
    each_file,
    listed,
    manifest_of,
    manifests,
    misfits,
    read_sealed,
    write_sealed,
)
from feature_store_assets.transfer.place import Place

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


class _Marker(msgspec.Struct, frozen=True):
    """What `backup.json` says; `store` is empty where the store had no audit log yet."""

    store: str
    format: str = "feature-store backups"
    version: int = VERSION
    digest: str = ""


class _Note(msgspec.Struct, frozen=True):
    """What `removed/<id>.json` says."""

    stored: list[str]
    format: str = "feature-store removed backup"
    version: int = VERSION
    digest: str = ""


class _Damaged(msgspec.Struct, frozen=True):
    """What `damaged.json` says."""

    stored: list[str]
    format: str = "feature-store damaged files"
    version: int = VERSION
    digest: str = ""


# Whose it is


def check_owner(place: Place, store: str, found: Sequence[Manifest], bad: Sequence[str]) -> None:
    """Refuse a target that is not this store's, or a store that lost what made it this one.

    Raises
    ------
    BackupRefused
        The target holds something else, or another store's backups; or the store's registry is
        empty and the target knows it better.
    """
    names = place.names()
    marker = _marker(place) if _MARKER in names else None
    if marker is None and not found:
        rest = sorted(name for name in names if not _is_nothing(name))
        if rest:
            why = f"it holds '{rest[0]}' and no backup" + (f" ({bad[0]})" if bad else "")
            raise BackupRefused(place.shown, why, "Name an empty folder, or one that is not there.")
    owners = {each.store for each in found} | {marker.store if marker else ""}
    owners.discard("")
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


def _marker(place: Place) -> _Marker:
    try:
        return read_sealed(place, _MARKER, 0, _Marker("").format, _Marker)
    except UNSOUND as error:
        if isinstance(error, BackupUnusable):
            raise
        raise BackupRefused(place.shown, f"{_MARKER} says not whose: {error}", _OTHER) from None


def mark_owner(place: Place, store: str) -> None:
    """Say whose backups lie at a target."""
    if _MARKER not in place.names() or (store and not _marker(place).store):
        write_sealed(place, _MARKER, _Marker(store))


# What goes


def note(place: Place, backup: str, stored: Iterable[str]) -> None:
    """Note the files of a backup that goes, or that is not finished yet."""
    write_sealed(place, f"{_REMOVED}/{backup}.json", _Note(list(stored)))


def forget(place: Place, keep: int | None, newest: str) -> tuple[str, ...]:
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
        place.remove([f"{MANIFESTS}/{each.id}.json"])
        place.settle()
    clear(place, [each for each in found if each.id in kept], bad)
    return tuple(each.id for each in old)


def _kept(found: Sequence[Manifest], keep: int, newest: str) -> set[str]:
    """Return the newest backups, and the newest one that is whole."""
    others = [each.id for each in found if each.id != newest]
    whole = [each.id for each in found if not each.lost]
    last = {newest} & {*whole} or {*whole[-1:]}
    return {newest, *others[max(0, len(found) - keep) :], *last}


def clear(place: Place, left: Sequence[Manifest], bad: Sequence[str]) -> None:
    """Remove the files that notes name and no backup that is left needs, then the notes."""
    if bad:
        return
    needed = {file.stored for each in left for file in each.all}
    for path, size in place.sizes(_REMOVED).items():
        backup = path.removeprefix(f"{_REMOVED}/").removesuffix(".json")
        if all(backup != each.id for each in left):  # else it was never removed, or is whole now
            try:
                named = read_sealed(place, path, size, _Note([]).format, _Note).stored
                check_stored(named)
            except UNSOUND as error:
                if isinstance(error, BackupUnusable):
                    raise
                continue  # whatever it is, it is not ours
            place.remove(each for each in named if each not in needed)
            place.settle()
        place.remove([path])
    place.settle()


# What is damaged


def damaged(place: Place) -> set[str]:
    """Return the files that were found changed at the target."""
    if _DAMAGED not in place.names():
        return set()
    try:
        return {*read_sealed(place, _DAMAGED, 0, _Damaged([]).format, _Damaged).stored}
    except UNSOUND as error:
        if isinstance(error, BackupUnusable):
            raise
        return set()  # torn or foreign: to look again is all that is lost


def mark(place: Place, *, found: Collection[str], mended: Collection[str]) -> None:
    """Note which files were found changed, and which are whole again."""
    before = damaged(place)
    now = (before | {*found}) - {*mended}
    if now == before:
        return
    if now:
        write_sealed(place, _DAMAGED, _Damaged(sorted(now)))
    else:
        place.remove([_DAMAGED])
        place.settle()


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
    place = Place(target)
    manifest = manifest_of(place, id)
    problems = misfits(place, manifest)

    def changed(file: StoredFile) -> bool:
        return place.digest(file.stored) != file.sha256

    files = [file for file in manifest.all if file.stored not in problems]
    found = each_file("Verifying", files, changed, told)
    whole = {file.stored for file, wrong in zip(files, found, strict=True) if not wrong}
    problems |= {
        file.stored: f"{file.stored} has changed"
        for file, wrong in zip(files, found, strict=True)
        if wrong
    }
    with suppress(BackupUnusable):  # a place that may only be read is verified, too
        mark(place, found=problems, mended=whole)
    if problems:
        raise BackupUnusable(place.shown, [*problems.values()], _MEND)
    return listed(manifest)

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

from feature_store_assets.errors import BackupRefused, BackupUnusable, LocationUnusable
from feature_store_assets.progress import each_file
from feature_store_assets.storage import Location, location
from feature_store_assets.storage.sealed import read_sealed, write_sealed
from feature_store_assets.transfer.backups import (
    MANIFESTS,
    VERSION,
    Listed,
    Manifest,
    StoredFile,
    Told,
    check_stored,
    listed,
    manifest_of,
    manifests,
    misfits,
)

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

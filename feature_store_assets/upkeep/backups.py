"""What lies at a backup's target: files, each stored once, and a manifest for each backup.

    files/<path in the data root>   log entries, data files, training sets
    content/<sha256>                what may change under its name, or did
    registry/<id>.jsonl.gz          all tables of the registry
    online/<id>/data.mdb            the embedded online store
    backups/<id>.json               the manifest, written last: without it there is no backup

All access goes through pyarrow's file systems, so that a folder and an object store are alike.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath
from threading import Lock
from typing import Any, BinaryIO, TypeVar

import msgspec
import pyarrow as pa

from feature_store_assets.errors import BackupNotFound, BackupUnusable, DataError
from feature_store_assets.offline.frames import fsync
from feature_store_assets.progress import progress
from feature_store_assets.upkeep.archive import sealed

_T = TypeVar("_T")
Told = Callable[[str], object]

FORMAT, VERSION = "feature-store backup", 1
THREADS = 4
CONTENT = "content"
_MANIFESTS = "backups"
_FOLDERS = ("files", CONTENT, "registry", "online")
_CHUNK = 4 << 20
_PAUSE = 10  # seconds between two words on how it goes


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


class Place:
    """A folder, or a prefix in an object store.

    Parameters
    ----------
    url
        A path, or a URL that pyarrow knows: `file://`, `s3://`, `gs://`, ...
    """

    def __init__(self, url: str | Path) -> None:
        from pyarrow import fs

        self.shown = str(url).partition("?")[0]  # what follows may be a secret
        try:
            base, at = (
                fs.FileSystem.from_uri(str(url))
                if "://" in str(url)
                else (fs.LocalFileSystem(), str(Path(url).absolute()))
            )
        except (pa.ArrowException, ValueError, OSError) as error:
            raise DataError(
                f"'{self.shown}' is no place for backups: {_reason(error)}. Name a folder, or a "
                f"URL such as s3://bucket/folder."
            ) from None
        self.local = Path(at) if isinstance(base, fs.LocalFileSystem) else None
        self._files: Any = fs.SubTreeFileSystem(at, base)
        self._folders = set[Path]()
        self._lock = Lock()

    def sizes(self, folder: str) -> dict[str, int]:
        """Return the bytes of every file in a folder, by path."""
        from pyarrow import fs

        chosen = fs.FileSelector(folder, allow_not_found=True, recursive=True)
        with self._told():
            found = self._files.get_file_info(chosen)
        return {each.path: each.size for each in found if each.type is fs.FileType.File}

    def read(self, path: str) -> Iterator[bytes]:
        """Yield a file, chunk by chunk."""
        with self._told(), self._files.open_input_stream(path, compression=None) as stream:
            while chunk := stream.read(_CHUNK):
                yield chunk

    def write(self, path: str, chunks: Iterable[bytes]) -> tuple[int, str]:
        """Write a file that is there as a whole or not at all; return its bytes and SHA-256.

        In an object store a file appears when it is whole. In a folder it is pushed to the disk,
        and its name by `settle`.
        """
        unfinished = path
        if self.local is not None:
            unfinished = f"{path}.{secrets.token_hex(4)}.part"
            folder = (self.local / path).parent
            with self._lock, self._told():
                if folder not in self._folders:
                    folder.mkdir(parents=True, exist_ok=True)
                    self._folders.add(folder)
        size, digest = 0, hashlib.sha256()
        opened = self._files.open_output_stream
        with self._told(), opened(unfinished, compression=None) as stream:
            for chunk in chunks:
                stream.write(chunk)
                digest.update(chunk)
                size += len(chunk)
        if self.local is not None:
            fsync(self.local / unfinished)
            (self.local / unfinished).replace(self.local / path)
        return size, digest.hexdigest()

    def settle(self) -> None:
        """Push the names of what was written to the disk."""
        if self.local is None:
            return
        with self._lock:
            written, self._folders = self._folders, set()
        above = {folder for each in written for folder in each.parents}
        inside = {each for each in above if each == self.local or self.local in each.parents}
        for folder in sorted({*written, *inside}):
            fsync(folder)
        if written:
            fsync(self.local.parent)

    def remove(self, paths: Iterable[str]) -> None:
        for path in paths:
            with self._told(), suppress(FileNotFoundError):
                self._files.delete_file(path)

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise BackupUnusable(self.shown, [_reason(error)]) from None


def manifests(place: Place) -> tuple[list[Manifest], list[str]]:
    """Return the backups, the oldest first, and the manifests that cannot be used."""
    found, bad = [], []
    for path in sorted(place.sizes(_MANIFESTS)):
        if path.endswith(".json"):
            try:
                found.append(_decoded(b"".join(place.read(path))))
            except (msgspec.MsgspecError, ValueError) as error:
                bad.append(f"{path}: {error}")
    return sorted(found, key=lambda each: (each.created_at, each.id)), bad


def manifest_of(place: Place, id: str | None) -> Manifest:  # noqa: A002 - as people say it
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
    mine = [each for each in bad if id is None or each.startswith(f"{_MANIFESTS}/{id}.json:")]
    if mine:
        raise BackupUnusable(place.shown, mine)
    raise BackupNotFound(place.shown, id, names)


def write_manifest(place: Place, manifest: Manifest) -> None:
    """Make a backup exist: all else is on the disk."""
    content = sealed(msgspec.to_builtins(manifest))
    place.settle()
    place.write(f"{_MANIFESTS}/{manifest.id}.json", [msgspec.json.encode(content)])
    place.settle()


def _decoded(text: bytes) -> Manifest:
    content = msgspec.json.decode(text)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ValueError("it is no manifest of a backup")
    if content.get("version") != VERSION:
        raise ValueError(
            f"its version {content.get('version')} is not {VERSION}, which this code reads: "
            f"upgrade feature_store_assets here"
        )
    if sealed(content)["digest"] != content.get("digest"):
        raise ValueError("it was changed")
    found = msgspec.convert(content, Manifest)
    for file in found.files:
        path = PurePosixPath(file.path)
        if path.is_absolute() or ".." in path.parts:
            raise ValueError(f"'{file.path}' lies outside the data root")
    return found


def list_backups(target: str | Path) -> list[Listed]:
    """Return the backups at a target, the oldest first."""
    return [
        Listed(
            each.id,
            each.created_at,
            len(each.tables),
            len(each.all),
            sum(file.bytes for file in each.all),
            tuple(each.lost),
        )
        for each in manifests(Place(target))[0]
    ]


def verify_backup(
    target: str | Path,
    id: str | None = None,  # noqa: A002 - as people say it
    told: Told = lambda _: None,
) -> Listed:
    """Compare every file of a backup, the newest by default, with its digest.

    Raises
    ------
    BackupUnusable
        Naming the files that are gone or changed.
    """
    place = Place(target)
    manifest = manifest_of(place, id)
    check_sizes(place, manifest)

    def problem(file: StoredFile) -> str:
        digest = hashlib.sha256()
        for chunk in place.read(file.stored):
            digest.update(chunk)
        return "" if digest.hexdigest() == file.sha256 else f"{file.stored} has changed"

    found = each_file("Verifying", manifest.all, problem, told)
    if any(found):
        raise BackupUnusable(place.shown, [each for each in found if each])
    (shown,) = (each for each in list_backups(target) if each.id == manifest.id)
    return shown


def check_sizes(place: Place, manifest: Manifest) -> None:
    """Refuse a backup of which files are gone or have other sizes."""
    there: dict[str, int] = {}
    for folder in {file.stored.partition("/")[0] for file in manifest.all}:
        there |= place.sizes(folder)
    problems = [
        f"{file.stored} is gone"
        if file.stored not in there
        else f"{file.stored} has {there[file.stored]} bytes, not {file.bytes}"
        for file in manifest.all
        if there.get(file.stored) != file.bytes
    ]
    if problems:
        raise BackupUnusable(place.shown, problems)


def each_file(
    title: str, files: list[StoredFile], work: Callable[[StoredFile], _T], told: Told
) -> list[_T]:
    """Do something with each file, a few at a time, and show how it goes."""
    total, done, answers = sum(file.bytes for file in files), 0, []
    due = time.monotonic() + _PAUSE
    with (
        progress(title, lambda: max(total, 1)) as advance,
        ThreadPoolExecutor(THREADS) as threads,
    ):
        for file, answer in zip(files, threads.map(work, files), strict=True):
            answers.append(answer)
            advance(file.bytes)
            done += file.bytes
            if time.monotonic() > due:
                told(f"{title}: {done} of {total} bytes.")
                due = time.monotonic() + _PAUSE
    return answers


def forget(place: Place, keep: int, newest: str) -> tuple[str, ...]:
    """Remove all but the newest backups, then the files that none of those left needs.

    A kill in between leaves files that the next removal finds.
    """
    found, bad = manifests(place)
    old = [each for each in found if each.id != newest][: max(0, len(found) - keep)]
    place.remove(f"{_MANIFESTS}/{each.id}.json" for each in old)
    place.settle()
    if bad:
        # Nobody can tell which files those need.
        return tuple(each.id for each in old)
    gone = {each.id for each in old}
    needed = {file.stored for each in found if each.id not in gone for file in each.all}
    for folder in _FOLDERS:
        place.remove(path for path in place.sizes(folder) if path not in needed)
    return tuple(each.id for each in old)


def digests_of(found: Iterable[Manifest]) -> Mapping[str, tuple[int, str]]:
    """Return bytes and SHA-256 of what backups hold, by where it is stored."""
    return {file.stored: (file.bytes, file.sha256) for each in found for file in each.all}


def chunks(file: BinaryIO) -> Iterator[bytes]:
    """Yield what is left of an open file, chunk by chunk."""
    while chunk := file.read(_CHUNK):
        yield chunk


def _reason(error: BaseException) -> str:
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)
    return str(error).strip().partition("\n")[0].rstrip(".")

"""Where backups lie: a folder, or a prefix in an object store, alike."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import Any, BinaryIO

import pyarrow as pa

from feature_store_assets.errors import BackupUnusable, DataError
from feature_store_assets.offline.frames import fsync

_CHUNK = 4 << 20


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
                f"'{self.shown}' is no place for backups: {reason(error)}. Name a folder, or a "
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

    def names(self) -> set[str]:
        """Return what the place itself holds, files and folders."""
        from pyarrow import fs

        with self._told():
            found = self._files.get_file_info(fs.FileSelector("", allow_not_found=True))
        return {each.base_name for each in found}

    def read(self, path: str) -> Iterator[bytes]:
        """Yield a file, chunk by chunk."""
        with self._told(), self._files.open_input_stream(path, compression=None) as stream:
            while chunk := stream.read(_CHUNK):
                yield chunk

    def digest(self, path: str) -> str:
        """Return the SHA-256 of a file, in hex."""
        digest = hashlib.sha256()
        for chunk in self.read(path):
            digest.update(chunk)
        return digest.hexdigest()

    def write(
        self, path: str, chunks: Iterable[bytes], *, sha256: str | None = None
    ) -> tuple[int, str]:
        """Write a file that is there as a whole or not at all; return its bytes and SHA-256.

        In an object store a file appears when it is whole. In a folder it is pushed to the disk,
        and its name by `settle`; if it is not what was expected, what was there before stays.

        Parameters
        ----------
        sha256
            What is expected.
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
            if sha256 not in (None, digest.hexdigest()):
                (self.local / unfinished).unlink()
                return size, digest.hexdigest()
            with self._told():
                fsync(self.local / unfinished)
                (self.local / unfinished).replace(self.local / path)
        return size, digest.hexdigest()

    def settle(self) -> None:
        """Push the names of what was written or removed to the disk."""
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
        """Remove files; that they are gone is on the disk after `settle`."""
        for path in paths:
            with self._told(), suppress(FileNotFoundError):
                self._files.delete_file(path)
                if self.local is not None:
                    with self._lock:
                        self._folders.add((self.local / path).parent)

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise BackupUnusable(self.shown, [reason(error)]) from None


def chunks(file: BinaryIO) -> Iterator[bytes]:
    """Yield what is left of an open file, chunk by chunk."""
    while chunk := file.read(_CHUNK):
        yield chunk


def reason(error: BaseException) -> str:
    """Return why a place refused, in one line."""
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)
    return str(error).strip().partition("\n")[0].rstrip(".")

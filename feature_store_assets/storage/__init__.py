"""Storage: a folder, or a prefix in an object store, in which files appear whole.

A location knows neither locks nor renames, nor appending: object stores have none of them. A file
that is written stands there whole or not at all, and replaces what had its name.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Protocol

from feature_store_assets.errors import ConfigError, suggestion
from feature_store_assets.storage.folder import Folder
from feature_store_assets.storage.object_store import SCHEMES, Bucket

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from contextlib import AbstractContextManager
    from datetime import datetime
    from pathlib import Path
    from typing import BinaryIO

    from feature_store_assets.storage.file_writer import Sink, Written


class Location(Protocol):
    """Where files lie; every path is relative to it, with slashes."""

    @property
    def shown(self) -> str:
        """The folder or URL as messages may show it: without anything secret."""
        ...

    @property
    def uri(self) -> str:
        """The local path or URL by which other libraries open the folder."""
        ...

    @property
    def local(self) -> Path | None:
        """The folder on this machine; None in an object store."""
        ...

    def at(self, path: str) -> Location:
        """The location of a folder below this one."""
        ...

    def read(self, path: str, start: int = 0, length: int | None = None) -> bytes:
        """Read a file, or a range of its bytes; past its end there is nothing.

        Raises
        ------
        FileNotFoundError
            There is no such file.
        """
        ...

    def open(self, path: str) -> BinaryIO:
        """Open a file for a library that reads parts of it; FileNotFoundError if there is none."""
        ...

    def stream(self, path: str) -> Iterator[bytes]:
        """Read a file portion by portion; FileNotFoundError if there is none."""
        ...

    def size(self, path: str) -> int | None:
        """The bytes of a file; None if there is no such file."""
        ...

    def modified(self, path: str) -> datetime | None:
        """The instant at which a file was written; None if there is no such file."""
        ...

    def missing(self, paths: Iterable[str]) -> set[str]:
        """Return which of some files are not there."""
        ...

    def digest(self, path: str) -> str:
        """The SHA-256 of a file, in hex; FileNotFoundError if there is none."""
        ...

    def list(self, folder: str = "") -> Mapping[str, int]:
        """The bytes of every file in a folder and in the folders below it, by path."""
        ...

    def names(self, folder: str = "") -> set[str]:
        """The names of the files and folders that lie directly in a folder."""
        ...

    def create(self, path: str) -> AbstractContextManager[Sink]:
        """Open a file for writing; it appears as the block ends, unless by an exception."""
        ...

    def write(
        self, path: str, content: bytes | Iterable[bytes], *, sha256: str | None = None
    ) -> Written:
        """Write a file; return its size and digest.

        Parameters
        ----------
        sha256
            What the digest must be: else nothing is written, and what was there before stays.
        """
        ...

    def delete(self, paths: Iterable[str]) -> None:
        """Delete files; those that are not there are passed over."""
        ...

    def clear(self, folder: str) -> None:
        """Delete a folder with all that killed writers left unfinished in it."""
        ...

    def sync(self, paths: Iterable[str] = ()) -> None:
        """Return once all that was written and deleted here survives a power failure.

        Parameters
        ----------
        paths
            Files that other libraries wrote here: they survive it too.
        """
        ...


def location(place: str | Path) -> Location:
    """Return the location that a path or URL names.

    Parameters
    ----------
    place
        A folder, which need not exist yet, or `s3://`, `gs://`, `az://` and a prefix. Credentials
        come from the environment, as the clouds' own tools have them.

    Raises
    ------
    ConfigError
        The URL's scheme is not supported.
    """
    text = str(place)
    scheme, found, rest = text.partition("://")
    if not text.strip() or re.match(r"[a-z][a-z0-9+]+:/(?!/)", text):
        raise ConfigError(
            f"'{text}' names no folder: write a path, or a URL such as s3://bucket/a."
        )
    if not found:
        return Folder(place)
    if scheme == "file" and rest.startswith("/"):
        return Folder(rest)
    if scheme == "file":
        raise ConfigError(f"'{text}' names a folder of another host: write file:///folder.")
    if scheme in SCHEMES:
        return Bucket(text)
    raise ConfigError(
        f"'{scheme}://' is no scheme of a location." + suggestion(scheme, ["file", *SCHEMES])
    )

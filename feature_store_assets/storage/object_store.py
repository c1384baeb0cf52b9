"""A prefix in an object store: S3 and what speaks like it, Google Cloud Storage, Azure."""

from __future__ import annotations

import io
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from functools import partial
from tempfile import SpooledTemporaryFile
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from feature_store_assets.errors import ConfigError, LocationUnusable
from feature_store_assets.storage.file_writer import Sink, Written, digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

SCHEMES = ("s3", "s3a", "gs", "az", "abfs", "abfss")
_PORTION = 4 << 20
# What is held in memory of a file before it is sent; the rest waits on the local disk.
_SPOOLED = 16 << 20
# A store that is away for longer is said to be.
_RETRIES: Any = {"max_retries": 5, "retry_timeout": timedelta(seconds=20)}
# S3 deletes so many files in one request.
_DELETED = 1_000


class Bucket:
    """A location in an object store; see `storage.Location`. Nothing connects before its first use.

    Parameters
    ----------
    url
        Bucket and prefix. Credentials and endpoint come from the environment.
    """

    def __init__(self, url: str) -> None:
        from obstore.exceptions import BaseError
        from obstore.store import from_url

        base, asked, _ = url.partition("?")
        self.shown = base.rstrip("/")
        self._prefix = ""
        if "@" in base and not base.startswith("abfs"):  # there the container stands before it
            raise ConfigError(
                f"'{base.partition('://')[0]}://...@...' holds a login: give credentials in the "
                f"environment, as the cloud's own tools have them."
            )
        if asked:  # what follows may be a secret
            raise ConfigError(
                f"'{self.shown}?...' has options after the '?'. Set them in the environment, as "
                f"the cloud's own tools have them: AWS_REGION, AWS_ENDPOINT_URL, ..."
            )
        try:
            self._store: Any = from_url(self.shown, retry_config=_RETRIES)
        except (BaseError, ValueError) as error:
            raise ConfigError(f"'{self.shown}' is no object store: {_reason(error)}.") from None

    @property
    def uri(self) -> str:
        return self.shown

    @property
    def local(self) -> None:
        return None

    def at(self, path: str) -> Bucket:
        below = object.__new__(Bucket)
        below.shown, below._store = f"{self.shown}/{path}", self._store
        below._prefix = f"{self._prefix}{path}/"
        return below

    def read(self, path: str, start: int = 0, length: int | None = None) -> bytes:
        if start == 0 and length is None:
            return b"".join(self.stream(path))
        size = self._head(path)["size"]
        end = size if length is None else min(size, start + length)
        return self._range(path, start, end)

    def _range(self, path: str, start: int, end: int) -> bytes:
        import obstore

        if start >= end:
            return b""
        with self._usable(path):
            return bytes(obstore.get_range(self._store, self._prefix + path, start=start, end=end))

    def open(self, path: str) -> BinaryIO:
        remote = _Remote(partial(self._range, path), self._head(path)["size"])
        return cast("BinaryIO", io.BufferedReader(remote))

    def stream(self, path: str) -> Iterator[bytes]:
        import obstore

        with self._usable(path):
            found = obstore.get(self._store, self._prefix + path)
            for portion in found.stream(min_chunk_size=_PORTION):
                yield bytes(portion)

    def size(self, path: str) -> int | None:
        with suppress(FileNotFoundError):
            return int(self._head(path)["size"])
        return None

    def modified(self, path: str) -> datetime | None:
        with suppress(FileNotFoundError):
            found: datetime = self._head(path)["last_modified"]
            return found
        return None

    def _head(self, path: str) -> Any:
        import obstore

        with self._usable(path):
            return obstore.head(self._store, self._prefix + path)

    def missing(self, paths: Iterable[str]) -> set[str]:
        return {*paths} - self.list().keys()

    def digest(self, path: str) -> str:
        return digest(self.stream(path))

    def list(self, folder: str = "") -> dict[str, int]:
        import obstore

        with self._usable(folder):
            found = obstore.list(self._store, prefix=self._prefix + folder or None)
            return {
                each["path"].removeprefix(self._prefix): each["size"]
                for portion in found
                for each in portion
            }

    def names(self, folder: str = "") -> set[str]:
        import obstore

        with self._usable(folder):
            found = obstore.list_with_delimiter(self._store, prefix=self._prefix + folder or None)
        paths = [*found["common_prefixes"], *(each["path"] for each in found["objects"])]
        return {path.rstrip("/").rpartition("/")[2] for path in paths}

    @contextmanager
    def create(self, path: str) -> Iterator[Sink]:
        import obstore

        # Sent when it is whole: an upload that breaks off half way would lie there, and cost.
        with SpooledTemporaryFile(max_size=_SPOOLED) as file:
            sink = Sink(file, self.shown)
            yield sink
            if sink.keep:
                file.seek(0)
                with self._usable(path):
                    obstore.put(self._store, self._prefix + path, file)

    def write(
        self, path: str, content: bytes | Iterable[bytes], *, sha256: str | None = None
    ) -> Written:
        with self.create(path) as sink:
            return sink.fill(content, sha256)

    def delete(self, paths: Iterable[str]) -> None:
        import obstore

        named = [self._prefix + path for path in paths]
        for first in range(0, len(named), _DELETED):
            with suppress(FileNotFoundError), self._usable(""):
                obstore.delete(self._store, named[first : first + _DELETED])

    def clear(self, folder: str) -> None:
        self.delete(self.list(folder))

    def sync(self, paths: Iterable[str] = ()) -> None:
        """Return at once: what an object store has acknowledged is safe."""

    @contextmanager
    def _usable(self, path: str) -> Iterator[None]:
        from obstore.exceptions import BaseError

        try:
            yield
        except FileNotFoundError:
            raise FileNotFoundError(f"{self.shown}/{path}") from None
        except BaseError as error:
            raise LocationUnusable(self.shown, _reason(error)) from None


class _Remote(io.RawIOBase):
    """A file in an object store, read range by range."""

    def __init__(self, read: Callable[[int, int], bytes], size: int) -> None:
        self._read, self._size, self._at = read, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        found = self._read(self._at, min(self._at + len(buffer), self._size))
        buffer[: len(found)] = found
        self._at += len(found)
        return len(found)


def _reason(error: Exception) -> str:
    """Return why a store refused, in one line."""
    return str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__

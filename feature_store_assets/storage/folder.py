"""A folder on a local disk."""

from __future__ import annotations

import os
import secrets
import shutil
import stat
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, BinaryIO

from feature_store_assets.errors import LocationUnusable
from feature_store_assets.storage.file_writer import Sink, Written, digest, unusable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

# What a killed writer leaves has that ending; no file of ours does.
UNFINISHED = ".part"
_PORTION = 4 << 20
_NOT_THERE = (FileNotFoundError, NotADirectoryError)


class Folder:
    """A location on a local disk; see `storage.Location`.

    A file's bytes are on the disk once it has its name; the name is after `sync`.

    Parameters
    ----------
    path
        The folder; it is made by the first file in it.
    """

    def __init__(self, path: str | Path) -> None:
        self._root = Path(path).absolute()
        self._shown = str(path)
        self._changed = set[Path]()
        self._lock = Lock()

    @property
    def shown(self) -> str:
        return self._shown

    @property
    def uri(self) -> str:
        return str(self._root)

    @property
    def local(self) -> Path:
        return self._root

    def at(self, path: str) -> Folder:
        return Folder(self._root / path)

    def read(self, path: str, start: int = 0, length: int | None = None) -> bytes:
        with self._usable(), self.open(path) as file:
            file.seek(start)
            return file.read(-1 if length is None else length)

    def open(self, path: str) -> BinaryIO:
        with self._usable():
            try:
                return (self._root / path).open("rb")
            except (IsADirectoryError, NotADirectoryError):
                raise FileNotFoundError(self._root / path) from None

    def stream(self, path: str) -> Iterator[bytes]:
        with self._usable(), self.open(path) as file:
            while portion := file.read(_PORTION):
                yield portion

    def size(self, path: str) -> int | None:
        found = self._stat(path)
        return None if found is None else found.st_size

    def modified(self, path: str) -> datetime | None:
        found = self._stat(path)
        return None if found is None else datetime.fromtimestamp(found.st_mtime, UTC)

    def _stat(self, path: str) -> os.stat_result | None:
        with self._usable(), suppress(*_NOT_THERE):
            found = (self._root / path).stat()
            return found if stat.S_ISREG(found.st_mode) else None
        return None

    def missing(self, paths: Iterable[str]) -> set[str]:
        # Thousands at a time, which pathlib is slow with.
        return {path for path in paths if not os.path.exists(f"{self._root}/{path}")}  # noqa: PTH110

    def digest(self, path: str) -> str:
        return digest(self.stream(path))

    def list(self, folder: str = "") -> dict[str, int]:
        found: dict[str, int] = {}
        with self._usable():
            self._list(folder and f"{folder}/", found)
        return found

    def _list(self, below: str, found: dict[str, int]) -> None:
        with suppress(*_NOT_THERE), os.scandir(self._root / below) as every:
            for each in every:
                if each.is_dir():
                    self._list(f"{below}{each.name}/", found)
                elif not each.name.endswith(UNFINISHED):
                    with suppress(FileNotFoundError):
                        found[f"{below}{each.name}"] = each.stat().st_size

    def names(self, folder: str = "") -> set[str]:
        with self._usable(), suppress(*_NOT_THERE):
            return {each.name for each in (self._root / folder).iterdir()}
        return set()

    @contextmanager
    def create(self, path: str) -> Iterator[Sink]:
        final = self._root / path
        unfinished = final.with_name(f"{final.name}.{secrets.token_hex(4)}{UNFINISHED}")
        with self._usable():
            try:
                self._make(final.parent)
                file = unfinished.open("wb")
            except FileNotFoundError as error:  # of what may not be made
                raise unusable(self._shown, error) from None
        try:
            with file:
                sink = Sink(file, self._shown)
                yield sink
                if sink.keep:
                    with self._usable():
                        file.flush()
                        os.fsync(file.fileno())
                        unfinished.replace(final)
        finally:
            unfinished.unlink(missing_ok=True)

    def write(
        self, path: str, content: bytes | Iterable[bytes], *, sha256: str | None = None
    ) -> Written:
        with self.create(path) as sink:
            return sink.fill(content, sha256)

    def delete(self, paths: Iterable[str]) -> None:
        with self._usable():
            for path in paths:
                file = self._root / path
                with suppress(*_NOT_THERE, IsADirectoryError):
                    file.unlink()
                    with self._lock:
                        self._changed.add(file.parent)

    def clear(self, folder: str) -> None:
        going = self._root / folder
        with self._usable(), suppress(*_NOT_THERE):
            shutil.rmtree(going)
        with self._lock:
            self._changed = {each for each in self._changed if not each.is_relative_to(going)}
            self._changed.add(going.parent)

    def sync(self, paths: Iterable[str] = ()) -> None:
        written = [self._root / path for path in paths]
        with self._lock:
            changed, self._changed = self._changed, set()
        if written:
            changed |= {self._root, *(file.parent for file in written)}
        with self._usable():
            for file in written:
                fsync(file)
            for folder in changed:
                with suppress(FileNotFoundError):
                    fsync(folder)

    def _make(self, folder: Path) -> None:
        """Make a folder and those above it; `sync` pushes their names to the disk.

        Also of those that are there: another library may have made them.
        """
        with self._lock:
            if folder in self._changed:
                return
            new = [each for each in (folder, *folder.parents) if each.is_relative_to(self._root)]
            while not new[-1].exists():
                new.append(new[-1].parent)
            folder.mkdir(parents=True, exist_ok=True)
            self._changed.update(new)

    @contextmanager
    def _usable(self) -> Iterator[None]:
        try:
            yield
        except (FileNotFoundError, LocationUnusable):
            raise
        except OSError as error:
            raise unusable(self._shown, error) from None


def fsync(path: Path) -> None:
    """Push a file, or a folder's names, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

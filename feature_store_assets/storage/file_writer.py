"""A file being written: its bytes are counted and digested on their way."""

from __future__ import annotations

import hashlib
import io
import os
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

from feature_store_assets.errors import LocationUnusable

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True)
class Written:
    """The bytes and the SHA-256, in hex, of a file that was written."""

    size: int
    sha256: str


class Sink(io.BufferedIOBase, IO[bytes]):
    """What a file is written into, by us or by a library that takes a binary file.

    Parameters
    ----------
    file
        Where the bytes go; whoever opened it closes it.
    shown
        The location, for messages.

    Attributes
    ----------
    keep
        Whether the file shall appear.
    """

    def __init__(self, file: IO[bytes], shown: str) -> None:
        self.keep = True
        self._file = file
        self._shown = shown
        self._size = 0
        self._digest = hashlib.sha256()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        try:
            self._file.write(data)
        except OSError as error:
            raise unusable(self._shown, error) from None
        self._digest.update(data)
        size = memoryview(data).nbytes
        self._size += size
        return size

    def fill(self, content: bytes | Iterable[bytes], sha256: str | None) -> Written:
        """Write content, and keep it if its digest is what was expected."""
        for portion in [content] if isinstance(content, bytes) else content:
            self.write(portion)
        self.keep = sha256 in (None, self.written.sha256)
        return self.written

    def tell(self) -> int:
        return self._size

    @property
    def written(self) -> Written:
        """What was written so far."""
        return Written(self._size, self._digest.hexdigest())


def digest(content: Iterable[bytes]) -> str:
    """Return the SHA-256 of content, in hex."""
    found = hashlib.sha256()
    for portion in content:
        found.update(portion)
    return found.hexdigest()


def unusable(shown: str, error: OSError) -> LocationUnusable:
    """Return our error for one of the operating system's."""
    return LocationUnusable(shown, os.strerror(error.errno) if error.errno else str(error))

"""Reads that begin again where retention removes files beneath them.

Retention takes partitions out of a table, waits for those who still read the version before, and
removes the files. A read that takes longer finds them gone. It is begun again then, on the newer
version, and told of what was removed meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from feature_store_assets.offline.table import OfflineTable

_Answer = TypeVar("_Answer")
# How often a read is begun again.
_READS = 5


class Watched:
    """The tables that an attempt reads in their newest version."""

    def __init__(self) -> None:
        self._tables: list[tuple[OfflineTable, int, Callable[[], object]]] = []

    def add(self, table: OfflineTable, check: Callable[[], object] = lambda: None) -> None:
        """Watch a table before it is read.

        Parameters
        ----------
        check
            Tells what retention removed of what is asked for, by a warning or an error. It is
            called now, and again if the table has changed by the end of the read.
        """
        version = table.version()
        check()
        self._tables.append((table, version, check))

    def moved(self) -> list[Callable[[], object]]:
        """Return the checks of the tables that have another version by now."""
        return [check for table, version, check in self._tables if table.version() != version]


def steady(read: Callable[[Watched], _Answer]) -> _Answer:
    """Read, and begin again if files went away meanwhile.

    Parameters
    ----------
    read
        Adds each table that it reads in the newest version to the tables watched, then reads it.

    Raises
    ------
    OSError
        Files are gone, and no table has changed: that is damage.
    """
    for _ in range(_READS):
        watched = Watched()
        try:
            answer = read(watched)
        except OSError:
            if not watched.moved():
                raise
            continue
        for check in watched.moved():
            check()
        return answer
    return read(Watched())

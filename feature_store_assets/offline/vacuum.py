"""Removing files of a Delta table that nothing needs any more, safe beside writers.

Delta's own vacuum goes by checkpoints and the age of files; this goes by the log, see
`commit_history`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from feature_store_assets.offline.commit_history import LOG, history

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from feature_store_assets.storage import Location

# A file that no commit named by then is one that no commit will name.
_LONGEST_RUN = timedelta(days=7)


@dataclass(frozen=True)
class Freed:
    """What was removed from disk, or would be; `left` is what a listing still finds of it."""

    files: int
    bytes: int
    left: int = 0


def free(table: Location, removed: Mapping[str, int], *, keep: Collection[str]) -> Freed:
    """Remove from disk what partitions held before they were removed.

    Parameters
    ----------
    removed
        Partition to the version without it. What was written to it later stays.
    keep
        Files that stay.
    """
    going = {
        file.path
        for file in history(table).superseded
        if file.version <= removed.get(file.partition, -1)
    }
    stored = table.list()
    freed = {path: stored[path] for path in stored.keys() & going - {*keep}}
    table.delete(freed)
    return Freed(len(freed), sum(freed.values()), len(going - table.missing(going)))


def sweep(table: Location, *, oldest: int, keep: Collection[str], dry_run: bool) -> Freed:
    """Remove files that no version from `oldest` on needs, but for those that are to be kept.

    What killed writers left goes as well, once no run can be that old.
    """
    past = history(table)
    stale = {file.path for file in past.superseded if file.version <= oldest} - {*keep}
    before = datetime.now(UTC) - _LONGEST_RUN
    going = {
        path: size
        for path, size in table.list().items()
        if path.endswith(".parquet") and not path.startswith(f"{LOG}/")
        if path in stale or (path not in past.named and _is_older(table, path, before))
    }
    if not dry_run:
        table.delete(going)
    return Freed(len(going), sum(going.values()))


def _is_older(table: Location, path: str, than: datetime) -> bool:
    written = table.modified(path)
    return written is not None and written < than

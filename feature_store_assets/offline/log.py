"""The Delta log of one folder: open it, retry on conflict, list files, make commits durable."""

from __future__ import annotations

import json
import os
import threading
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from feature_store_assets.errors import StorageUnusable, WriteConflict
from feature_store_assets.offline.reading import DataFile
from feature_store_assets.offline.schema import PARTITION

if TYPE_CHECKING:
    from collections.abc import Iterator

    from deltalake import DeltaTable

COMMIT, COMMITTED_AT = "feature_store.commit", "feature_store.committed_at"
_ATTEMPTS = 20
# The log's statistics cut timestamps to milliseconds.
_STATISTIC_STEP = timedelta(milliseconds=1)


class DeltaLog:
    """The log of the table in a folder, kept open and followed incrementally.

    Parameters
    ----------
    path
        The table's folder.
    owner
        The group's name, for messages.
    timestamp
        The column whose statistics date the files.
    """

    def __init__(self, path: Path, owner: str, timestamp: str) -> None:
        self.path = path
        self.lock = threading.RLock()
        self._owner = owner
        self._timestamp = timestamp
        self._table: DeltaTable | None = None

    def open(self, version: int | None = None) -> DeltaTable | None:
        """Return the table at its newest version (kept open), or at an older one."""
        from deltalake import DeltaTable
        from deltalake.exceptions import TableNotFoundError

        with self.lock:
            try:
                if version is not None:
                    return DeltaTable(str(self.path), version=version)
                if self._table is None:
                    self._table = DeltaTable(str(self.path))
                else:
                    self._table.update_incremental()
            except TableNotFoundError:
                return None
            return self._table

    def attempts(self) -> Iterator[Any]:
        from deltalake.exceptions import CommitFailedError
        from tenacity import (
            RetryError,
            Retrying,
            retry_if_exception_type,
            stop_after_attempt,
            wait_random_exponential,
        )

        retrying = Retrying(
            stop=stop_after_attempt(_ATTEMPTS),
            wait=wait_random_exponential(multiplier=0.05, max=2),
            retry=retry_if_exception_type(CommitFailedError),
        )
        try:
            yield from retrying
        except RetryError:
            raise WriteConflict(self._owner, _ATTEMPTS) from None

    def fsync(self, version: int) -> None:
        """Push a commit, its files and their folders to the disk: delta-rs never does."""
        entry = self.path / "_delta_log" / f"{version:020d}.json"
        lines = [json.loads(line) for line in entry.read_text().splitlines()]
        added = [self.path / unquote(line["add"]["path"]) for line in lines if "add" in line]
        files = [*added, entry]
        folders = {folder for file in files for folder in (file.parent, self.path)}
        for path in [*files, *sorted(folders)]:
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def version_of(self, commit: str) -> int:
        table = self.open()
        assert table is not None
        for count in (20, None):
            for entry in table.history(count):
                if entry.get(COMMIT) == commit:
                    return int(entry["version"])
        raise StorageUnusable(str(self.path), f"the log lost commit {commit}")

    def version_at(self, moment: datetime) -> int:
        """Return the version that was newest at an instant, by our own record of commits."""
        table = self.open()
        for entry in [] if table is None else table.history():
            at = entry.get(COMMITTED_AT)
            if at is not None and datetime.fromisoformat(at) <= moment:
                return int(entry["version"])
        return 0

    def files(self, table: DeltaTable) -> list[DataFile]:
        import polars as pl

        added: Any = table.get_add_actions(flatten=True)
        actions = pl.DataFrame(added)
        low, high = f"min.{self._timestamp}", f"max.{self._timestamp}"
        for name in (low, high):
            if name not in actions.columns:
                actions = actions.with_columns(pl.lit(None).alias(name))
        chosen = actions.select(
            "path", "partition.partition", "num_records", "size_bytes", low, high
        )
        return [
            DataFile(
                str(self.path / unquote(path)),
                partition,
                rows,
                size,
                first,
                None if last is None else last + _STATISTIC_STEP,
            )
            for path, partition, rows, size, first, last in chosen.sort(
                "partition.partition", "path"
            ).iter_rows()
        ]

    def ever_in(self, partitions: set[str]) -> list[str]:
        """Every file that any commit ever added to the partitions."""
        found = []
        for entry in sorted((self.path / "_delta_log").glob("*.json")):
            for line in entry.read_text().splitlines():
                added = json.loads(line).get("add")
                if added and added["partitionValues"].get(PARTITION) in partitions:
                    found.append(str(self.path / unquote(added["path"])))
        return found

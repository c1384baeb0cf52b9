"""Rejected partitions: each kept as one file, every row with its own reasons."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING
from urllib.parse import quote

from feature_store_assets.errors import NotQuarantined

if TYPE_CHECKING:
    from collections.abc import Sequence

    import polars as pl

    from feature_store_assets.storage import Location

REASONS = "reasons"
_FILE = re.compile(r"[^/]+/v\d+/[^/]+/[^/]+\.parquet")


@dataclass(frozen=True)
class Rejected:
    """One partition that a run brought and the gate kept out.

    Attributes
    ----------
    reasons
        Why it was kept out; what is wrong with single rows stands in the file.
    location, file
        Where its file lies.
    """

    feature_group: str
    version: int
    partition: str
    run_id: str
    rejected_at: datetime
    rows: int
    reasons: tuple[str, ...]
    location: Location
    file: str

    @property
    def path(self) -> str:
        """The local path or URL of its file."""
        return f"{self.location.uri}/{self.file}"

    def read(self) -> pl.DataFrame:
        """Read the rows as they are, with their `partition` and `reasons`."""
        import polars as pl

        with self.location.open(self.file) as file:
            return pl.read_parquet(file)


class Quarantine:
    """The folder of rejected partitions.

    Parameters
    ----------
    location
        `<data root>/quarantine`.
    """

    def __init__(self, location: Location) -> None:
        self._location = location

    def keep(
        self,
        rows: pl.DataFrame,
        *,
        feature_group: str,
        version: int,
        partition: str,
        run_id: str,
        rejected_at: datetime,
        reasons: Sequence[str],
    ) -> str:
        """Keep a rejected partition and return the local path or URL of its file.

        Parameters
        ----------
        rows
            The rows, with a column `reasons` that lists what is wrong with each.
        reasons
            Why the partition as a whole was rejected.
        """
        path = f"{_folder(feature_group, version, partition)}/{run_id}.parquet"
        with self._location.create(path) as file:
            rows.write_parquet(
                file,
                metadata={
                    "feature_group": feature_group,
                    "version": str(version),
                    "partition": partition,
                    "run_id": run_id,
                    "rejected_at": rejected_at.isoformat(),
                    "reasons": json.dumps(list(reasons)),
                },
            )
        self._location.sync()
        return f"{self._location.uri}/{path}"

    def entries(self, feature_group: str | None = None) -> list[Rejected]:
        """Return what lies in quarantine: by group and partition, the newest first."""
        found = []
        for path in filter(_FILE.fullmatch, self._location.list(feature_group or "")):
            # Another process may have brought better rows meanwhile.
            with suppress(FileNotFoundError):
                found.append(self._entry(path))
        found.sort(key=lambda entry: entry.rejected_at, reverse=True)
        return sorted(found, key=lambda entry: (entry.feature_group, entry.partition))

    def newest(self, feature_group: str, partition: str, *, version: int) -> Rejected:
        """Return what was rejected last of a partition.

        Raises
        ------
        NotQuarantined
            Nothing of that partition lies in quarantine.
        """
        there = [entry for entry in self.entries(feature_group) if entry.version == version]
        for entry in there:
            if entry.partition == partition:
                return entry
        others = dict.fromkeys(entry.partition for entry in there)
        raise NotQuarantined(feature_group, partition, list(others))

    def remove(self, feature_group: str, partitions: Sequence[str], *, version: int) -> None:
        """Forget what was rejected of partitions, now that better rows are stored."""
        better = {_folder(feature_group, version, partition) for partition in partitions}
        kept = self._location.list(f"{feature_group}/v{version}")
        self._location.delete(path for path in kept if path.rpartition("/")[0] in better)

    def forget(self, before: datetime, *, dry_run: bool) -> int:
        """Remove what was rejected before an instant; return how many partitions that were."""
        old = [entry for entry in self.entries() if entry.rejected_at < before]
        if not dry_run:
            self._location.delete(entry.file for entry in old)
        return len(old)

    def _entry(self, path: str) -> Rejected:
        import pyarrow.parquet as pq

        with self._location.open(path) as file:
            stored = pq.read_metadata(file)
        told = {key.decode(): value.decode() for key, value in (stored.metadata or {}).items()}
        return Rejected(
            told["feature_group"],
            int(path.split("/")[1].removeprefix("v")),
            told["partition"],
            told["run_id"],
            datetime.fromisoformat(told["rejected_at"]),
            stored.num_rows,
            tuple(json.loads(told["reasons"])),
            self._location,
            path,
        )


def _folder(feature_group: str, version: int, partition: str) -> str:
    return f"{feature_group}/v{version}/{quote(partition, safe='')}"

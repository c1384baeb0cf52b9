"""Rejected partitions: each kept as one file, every row with its own reasons."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from feature_store_assets.errors import NotQuarantined

if TYPE_CHECKING:
    from collections.abc import Sequence

    import polars as pl

REASONS = "reasons"


@dataclass(frozen=True)
class Rejected:
    """One partition that a run brought and the gate kept out.

    Attributes
    ----------
    reasons
        Why it was kept out; what is wrong with single rows stands in the file.
    """

    feature_group: str
    version: int
    partition: str
    run_id: str
    rejected_at: datetime
    rows: int
    reasons: tuple[str, ...]
    path: Path

    def read(self) -> pl.DataFrame:
        """Read the rows as they are, with their `partition` and `reasons`."""
        import polars as pl

        return pl.read_parquet(self.path)


class Quarantine:
    """The folder of rejected partitions.

    Parameters
    ----------
    folder
        `<data root>/quarantine`.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

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
    ) -> Path:
        """Keep a rejected partition and return its file; a file appears whole or not at all.

        Parameters
        ----------
        rows
            The rows, with a column `reasons` that lists what is wrong with each.
        reasons
            Why the partition as a whole was rejected.
        """
        folder = self._of(feature_group, version) / quote(partition, safe="")
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{run_id}.parquet"
        temporary = path.with_suffix(".part")
        rows.write_parquet(
            temporary,
            metadata={
                "feature_group": feature_group,
                "version": str(version),
                "partition": partition,
                "run_id": run_id,
                "rejected_at": rejected_at.isoformat(),
                "reasons": json.dumps(list(reasons)),
            },
        )
        temporary.replace(path)
        return path

    def _of(self, feature_group: str, version: int) -> Path:
        return self._folder / feature_group / f"v{version}"

    def entries(self, feature_group: str | None = None) -> list[Rejected]:
        """Return what lies in quarantine: by group and partition, the newest first."""
        found = []
        for path in self._folder.glob(f"{feature_group or '*'}/v*/*/*.parquet"):
            # Another process may have brought better rows meanwhile.
            with suppress(FileNotFoundError):
                found.append(_entry(path))
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
        for partition in partitions:
            folder = self._of(feature_group, version) / quote(partition, safe="")
            for path in folder.glob("*.parquet"):
                path.unlink(missing_ok=True)

    def forget(self, before: datetime, *, dry_run: bool) -> int:
        """Remove what was rejected before an instant; return how many partitions that were."""
        old = [entry for entry in self.entries() if entry.rejected_at < before]
        for entry in () if dry_run else old:
            entry.path.unlink(missing_ok=True)
        return len(old)


def _entry(path: Path) -> Rejected:
    import pyarrow.parquet as pq

    stored = pq.read_metadata(path)
    told = {key.decode(): value.decode() for key, value in (stored.metadata or {}).items()}
    return Rejected(
        told["feature_group"],
        int(path.parent.parent.name.removeprefix("v")),
        told["partition"],
        told["run_id"],
        datetime.fromisoformat(told["rejected_at"]),
        stored.num_rows,
        tuple(json.loads(told["reasons"])),
        path,
    )

"""Compaction: many small files of a partition become one, with equal rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from feature_store_assets.offline.scan import portions

if TYPE_CHECKING:
    from collections.abc import Callable

    from feature_store_assets.offline.scan import DataFile
    from feature_store_assets.offline.table import OfflineTable

# A partition of fewer files is not worth a commit; larger files read well as they are.
FILES = 8
_LARGE = 64 << 20


@dataclass(frozen=True)
class Compacted:
    """What compaction did to one group.

    Attributes
    ----------
    partitions
        Those that were written anew.
    files, bytes
        Live files of these partitions, before and after.
    """

    feature_group: str
    partitions: tuple[str, ...]
    files: tuple[int, int]
    bytes: tuple[int, int]


def compact(
    name: str,
    table: OfflineTable,
    *,
    at_least: int = FILES,
    told: Callable[[str], object] = lambda _: None,
) -> Compacted:
    """Write each partition that lies in many small files into one; safe beside writers.

    The former files stay for time travel and snapshots until retention sweeps them.

    Parameters
    ----------
    at_least
        How many small files a partition has to have.
    told
        Hears of each portion that was committed.
    """
    before = _small(table, at_least)
    rows = {key: sum(file.rows for file in files) for key, files in before.items()}
    for portion in portions(rows):
        table.compact(portion)
        told(f"'{name}': {len(portion)} partitions lie in one file each.")
    after = table.files(partitions=list(before))
    old = [file for files in before.values() for file in files]
    return Compacted(
        name,
        tuple(before),
        (len(old), len(after)),
        (sum(file.bytes for file in old), sum(file.bytes for file in after)),
    )


def _small(table: OfflineTable, at_least: int) -> dict[str, list[DataFile]]:
    found: dict[str, list[DataFile]] = {}
    for file in table.files():
        found.setdefault(file.partition, []).append(file)
    return {
        partition: files
        for partition, files in found.items()
        if sum(file.bytes < _LARGE for file in files) >= at_least
    }

"""Reads of what retention removed: an error where nothing is left, a warning where some is."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from feature_store_assets.errors import OutsideRetention, OutsideRetentionWarning

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from feature_store_assets.declaration.group import FeatureGroup
    from feature_store_assets.offline.table import OfflineTable
    from feature_store_assets.registry.removed_partitions import Removal, Removals
    from feature_store_assets.snapshots import Snapshots


class RemovedRanges:
    """What retention removed from a group's table and nobody wrote again.

    Parameters
    ----------
    group, table
        The group.
    removals, snapshots
        What is recorded.
    """

    def __init__(
        self, group: FeatureGroup, table: OfflineTable, removals: Removals, snapshots: Snapshots
    ) -> None:
        self._group, self._table, self._snapshots = group, table, snapshots
        recorded = removals.of(group.name, group.version)
        live = set(table.partitions()) if recorded else set()
        self._removed = [each for each in recorded if each.partition not in live]

    def check_range(
        self,
        start: datetime | None,
        end: datetime | None,
        partitions: Sequence[str] | None,
    ) -> None:
        """Look at a read of partitions, or of event times in `[start, end)`.

        Raises
        ------
        OutsideRetention
            All that was asked for was removed.
        """
        if partitions is not None:
            gone = [each.partition for each in self._removed if each.partition in partitions]
            if gone:
                self._tell(
                    f"Partition {', '.join(sorted(gone))}", whole=len(gone) == len(partitions)
                )
        elif start is not None or end is not None:
            gone = [each.partition for each in self._removed if _overlaps(each, start, end)]
            if gone:
                left = self._table.files(start=start, end=end)
                shown = f"{start.isoformat() if start else 'The past'}"
                self._tell(f"{shown} to {end.isoformat() if end else 'now'}", whole=not left)

    def check_times(self, times: Callable[[], pa.ChunkedArray[Any]]) -> None:
        """Look at a join: which of the spine's times lie outside.

        Raises
        ------
        OutsideRetention
            All of them do.
        """
        import pyarrow.compute as pc

        firsts = [each.first for each in self._removed if each.first is not None]
        if not firsts:
            return
        asked, kept_from = times(), self._kept_from()
        # Before the first row there never was an answer; before the kept ones there is none now.
        lost = pc.greater_equal(asked, pa.scalar(min(firsts), asked.type))
        if kept_from is not None:
            lost = pc.and_(lost, pc.less(asked, pa.scalar(kept_from, asked.type)))
        outside = asked.filter(lost).length()
        if outside:
            shown = f"The time of {outside} of {len(asked)} rows of the spine"
            self._tell(shown, whole=outside == len(asked))

    def _kept_from(self) -> datetime | None:
        firsts = [file.first for file in self._table.files() if file.first is not None]
        return min(firsts, default=None)

    def _tell(self, asked: str, *, whole: bool) -> None:
        named = asked, self._kept_from(), self._snapshots.holding(self._group)
        error = OutsideRetention(self._group.name, *named)
        if whole:
            raise error
        warnings.warn(str(error), OutsideRetentionWarning, stacklevel=4)


def _overlaps(removal: Removal, start: datetime | None, end: datetime | None) -> bool:
    if removal.first is None or removal.last is None:
        return False
    return (end is None or removal.first < end) and (start is None or removal.last >= start)

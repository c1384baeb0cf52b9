"""Which partition each row belongs to: of a run, of a push, of a source asset.

Dagster's partition objects are asked for windows and dimensions; Dagster is not imported for it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from feature_store_assets.dagster_io.names import ALL
from feature_store_assets.declaration.group import Closed, FeatureGroup, Window
from feature_store_assets.errors import OutsideWindow, SchemaMismatch
from feature_store_assets.offline.calendar_check import refuse_outside
from feature_store_assets.offline.schema import (
    PARTITION,
    UTC_MICROSECONDS,
    TableSchema,
    examples,
)

_TICK = timedelta(microseconds=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DATED = "timestamp with a zone"
_Codes = np.ndarray[Any, np.dtype[np.int64]]


def by_calendar(rows: pa.Table, group: FeatureGroup) -> pa.Table:
    """Give each row the partition of its event time: 2024, 2024-01 or 2024-01-31."""
    assert group.partitions is not None
    fmt = "-".join(f"%{letter}" for letter in "Ymd"[: len(group.partitions.keys)])
    keys = pc.strftime(rows[group.timestamp], format=fmt)
    return rows.append_column(PARTITION, keys.cast(pa.string()))


def by_column(rows: pa.Table, column: str, slots: "TimeSlots", *, owner: str) -> pa.Table:
    """Give each row the partition whose window the time in a column lies in.

    Raises
    ------
    SchemaMismatch, OutsideCalendar
        The column does not date the rows.
    OutsideWindow
        Rows lie in none of the windows.
    """
    if column not in rows.column_names:
        raise SchemaMismatch(owner, column, wanted=_DATED, got=None)
    refuse_outside(rows[column], owner=owner, name=column)
    try:
        times = rows[column].cast(UTC_MICROSECONDS)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        got, hint = str(rows[column].type), "Cast it there, in whole microseconds."
        raise SchemaMismatch(owner, column, wanted=_DATED, got=got, hint=hint) from None
    codes = slots.assign(times, "left")
    if outside := int((codes < 0).sum()):
        raise OutsideWindow(owner, outside, f"the {len(slots.keys)} partition(s) asked for")
    keys = pa.array(np.array(slots.keys, dtype=object)[codes], pa.string())
    return rows.append_column(PARTITION, keys)


@dataclass(frozen=True)
class TimeSlots:
    """Windows of time in UTC, ascending, each with its partition key."""

    keys: tuple[str, ...]
    starts: tuple[datetime, ...]
    ends: tuple[datetime, ...]

    @classmethod
    def of(cls, definition: Any, keys: Sequence[str]) -> "TimeSlots":
        """Ask Dagster for each key's window: keys are never parsed."""
        windows = [(definition.time_window_for_partition_key(key), key) for key in keys]
        # In UTC: Python compares instants of one zone by their wall clocks.
        slots = sorted((w.start.astimezone(UTC), w.end.astimezone(UTC), key) for w, key in windows)
        starts, ends, ordered = zip(*slots, strict=True)
        return cls(ordered, starts, ends)

    def assign(self, times: "pa.ChunkedArray[Any]", closed: Closed) -> _Codes:
        """Return each row's slot; -1 in no slot, -2 before the first."""
        micros = times.cast(pa.int64()).fill_null(pa.scalar(0)).to_numpy()
        starts = np.array([_micros(start) for start in self.starts])
        ends = np.array([_micros(end) for end in self.ends])
        side: Any = "right" if closed == "left" else "left"
        slots = np.searchsorted(starts, micros, side=side) - 1
        inside = micros < ends[slots] if closed == "left" else micros <= ends[slots]
        inside &= times.is_valid().to_numpy()
        return np.where(slots < 0, -2, np.where(inside, slots, -1))


def _micros(moment: datetime) -> int:
    return (moment - _EPOCH) // _TICK


@dataclass(frozen=True)
class Slots:
    """The partitions that a run was asked for.

    Parameters
    ----------
    keys
        Partition keys; `("all",)` for a group without partitions.
    time
        Their windows, where there are any.
    """

    group: FeatureGroup
    keys: tuple[str, ...]
    time: TimeSlots | None
    multi: Any = None

    @classmethod
    def of(cls, group: FeatureGroup, definition: Any, keys: Sequence[str]) -> "Slots":
        """Describe the keys of a run."""
        if definition is None:
            return cls(group, (ALL,), None)
        spec = group.partitions
        assert spec is not None
        if spec.is_time:
            return cls(group, tuple(keys), TimeSlots.of(definition, keys))
        if spec.kind == "multi":
            timed = [name for name, part in spec.dimensions if part.is_time]
            time = None
            if timed:
                dimension = definition.get_partitions_def_for_dimension(timed[0])
                parts = {_parsed(definition, key)[timed[0]] for key in keys}
                time = TimeSlots.of(dimension, sorted(parts))
            return cls(group, tuple(keys), time, definition)
        return cls(group, tuple(keys), None)

    @property
    def window(self) -> Window:
        """What the run is to produce."""
        if self.time is None:
            return Window(None, None, self.keys)
        return Window(self.time.starts[0], self.time.ends[-1], self.keys)

    def assign(self, rows: pa.Table) -> tuple[pa.Table, int]:
        """Give each row its partition.

        Returns
        -------
        The rows inside with their `partition`, and how many lay before the window.

        Raises
        ------
        OutsideWindow
            Rows belong to partitions that were not asked for.
        """
        names, before = self._names(rows)
        known = set(self.keys)
        outside = [
            number
            for number, (name, early) in enumerate(zip(names, before, strict=True))
            if not early and name not in known
        ]
        if outside:
            window = self.window
            shown = (
                f"the partitions asked for ({', '.join(self.keys[:5])}"
                f"{', ...' if len(self.keys) > 5 else ''})"  # noqa: PLR2004  # a glimpse
                if window.start is None
                else f"the window {window.start} to {window.end} (closed='{self.group.closed}')"
            )
            schema = TableSchema.of(self.group)
            raise OutsideWindow(
                self.group.name, len(outside), shown, examples(rows, outside, schema)
            )
        inside = rows.append_column(PARTITION, pa.array(names, pa.string()))
        early = int(before.sum())
        return (inside.filter(pa.array(~before)) if early else inside), early

    def _names(self, rows: pa.Table) -> tuple[list[str | None], Any]:
        """Return each row's partition key, and which rows lie before the window."""
        count = rows.num_rows
        before = np.zeros(count, dtype=bool)
        times: list[str | None] = []
        if self.time is not None:
            slots = self.time.assign(rows[self.group.timestamp], self.group.closed)
            before = slots == -2  # noqa: PLR2004  # see TimeSlots.assign
            labels = np.array([*self.time.keys, None, None], dtype=object)
            times = labels[slots].tolist()
        if self.group.partitions is None:
            return [ALL] * count, before
        if not self.group.partition_by:
            return times, before
        columns = {name: rows[column].to_pylist() for name, column in self.group.partition_by}
        if self.multi is None:
            return [str(value) for value in columns["static"]], before
        timed = [name for name, part in self.group.partitions.dimensions if part.is_time]
        given = {**columns, **dict.fromkeys(timed, times)}
        keys = {tuple(sorted(_parsed(self.multi, key).items())): key for key in self.keys}
        names = sorted(given)
        return [
            keys.get(tuple(zip(names, map(str, values), strict=True)))
            for values in zip(*(given[name] for name in names), strict=True)
        ], before


def _parsed(definition: Any, key: str) -> dict[str, str]:
    parsed: dict[str, str] = definition.get_partition_key_from_str(key).keys_by_dimension
    return parsed

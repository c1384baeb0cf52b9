"""How a group's table is cut: our own description of Dagster's partition objects.

Dagster cannot serialise all of its partition objects, and reading features must not load it.
So a declaration keeps this value; `orchestration` makes Dagster's object from it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Self

from feature_store_assets.errors import DeclarationError

_TIME_KINDS = {
    "HourlyPartitionsDefinition": "hourly",
    "DailyPartitionsDefinition": "daily",
    "WeeklyPartitionsDefinition": "weekly",
    "MonthlyPartitionsDefinition": "monthly",
    "TimeWindowPartitionsDefinition": "cron",
}
_KINDS = {*_TIME_KINDS.values(), "static", "multi", "calendar"}
_CALENDAR = ("year", "month", "day")


@dataclass(frozen=True)
class Partitions:
    """The partitions of a group.

    Parameters
    ----------
    kind
        `hourly`, `daily`, `weekly`, `monthly`, `cron`, `static`, `multi`, or `calendar` for
        groups that are pushed to (the partition is cut from the event time).
    start, end, timezone, cron, fmt, end_offset
        Of the time kinds: aware instants, a zone name, the schedule and the format of the keys.
    keys
        Of `static`: the partition keys. Of `calendar`: any of year, month, day.
    dimensions
        Of `multi`: the two dimensions' names and partitions.
    """

    kind: str
    start: datetime | None = None
    end: datetime | None = None
    timezone: str | None = None
    cron: str | None = None
    fmt: str | None = None
    end_offset: int = 0
    keys: tuple[str, ...] = ()
    dimensions: tuple[tuple[str, "Partitions"], ...] = ()

    @classmethod
    def calendar(cls, columns: tuple[str, ...] | list[str]) -> Self:
        """Partitions cut from the event time: `("year", "month")` gives keys like 2024-01."""
        ordered = tuple(column for column in _CALENDAR if column in columns)
        if not ordered or set(columns) - set(_CALENDAR) or ordered != _CALENDAR[: len(ordered)]:
            raise DeclarationError(
                f"partitioning_columns takes year; year and month; or year, month and day; "
                f"not {list(columns)}."
            )
        return cls("calendar", keys=ordered)

    @classmethod
    def of(cls, dagster_object: Any) -> Self:
        """Describe one of Dagster's partition definitions."""
        name = type(dagster_object).__name__
        if name in _TIME_KINDS:
            given = dagster_object
            if getattr(given, "exclusions", None):
                raise DeclarationError("Partitions with exclusions are not supported.")
            return cls(
                _TIME_KINDS[name],
                start=given.start,
                end=given.end,
                timezone=given.timezone,
                cron=given.cron_schedule,
                fmt=given.fmt,
                end_offset=given.end_offset,
            )
        if name == "StaticPartitionsDefinition":
            return cls("static", keys=tuple(dagster_object.get_partition_keys()))
        if name == "MultiPartitionsDefinition":
            return cls(
                "multi",
                dimensions=tuple(
                    (dimension.name, cls.of(dimension.partitions_def))
                    for dimension in dagster_object.partitions_defs
                ),
            )
        raise DeclarationError(
            f"{name} cannot partition a feature group. Take Dagster's Hourly, Daily, Weekly, "
            f"Monthly, TimeWindow, Static or MultiPartitionsDefinition, or none."
        )

    @property
    def is_time(self) -> bool:
        """True where each partition is a window of time."""
        return self.cron is not None

    def to_json(self) -> dict[str, Any]:
        full: dict[str, Any] = {
            "kind": self.kind,
            "start": None if self.start is None else self.start.isoformat(),
            "end": None if self.end is None else self.end.isoformat(),
            "timezone": self.timezone,
            "cron": self.cron,
            "fmt": self.fmt,
            "end_offset": self.end_offset or None,
            "keys": list(self.keys) or None,
            "dimensions": [[name, part.to_json()] for name, part in self.dimensions] or None,
        }
        return {key: value for key, value in full.items() if value is not None}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Return what was declared.

        Raises
        ------
        DeclarationError
            No declaration makes such partitions.
        """
        given = dict(value)
        if unknown := given.keys() - {each.name for each in fields(cls)}:
            raise DeclarationError(f"Partitions have no field '{min(unknown)}'.")
        if given.get("kind") not in _KINDS:
            known = ", ".join(sorted(_KINDS))
            raise DeclarationError(f"Partitions are one of {known}, not '{given.get('kind')}'.")
        if given["kind"] == "calendar":
            return cls.calendar(tuple(given.get("keys", ())))
        for bound in ("start", "end"):
            if bound in given:
                given[bound] = datetime.fromisoformat(given[bound])
        given["keys"] = tuple(given.get("keys", ()))
        given["dimensions"] = tuple(
            (name, cls.from_json(part)) for name, part in given.get("dimensions", ())
        )
        return cls(**given)

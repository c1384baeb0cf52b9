"""Dagster's partitions made from declared ones, and up to when a group is complete."""

from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import dagster as dg

from feature_store_assets.declaration.partitions import Partitions


def dagster_partitions(spec: Partitions | None) -> dg.PartitionsDefinition[Any] | None:
    """Return the Dagster object that a declaration describes."""
    if spec is None or spec.kind == "calendar":
        return None
    if spec.kind == "static":
        return dg.StaticPartitionsDefinition(list(spec.keys))
    if spec.kind == "multi":
        return dg.MultiPartitionsDefinition(
            {name: _required(dagster_partitions(part)) for name, part in spec.dimensions}
        )
    return _time_partitions(spec)


def _required(definition: dg.PartitionsDefinition[Any] | None) -> dg.PartitionsDefinition[Any]:
    assert definition is not None
    return definition


def _time_partitions(spec: Partitions) -> dg.TimeWindowPartitionsDefinition:
    assert spec.start is not None
    assert spec.timezone is not None
    assert spec.fmt is not None
    zone = ZoneInfo(spec.timezone)
    return dg.TimeWindowPartitionsDefinition(
        start=spec.start.astimezone(zone),
        end=None if spec.end is None else spec.end.astimezone(zone),
        fmt=spec.fmt,
        timezone=spec.timezone,
        cron_schedule=spec.cron,
        end_offset=spec.end_offset,
    )


def complete_until(
    spec: Partitions, present: Collection[str], now: datetime
) -> tuple[datetime, bool]:
    """Return when the newest partition ended before which none is missing.

    Parameters
    ----------
    spec
        Partitions by time.
    present
        The keys of those that are there.

    Returns
    -------
    That instant, and whether there is such a partition: else it is when the first one begins.
    """
    definition, there, newest = _time_partitions(spec), set(present), None
    # Cron counts minutes: within one the same partitions have ended.
    for key in _ended(spec, now.replace(second=0, microsecond=0)):
        if key not in there:
            break
        newest = key
    if newest is None:
        return definition.start.astimezone(UTC), False
    end: datetime = definition.time_window_for_partition_key(newest).end
    return end.astimezone(UTC), True


@lru_cache(maxsize=64)  # many groups are cut alike, and years of hours take long to list
def _ended(spec: Partitions, minute: datetime) -> tuple[str, ...]:
    return tuple(_time_partitions(spec).get_partition_keys(minute))


def as_ranges(every: Sequence[str], wanted: set[str]) -> list[tuple[str, str]]:
    """Return neighbouring keys as (first, last) ranges, in the order of all keys."""
    places = [place for place, key in enumerate(every) if key in wanted]
    if not places:
        return []
    cuts = [0, *(i + 1 for i, (a, b) in enumerate(pairwise(places)) if b != a + 1), len(places)]
    return [(every[places[a]], every[places[b - 1]]) for a, b in pairwise(cuts)]

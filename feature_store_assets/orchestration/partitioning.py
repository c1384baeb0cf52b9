"""Dagster's partitions made from declared ones."""

from collections.abc import Sequence
from datetime import UTC, datetime
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


def _required(definition: dg.PartitionsDefinition[Any] | None) -> dg.PartitionsDefinition[Any]:
    assert definition is not None
    return definition


def gap_free_end(definition: Any, materialized: set[str], now: datetime) -> datetime | None:
    """Return when the newest partition ended before which none is missing."""
    newest = None
    for key in definition.get_partition_keys(now):
        if key not in materialized:
            break
        newest = key
    if newest is None:
        return None
    end: datetime = definition.time_window_for_partition_key(newest).end
    return end.astimezone(UTC)


def as_ranges(every: Sequence[str], wanted: set[str]) -> list[tuple[str, str]]:
    """Return neighbouring keys as (first, last) ranges, in the order of all keys."""
    places = [place for place, key in enumerate(every) if key in wanted]
    if not places:
        return []
    cuts = [0, *(i + 1 for i, (a, b) in enumerate(pairwise(places)) if b != a + 1), len(places)]
    return [(every[places[a]], every[places[b - 1]]) for a, b in pairwise(cuts)]

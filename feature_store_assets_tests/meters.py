"""Meters read day by day: the same few houses, with the usage that a test asks for."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import polars as pl

from feature_store_assets import Entity, Feature, FeatureGroup, FeatureStore, Window
from feature_store_assets.dagster_io.partitions import dagster_partitions
from feature_store_assets.ingestion.gate import Admitted, Judged
from feature_store_assets.ingestion.partition_assignment import Slots
from feature_store_assets.orchestration.materialize import materialize
from feature_store_assets.quality.drift import Shift

START = datetime(2024, 1, 1, tzinfo=UTC)
DAYS = dg.DailyPartitionsDefinition("2024-01-01", end_date="2025-01-01")
NAME = "ann@example.org"

# By day, the usage of house 1, 2, 3...
Usage = Mapping[int, Sequence[float | None]]


def day(number: int) -> str:
    return f"{START + timedelta(days=number):%Y-%m-%d}"


def meters(name: str = "meters", **given: Any) -> FeatureGroup:
    """What is read of a meter in a day: never less than nothing, by a tariff, paid by someone."""
    own: dict[str, Any] = {
        "entity": Entity("meter", {"meter_id": "int64"}),
        "features": [
            Feature("usage", "float64", ge=0),
            Feature("tariff", "string"),
            Feature("payer", "string", pii=True, mask="hash"),
        ],
        "partitions": DAYS,
        "function": lambda: None,
    }
    return FeatureGroup(name, **{**own, **given})


def rows(group: FeatureGroup, usage: Usage) -> pl.DataFrame:
    read = [
        {
            "meter_id": house,
            "event_timestamp": START + timedelta(days=number, hours=12),
            "usage": value,
            "tariff": "night" if house % 2 else "day",
            "payer": NAME,
        }
        for number, values in usage.items()
        for house, value in enumerate(values, 1)
    ]
    types: dict[str, Any] = {
        "meter_id": pl.Int64,
        "event_timestamp": pl.Datetime("us", "UTC"),
        "usage": pl.Float64,
        "tariff": pl.String,
        "payer": pl.String,
    }
    return pl.DataFrame(read, schema=types).select("meter_id", "event_timestamp", *names(group))


def names(group: FeatureGroup) -> list[str]:
    return [name for name in group.feature_names if name in ("usage", "tariff", "payer")]


def fill(store: FeatureStore, group: FeatureGroup, usage: Usage, run_id: str = "run") -> Admitted:
    """Compute days in one run, as Dagster would."""

    def compute(window: Window) -> pl.DataFrame:
        del window
        return rows(group, usage)

    keys = [day(number) for number in usage]
    slots = Slots.of(group, dagster_partitions(group.partitions), keys)
    done, _ = materialize(store, group, slots, compute, run_id=run_id)
    return done


def stored(store: FeatureStore, name: str = "meters") -> dict[str, list[float | None]]:
    """The usage that the table holds, by partition."""
    table = store.table(store.applied.group(name))
    return {
        key: table.read(["usage"], partitions=[key])["usage"].to_pylist()
        for key in table.partitions()
    }


def shifts(judged: Judged) -> dict[str, Shift]:
    """The one drift finding of each partition."""
    found = {}
    for key, each in judged.shifts.items():
        (found[key],) = each
    return found

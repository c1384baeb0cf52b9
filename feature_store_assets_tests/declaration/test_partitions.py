"""Partitions: our own description of Dagster's objects, all kinds of them."""

import json
from datetime import datetime, timedelta
from typing import Any

import dagster as dg
import pytest

from feature_store_assets.declaration.canonical import canonical
from feature_store_assets.declaration.partitions import Partitions
from feature_store_assets.errors import DeclarationError

OBJECTS: dict[str, Any] = {
    "hourly": dg.HourlyPartitionsDefinition("2024-01-01-00:00", timezone="Europe/Paris"),
    "daily": dg.DailyPartitionsDefinition("2024-01-01", end_date="2025-01-01", end_offset=1),
    "weekly": dg.WeeklyPartitionsDefinition("2024-01-07", day_offset=2),
    "monthly": dg.MonthlyPartitionsDefinition("2024-01-01", minute_offset=30, hour_offset=2),
    "cron": dg.TimeWindowPartitionsDefinition(
        start="2024-01-01", fmt="%Y-%m-%d", cron_schedule="0 6 * * 1-5", timezone="America/New_York"
    ),
    "static": dg.StaticPartitionsDefinition(["JFK", "LGA", "é 'quoted'"]),
    "multi": dg.MultiPartitionsDefinition(
        {
            "day": dg.DailyPartitionsDefinition("2024-01-01"),
            "origin": dg.StaticPartitionsDefinition(["JFK", "LGA"]),
        }
    ),
}


@pytest.mark.parametrize("kind", OBJECTS)
def test_dagsters_partitions_come_back_from_their_canonical_json(kind: str) -> None:
    partitions = Partitions.of(OBJECTS[kind])
    back = Partitions.from_json(json.loads(canonical(partitions.to_json())))
    assert partitions.kind == kind
    assert back == partitions
    assert hash(back) == hash(partitions)
    assert partitions.is_time == (kind not in {"static", "multi"})


def test_the_description_holds_what_dagsters_object_says() -> None:
    daily = Partitions.of(OBJECTS["daily"])
    assert daily.start is not None
    assert daily.start.isoformat() == "2024-01-01T00:00:00+00:00"
    assert daily.end is not None
    assert (daily.end.year, daily.end_offset, daily.timezone) == (2025, 1, "UTC")
    assert (daily.cron, daily.fmt) == ("0 0 * * *", "%Y-%m-%d")
    assert Partitions.of(OBJECTS["cron"]).cron == "0 6 * * 1-5"
    assert Partitions.of(OBJECTS["weekly"]).cron == "0 0 * * 2"
    assert Partitions.of(OBJECTS["static"]).keys == ("JFK", "LGA", "é 'quoted'")
    assert [name for name, _ in Partitions.of(OBJECTS["multi"]).dimensions] == ["day", "origin"]


def test_instants_of_another_zone_mean_the_same_after_the_round_trip() -> None:
    hourly = Partitions.of(OBJECTS["hourly"])
    back = Partitions.from_json(hourly.to_json())
    assert hourly.start is not None
    assert back.start == hourly.start
    assert back.start is not None
    assert back.start.utcoffset() == timedelta(hours=1)


def test_equal_objects_have_equal_descriptions() -> None:
    one = dg.DailyPartitionsDefinition("2024-01-01")
    other = dg.DailyPartitionsDefinition(datetime(2024, 1, 1))  # noqa: DTZ001  # as Dagster takes it
    assert Partitions.of(one) == Partitions.of(other)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (dg.DynamicPartitionsDefinition(name="d"), "DynamicPartitionsDefinition cannot partition"),
        ("daily", "str cannot partition a feature group. Take Dagster's Hourly, Daily"),
        (
            dg.MultiPartitionsDefinition(
                {
                    "a": dg.DynamicPartitionsDefinition(name="d"),
                    "b": dg.StaticPartitionsDefinition(["x"]),
                }
            ),
            "DynamicPartitionsDefinition cannot partition",
        ),
        (
            dg.TimeWindowPartitionsDefinition(
                start="2024-01-01",
                fmt="%Y-%m-%d",
                cron_schedule="0 0 * * *",
                exclusions=["0 0 * * 0"],
            ),
            "exclusions are not supported",
        ),
    ],
)
def test_what_cannot_partition_a_group_is_refused(given: Any, message: str) -> None:
    with pytest.raises(DeclarationError, match=message):
        Partitions.of(given)


def test_pushed_groups_are_cut_by_year_month_and_day() -> None:
    for columns in (["year"], ["year", "month"], ["month", "year"], ["year", "month", "day"]):
        partitions = Partitions.calendar(columns)
        assert partitions.keys == ("year", "month", "day")[: len(columns)]
        assert Partitions.from_json(partitions.to_json()) == partitions
        assert not partitions.is_time
    for wrong in ([], ["month"], ["year", "day"], ["year", "hour"]):
        with pytest.raises(DeclarationError, match="takes year; year and month; or year, month"):
            Partitions.calendar(wrong)


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        ({"kind": "canary_mod", "keys": ["x"]}, "Partitions are one of .*not 'canary_mod'"),
        ({}, "Partitions are one of .*not 'None'"),
        ({"kind": "daily", "function": "m:f"}, "have no field 'function'"),
        ({"kind": "calendar", "keys": ["../x"]}, "takes year; year and month"),
        ({"kind": "calendar"}, "takes year; year and month"),
    ],
)
def test_json_that_no_declaration_writes_is_refused(stored: Any, message: str) -> None:
    with pytest.raises(DeclarationError, match=message):
        Partitions.from_json(stored)

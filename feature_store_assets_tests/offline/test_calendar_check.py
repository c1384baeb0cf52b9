"""The door for instants: the years 1 to 9999 in UTC come in, all else is refused and shown."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from feature_store_assets.declaration.instants import FIRST, LAST, earlier, utc
from feature_store_assets.errors import DataError, OutsideCalendar
from feature_store_assets.offline.dataframes import FeatureTable, arrow_table
from feature_store_assets.offline.point_in_time import spine_times
from feature_store_assets.offline.schema import TableSchema, conform, typed_keys
from feature_store_assets.offline.source_table import RawTable
from feature_store_assets.retrieval.historical import read_spine
from feature_store_assets.storage import location

NOW = datetime(2025, 1, 1, tzinfo=UTC)
WEST, EAST = (timezone(timedelta(hours=hours)) for hours in (-5, 9))
MISREAD = 1_717_200_000_000  # milliseconds; read as seconds: the year 56385
KINDS = {
    "t": "timestamp[us, UTC]",
    "secret": "timestamp[us, UTC]",
    "d": "date32",
    "ts": "list<timestamp[us, UTC]>",
    "ds": "list<date32>",
}
SCHEMA = TableSchema(
    "g", (("user", "string"),), "event", tuple(KINDS.items()), pii=frozenset({"secret"})
)
KEYED = TableSchema("g", (("at", "timestamp[us, UTC]"), ("on", "date32")), "event", ())
GOOD: dict[str, Any] = {
    "user": pa.array(["u-7", "u-8"]),
    "event": pa.array([NOW, NOW], pa.timestamp("us", "UTC")),
    **{name: pa.nulls(2) for name in KINDS},
}


def instants(number: int, unit: str = "us", zone: str | None = "UTC") -> pa.Array[Any]:
    """A null and an instant."""
    kind: Any = pa.timestamp(unit, zone)
    return pa.array([None, number], pa.int64()).cast(kind)


def days(number: int) -> pa.Array[Any]:
    return pa.array([None, number], pa.int32()).cast(pa.date32())


def listed(values: pa.Array[Any]) -> pa.Array[Any]:
    """A null, and a list of the values."""
    ends: Any = pa.array([0, 0, len(values)], pa.int32())
    return pa.ListArray.from_arrays(ends, values, mask=pa.array([True, False]))


def refused(schema: TableSchema = SCHEMA, /, **columns: Any) -> str:
    with pytest.raises(OutsideCalendar) as caught:
        conform(pa.table({**GOOD, **columns}), schema, written=NOW)
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "column", "text"),
    [
        ("t", instants(MISREAD, "s"), "56385-11-26T00:00:00Z"),
        ("t", instants(MISREAD * 1000, "ms"), "56385-11-26T00:00:00.000Z"),
        ("t", instants(MISREAD * 1_000_000), "56385-11-26T00:00:00.000000Z"),
        ("t", instants(2**63 - 1, "s"), "292277026596-12-04T15:30:07Z"),
        ("t", instants(-(2**63) + 1, zone="+05:30"), "-290308-12-21T19:59:05.224193Z"),
        ("t", instants(-62_135_596_800_000_001), "0000-12-31T23:59:59.999999Z"),
        ("t", instants(253_402_300_800_000_000), "10000-01-01T00:00:00.000000Z"),
        ("d", days(2_932_897), "10000-01-01"),
        ("d", days(-719_163), "0000-12-31"),
        ("d", days(2**31 - 1), "5881580-07-11"),
        ("ts", listed(instants(2**62)), "148108-07-06T14:00:27.387904Z"),
        ("ds", listed(days(2**30)), "2941775-04-07"),
        ("t", instants(MISREAD, "s").dictionary_encode(), "56385-11-26T00:00:00Z"),
    ],
)
def test_what_lies_outside_the_calendar_is_refused_and_shown(
    name: str, column: pa.Array[Any], text: str
) -> None:
    told = refused(**{name: column})
    assert f"1 row(s) for 'g' have a '{name}' outside the years 1 to 9999 (UTC)." in told
    assert "row 1: {'user': '#" in told
    assert f"'{name}': '{text}'}}" in told
    assert "u-8" not in told


def test_the_event_time_and_the_created_time_have_the_same_door() -> None:
    late = pa.array([0, 2**60], pa.int64()).cast(pa.timestamp("us", "UTC"))
    assert "have a 'event' outside" in refused(event=late)
    assert "have a 'known' outside" in refused(replace(SCHEMA, created="known"), known=late)


def test_keys_and_personal_values_are_masked() -> None:
    late = instants(2**60)
    assert "'secret': '#" in (told := refused(secret=late))
    assert "38505" not in told
    table = pa.table({"at": late.fill_null(0), "on": days(1), "event": GOOD["event"]})
    with pytest.raises(OutsideCalendar, match=r"row 1: \{'at': '#\w{8}', 'on': '#\w{8}'\}"):
        conform(table, KEYED, written=NOW)


def test_five_rows_are_shown_of_many() -> None:
    column = pa.chunked_array([instants(2**60)] * 10)
    users: Any = pa.array(["u"] * 20)
    event: Any = pa.repeat(pa.scalar(NOW, pa.timestamp("us", "UTC")), 20)
    nulls = {name: pa.nulls(20) for name in KINDS}
    told = refused(**{**nulls, "user": users, "event": event, "t": column})
    assert told.startswith("10 row(s)")
    assert [line.split(":")[0] for line in told.splitlines()[1:]] == [
        f"  row {row}" for row in (1, 3, 5, 7, 9)
    ]


@pytest.mark.parametrize(
    ("column", "hint"),
    [
        (instants(MISREAD, "s"), "milliseconds that were read as seconds"),
        (instants(MISREAD * 1000, "s"), "microseconds that were read as seconds"),
        (instants(MISREAD * 1000, "ms"), "microseconds as milliseconds"),
        (instants(MISREAD * 1_000_000, "s"), "nanoseconds that were read as seconds"),
        (days(MISREAD // 1000), "seconds that were read as days"),
        (instants(253_402_300_800_000_000), "null for an open end of a feature, or 9999-12-31"),
    ],
)
def test_the_likely_mistake_is_named(column: pa.Array[Any], hint: str) -> None:
    given = {"d": column} if pa.types.is_date32(column.type) else {"t": column}
    assert hint in refused(**given)


@pytest.mark.parametrize(
    ("zone", "out", "within"), [("America/New_York", LAST, FIRST), ("Asia/Tokyo", FIRST, LAST)]
)
def test_a_zone_that_moves_naive_times_out_is_refused(
    zone: str, out: datetime, within: datetime
) -> None:
    local, other = (each.replace(tzinfo=None) for each in (out, within))
    schema = replace(SCHEMA, timezone=zone)
    naive = pa.timestamp("us")
    told = refused(schema, t=pa.array([None, local], naive), event=GOOD["event"])
    assert "have a 't' outside" in told
    data = pa.table({**GOOD, "t": pa.array([None, other], naive)})
    assert conform(data, schema, written=NOW)["t"].null_count == 1
    assert "have a 't' outside" in refused(schema, t=instants(2**62, zone=None))


def test_a_zone_moves_the_last_nanoseconds_without_wrapping_around() -> None:
    last = 2**63 // 1_000_000_000 - 1  # whole seconds
    schema = replace(SCHEMA, timezone="Etc/GMT+5")
    naive = instants(last * 1_000_000_000, "ns", zone=None)
    moved = conform(pa.table({**GOOD, "t": naive}), schema, written=NOW)["t"]
    assert moved.cast(pa.int64()).to_pylist() == [None, (last + 5 * 3600) * 1_000_000]


def test_the_first_and_the_last_instant_pass_in_every_unit() -> None:
    for unit, cut in (("s", 1_000_000), ("ms", 1000), ("us", 1)):
        last = 253_402_300_799_999_999 // cut
        for number in (-62_135_596_800_000_000 // cut, last):
            conform(pa.table({**GOOD, "t": instants(number, unit)}), SCHEMA, written=NOW)
        assert "outside" in refused(t=instants(last + 1, unit))
    widest = {"ts": listed(instants(253_402_300_799_999_999)), "ds": listed(days(2_932_896))}
    rows = conform(pa.table({**GOOD, **widest, "d": days(-719_162)}), SCHEMA, written=NOW)
    assert rows["d"].to_pylist() == [None, date.min]
    assert rows["ts"].to_pylist() == [None, [None, LAST]]
    # Nanoseconds end in 1677 and 2262.
    for number in (2**63 - 1000, -(2**63) + 1000):
        rounded = number // 1000 * 1000
        conform(pa.table({**GOOD, "t": instants(rounded, "ns")}), SCHEMA, written=NOW)


@pytest.mark.parametrize("value", [LAST.replace(tzinfo=WEST), FIRST.replace(tzinfo=EAST)])
def test_datetimes_whose_zone_leads_out_are_refused_from_any_frame(value: datetime) -> None:
    given: dict[str, Any] = {"user": ["u"], "event": [value], **{name: [None] for name in KINDS}}
    for data in (
        [{name: values[0] for name, values in given.items()}],
        pl.DataFrame({**given, "event": pl.Series([value])}),
        pd.DataFrame({**given, "event": pd.Series([value], dtype=object)}),
    ):
        with pytest.raises(OutsideCalendar, match="have a 'event' outside"):
            conform(arrow_table(data), SCHEMA, written=NOW)


def test_not_a_time_is_null() -> None:
    frame = pd.DataFrame({"t": pd.Series([NOW, pd.NaT])})
    column: Any = arrow_table(frame)["t"].cast(pa.timestamp("us", "UTC"))
    assert conform(pa.table({**GOOD, "t": column}), SCHEMA, written=NOW)["t"].null_count == 1


# Spines, entities, bounds


@pytest.mark.parametrize("unit", ["s", "ms", "us"])
def test_a_spine_is_refused_by_its_time(unit: str, tmp_path: Path) -> None:
    table = pa.table({"t": instants(2**62, unit)})
    with pytest.raises(OutsideCalendar, match=r"1 row\(s\) for 'the spine' have a 't' outside"):
        spine_times(table, "t")
    path = tmp_path / "spine.parquet"
    pa.parquet.write_table(pa.table({"t": instants(2**62)}), path)
    with pytest.raises(OutsideCalendar, match="'the spine'"):
        spine_times(read_spine(path, lambda _: table), "t")


def test_entities_are_refused_by_their_keys_which_stay_masked() -> None:
    keys = pa.table({"at": instants(2**62), "on": days(3)})
    with pytest.raises(OutsideCalendar, match=r"'the entities' have a 'at' .*\n  row 1: .*'#"):
        typed_keys(keys, KEYED, "entities")


def test_a_bound_that_has_no_utc_is_refused_in_words() -> None:
    for moment in (LAST.replace(tzinfo=WEST), FIRST.replace(tzinfo=EAST)):
        with pytest.raises(DataError, match=r"end_time is \d{4}-.*outside the years 1 to 9999"):
            utc(moment, "end_time")
    assert utc(LAST, "end_time") == LAST
    assert earlier(FIRST, timedelta.max) == earlier(LAST, timedelta.max) == FIRST


# Source assets


def test_a_source_table_refuses_them_before_it_comes_into_being(tmp_path: Path) -> None:
    table = RawTable(location(tmp_path / "raw"), "sales", None, compression="zstd")
    partition = pa.array(["all", "all"])
    with pytest.raises(OutsideCalendar, match="'sales' have a 'sold' outside"):
        table.replace(
            pa.table({"sold": instants(2**62), "partition": partition}), ["all"], metadata={}
        )
    assert not (tmp_path / "raw").exists()
    rows = pa.table({"sold": instants(253_402_300_799_999_999), "partition": partition})
    table.replace(rows, ["all"], metadata={})
    assert table.read()["sold"].to_pylist() == [None, LAST]


# What is stored already


def test_frames_show_the_nearest_that_python_has_and_arrow_what_is_stored() -> None:
    table = pa.table(
        {
            "n": pa.array([1, 2]),
            "t": instants(2**62),
            "d": days(-(2**31)),
            "ts": listed(instants(-(2**62))),
            "ds": listed(days(2**30)),
        }
    )
    answer = FeatureTable(table.slice(0))
    near = {"n": 2, "t": LAST, "d": date.min, "ts": [None, FIRST], "ds": [None, date.max]}
    assert answer.to_polars().to_dicts() == [dict.fromkeys(near) | {"n": 1}, near]
    shown = answer.to_pandas()
    assert (shown["n"][1], shown["t"][1], shown["d"][1]) == (2, LAST, date.min)
    assert answer.to_arrow() is not None
    assert answer.to_arrow().equals(table)
    assert FeatureTable(table.slice(1)).to_polars().to_dicts() == [near]

"""Instants at the edges, from push to read: refused at the door, or held by every step."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from deltalake import write_deltalake

from feature_store_assets.declaration.expect import expect
from feature_store_assets.declaration.feature import Feature
from feature_store_assets.declaration.group import FeatureGroup
from feature_store_assets.declaration.instants import FIRST, FIRST_MICRO, LAST, LAST_MICRO
from feature_store_assets.errors import ArchiveUnusable, DataError, OutsideCalendar
from feature_store_assets.online.row import instant, micros
from feature_store_assets.server.app import create_app
from feature_store_assets.store import FeatureStore
from feature_store_assets_tests.server.apps import ONLINE, PUSH, ask, post
from feature_store_assets_tests.stores import at, folder_of, new_store, once, pushed, traces

MICROSECONDS = pa.timestamp("us", "UTC")
FEATURES = (
    Feature("t", "datetime"),
    Feature("d", "date"),
    Feature("ts", "list<timestamp>"),
    Feature("x", "int64"),
)
MISREAD = 1_717_200_000_000_000_000  # the year 56385
BEFORE = FIRST_MICRO - 1  # the year 0
NOW = at(0)
AGES = timedelta(days=10_000_000)


def group(name: str, **given: Any) -> FeatureGroup:
    return pushed(name, *FEATURES, **{"retention": timedelta(days=30), **given})


def fact(entity: int, event: datetime, value: datetime, x: int = 1) -> dict[str, Any]:
    return {
        "entity_id": entity,
        "event_timestamp": event,
        "t": value,
        "d": value.date(),
        "ts": [value, None],
        "x": x,
    }


EDGES = [fact(1, FIRST, LAST), fact(1, NOW, FIRST), fact(1, LAST, LAST), fact(2, NOW, LAST)]


def read(store: FeatureStore, name: str, **asked: Any) -> list[dict[str, Any]]:
    return store.read_features(name, **asked).to_polars().to_dicts()


@pytest.fixture
@once
def edges(store: FeatureStore) -> FeatureStore:
    store.register_feature_group(group("edges"))
    store.write_features(EDGES, "edges")
    return store


# The first and the last instant


def test_reads_and_joins_hold_the_edges(edges: FeatureStore, tmp_path: Path) -> None:
    assert read(edges, "edges") == [*EDGES[:2], EDGES[3], EDGES[2]]
    assert read(edges, "edges", limit=1) == EDGES[:1]
    assert read(edges, "edges", start_time=FIRST, end_time=NOW) == EDGES[:1]
    assert read(edges, "edges", start_time=LAST) == [EDGES[2]]
    assert edges.sql("SELECT max(t) AS t FROM edges").to_polars()["t"].to_list() == [LAST]
    spine = [{"entity_id": 1, "event_timestamp": each} for each in (FIRST, NOW, LAST)]
    for ttl in (None, timedelta(0), timedelta.max):
        found = edges.get_historical_features("edges", spine, ttl=ttl)
        assert found.to_polars().to_dicts() == EDGES[:3]
    out = edges.get_historical_features("edges", spine, out=tmp_path / "out.parquet", known=LAST)
    assert out.to_polars().to_dicts() == EDGES[:3]


def test_the_online_store_holds_the_edges(edges: FeatureStore) -> None:
    edges.write_features([fact(3, FIRST, LAST)], "edges")
    found = edges.get_online_features("edges", [2, 3], include_status=True)
    values = {name: EDGES[0][name] for name in ("t", "d", "ts", "x")}
    assert [found[each]["values"] for each in (2, 3)] == [values, values]
    assert found[3]["event_timestamp"] == FIRST
    assert found[3]["age_seconds"] > 6e10
    early = edges.get_online_features("edges", [3], at=LAST, include_status=True)
    assert early[3]["status"] == "present"
    table = edges.get_online_features("edges", [3], output="arrow", include_status=True)
    assert table["event_timestamp"].to_pylist() == [FIRST]


def test_the_edges_go_over_http(edges: FeatureStore) -> None:
    app = create_app(edges)
    written = {name: EDGES[0][name] for name in ("t", "d", "x")} | {"ts": [LAST, None]}
    pushed_row = msgspec.to_builtins({**written, "entity_id": 3, "event_timestamp": FIRST})
    assert post(app, PUSH, {"group": "edges", "rows": [pushed_row]})["rows_written"] == 1
    answer = post(app, ONLINE, {"group": "edges", "entities": [3], "features": ["t", "d", "ts"]})
    last = "9999-12-31T23:59:59.999999Z"
    assert answer["values"] == [[last, "9999-12-31", [last, None]]]
    assert answer["event_timestamps"] == ["0001-01-01T00:00:00Z"]
    late = {**pushed_row, "t": "9999-12-31T23:59:59-05:00"}
    refused = ask(app, "POST", PUSH, json={"group": "edges", "rows": [late]})
    assert (refused.status_code, "'t'" in refused.text) == (422, True)


@pytest.mark.slow
def test_upkeep_holds_the_edges(
    edges: FeatureStore, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    edges.create_snapshot("edges", "before")
    upserted = edges.write_features([{**row, "x": 2} for row in EDGES], "edges", "upsert")
    assert upserted.rows_updated == 4
    edges.compute_feature_statistics("edges")
    assert edges.validate_feature_quality("edges")["overall_passed"]
    files = edges.table(edges.applied.group("edges")).files()
    assert max(file.last for file in files if file.last is not None) == LAST
    edges.create_snapshot("edges", "after")
    assert edges.compare_snapshots("before", "after")["groups"][0]["rows"]["changed"] == 4
    edges.compact(["edges"], at_least=2)
    archive = edges.export_archive(tmp_path / "archive", end_time=LAST)
    with new_store(tmp_path_factory.mktemp("other")) as other:
        other.import_archive(archive.path)
        assert [each["x"] for each in read(other, "edges")] == [2, 2, 2]
    edges.backup(tmp_path / "backup")
    (done,) = edges.retain(["edges"], dry_run=False, now=NOW)
    assert done.partitions == ("0001-01",)
    edges.write_features(EDGES[:1], "edges", "overwrite")
    assert read(edges, "edges") == EDGES[:1]


def test_a_ttl_and_a_retention_of_any_length_reach_back_to_the_first(store: FeatureStore) -> None:
    store.register_feature_group(group("g", ttl=AGES, retention=AGES))
    store.write_features(EDGES, "g")
    assert store.retain(["g"], dry_run=False)[0].partitions == ()
    assert store.get_online_features("g", [2])[2]["t"] == LAST


@pytest.mark.parametrize("name", ["start_time", "end_time", "as_of"])
def test_bounds_outside_the_calendar_are_refused_in_words(edges: FeatureStore, name: str) -> None:
    bound = datetime.fromisoformat("9999-12-31T23:59:59-05:00")
    with pytest.raises(DataError, match=f"{name} is 9999.*outside the years 1 to 9999"):
        read(edges, "edges", **{name: bound})


def test_a_refused_push_leaves_no_trace(edges: FeatureStore) -> None:
    before = traces(edges)
    rows = pa.table({"entity_id": [1], "event_timestamp": _array([MISREAD]), "new": [1.5]})
    with pytest.raises(OutsideCalendar, match="milliseconds that were read as seconds"):
        edges.write_features(rows, "edges", new_features="draft")
    with pytest.raises(OutsideCalendar):
        edges.write_features(rows, "unheard_of")
    assert traces(edges) == before


@pytest.mark.parametrize("moment", [1.5, 7, date(2024, 1, 1), "2024-01-01", np.datetime64("now")])
def test_bounds_that_are_no_datetime_are_refused(edges: FeatureStore, moment: Any) -> None:
    with pytest.raises(DataError, match=r"at is a .*Give a datetime with a time zone"):
        edges.get_online_features("edges", [1], at=moment)
    with pytest.raises(DataError, match=r"end_time is a .*Give a datetime with a time zone"):
        edges.read_features("edges", end_time=moment)


# What was stored before there was a door


def _array(numbers: list[int]) -> pa.Array[Any]:
    return pa.array(numbers, pa.int64()).cast(MICROSECONDS)


def _slip(store: FeatureStore, event: int, value: int, partition: str, entity: int = 1) -> None:
    """Write a row past the store, as it was written before there was a door."""
    table = store.table(store.applied.group("bad"))
    lists: Any = pa.ListArray.from_arrays(pa.array([0, 1], pa.int32()), _array([value]))
    day: Any = pa.array([max(-(2**31), min(value // 86_400_000_000, 2**31 - 1))], pa.int32())
    rows = {
        "entity_id": pa.array([entity]),
        "event_timestamp": _array([event]),
        "created_timestamp": _array([0]),
        "t": _array([value]),
        "d": day.cast(pa.date32()),
        "ts": lists,
        "x": pa.array([0]),
        "partition": pa.array([partition]),
    }
    write_deltalake(table.location.uri, pa.table(rows, schema=table.schema.arrow), mode="append")


KEPT = fact(2, NOW, NOW)


@pytest.fixture
@once
def bad(store: FeatureStore) -> FeatureStore:
    """A store whose group holds a sound row of entity 2, and of entity 1 only unsound ones."""
    store.register_feature_group(group("bad"))
    store.write_features([KEPT], "bad")
    _slip(store, LAST_MICRO - 999, LAST_MICRO - 999, "9999-12")
    _slip(store, MISREAD, MISREAD, "56385-11")
    _slip(store, 2**63 - 1, 2**63 - 1, "far")
    _slip(store, BEFORE, BEFORE, "0000-12")
    _slip(store, BEFORE - 400 * 86_400_000_000, -(2**63), "-001-11")
    return store


def test_what_is_stored_reads_as_the_nearest_and_disturbs_no_other(
    bad: FeatureStore, tmp_path: Path
) -> None:
    times = [each["event_timestamp"] for each in read(bad, "bad") if each["entity_id"] == 1]
    last = instant(LAST_MICRO - 999)
    assert times == [FIRST, FIRST, last, LAST, LAST]
    assert read(bad, "bad", entities=[{"entity_id": 2}]) == [KEPT]
    assert read(bad, "bad", start_time=FIRST, end_time=LAST)[0] == KEPT
    stored = bad.read_features("bad").to_arrow()["event_timestamp"].cast(pa.int64()).to_pylist()
    assert {MISREAD, 2**63 - 1, BEFORE} <= set(stored)
    bad.read_features("bad").to_pandas()
    spine = [{"entity_id": each, "event_timestamp": NOW} for each in (1, 2)]
    for ttl in (None, timedelta(days=1), timedelta.max):
        for out in (None, tmp_path / f"{ttl}.parquet"):
            asked = bad.get_historical_features("bad", spine, ttl=ttl, out=out).to_polars()
            before, sound = asked.to_dicts()
            assert sound == KEPT
            assert before["t"] == (None if ttl == timedelta(days=1) else FIRST)
    # What Python holds is found at the moment that it names.
    late = [{"entity_id": 1, "event_timestamp": last}]
    assert bad.get_historical_features("bad", late).to_polars()["t"].to_list() == [last]


def test_what_is_stored_is_served_as_the_nearest(bad: FeatureStore) -> None:
    _slip(bad, 1, 2**63 - 1, "1970-01", entity=3)
    declared = bad.applied.group("bad")
    bad.publish(declared, bad.table(declared).partitions())
    found = bad.get_online_features("bad", [1, 2, 3], include_status=True)
    assert found[2]["values"] == {name: KEPT[name] for name in ("t", "d", "ts", "x")}
    assert found[1]["event_timestamp"] == FIRST
    assert found[3]["values"] == {"t": LAST, "d": date.max, "ts": [LAST], "x": 0}
    table = bad.get_online_features("bad", [1], output="arrow", include_status=True)
    assert table["event_timestamp"].cast(pa.int64()).to_pylist() == [BEFORE]


def test_sql_over_what_is_stored_answers_or_says_why_not(bad: FeatureStore) -> None:
    assert bad.sql("SELECT max(t) AS t FROM bad").to_polars()["t"].to_list() == [LAST]
    with pytest.raises(DataError, match="Filter out timestamps and dates outside the years 1 to"):
        bad.sql("SELECT CAST(t AS VARCHAR) FROM bad")


def test_upkeep_of_what_is_stored_goes_on(bad: FeatureStore, tmp_path: Path) -> None:
    bad.create_snapshot("bad", "before")
    bad.compute_feature_statistics("bad")
    bad.validate_feature_quality("bad")
    bad.search("bad")
    files = bad.table(bad.applied.group("bad")).files()
    assert max(file.last for file in files if file.last is not None) == LAST
    bad.backup(tmp_path / "backup")
    archive = bad.export_archive(tmp_path / "archive")
    with (
        new_store(tmp_path / "other") as other,
        pytest.raises(ArchiveUnusable, match="outside the years 1 to 9999"),
    ):
        other.import_archive(archive.path)
    bad.write_features([fact(2, at(1), NOW)], "bad")
    bad.compact(["bad"], at_least=2)
    bad.create_snapshot("bad", "after")
    assert bad.compare_snapshots("before", "after")["groups"][0]["rows"]["added"] == 1


@pytest.mark.slow
def test_what_is_stored_survives_a_checkpoint_of_the_log(bad: FeatureStore) -> None:
    for hours in range(20):
        bad.write_features([fact(2, at(hours + 1), NOW)], "bad")
    table = bad.table(bad.applied.group("bad"))
    assert list(folder_of(table).joinpath("_delta_log").glob("*.checkpoint.parquet"))
    with new_store(bad.config.root.parent) as fresh:
        assert len(read(fresh, "bad")) == 26
        assert fresh.retain(["bad"], now=NOW)[0].partitions == ("-001-11",)


def test_what_is_stored_can_be_removed(bad: FeatureStore) -> None:
    corrected = bad.write_features([fact(2, NOW, LAST, x=7)], "bad", "upsert")
    assert corrected.rows_updated == 1
    (done,) = bad.retain(["bad"], dry_run=False, now=NOW)
    assert done.partitions == ("-001-11",)
    # What is served stays, and years to come are never old enough: an overwrite takes them out.
    bad.write_features([KEPT], "bad", "overwrite")
    assert read(bad, "bad") == [KEPT]
    assert bad.get_online_features("bad", [1])[1]["x"] is None


def test_a_misread_feature_is_corrected_to_the_open_end(bad: FeatureStore) -> None:
    _slip(bad, micros(at(5)), MISREAD, "2024-01", entity=4)
    done = bad.write_features([fact(4, at(5), LAST)], "bad", "upsert")
    assert done.rows_updated == 1
    assert read(bad, "bad", entities=[{"entity_id": 4}]) == [fact(4, at(5), LAST)]


def test_what_is_stored_is_judged(bad: FeatureStore) -> None:
    declared = bad.applied.group("bad")
    features = (
        Feature("t", "datetime", nullable=False),
        Feature("d", "date", one_of=[NOW.date()]),
        *FEATURES[2:],
    )
    between = expect.column_values_to_be_between("t", min_value=NOW, max_value=at(1))
    judging = replace(declared, features=features, expectations=(between,))
    found = {key: each for judged in bad.validate(judging) for key, each in judged.rejected.items()}
    assert sorted(found) == sorted(set(bad.table(declared).partitions()) - {"2024-01"})


def test_what_lies_in_quarantine_is_shown_and_refused(bad: FeatureStore) -> None:
    declared = bad.applied.group("bad")
    table = bad.table(declared)
    rows = pl.DataFrame(table.rows(version=table.version(), columns=list(table.columns)))
    bad.review.quarantine.keep(
        rows.with_columns(reasons=pl.lit([["late"]] * rows.height).explode()),
        feature_group="bad",
        version=1,
        partition="2024-01",
        run_id="r",
        rejected_at=NOW,
        reasons=["late"],
    )
    entry = bad.review.quarantine.newest("bad", "2024-01", version=1)
    assert len(bad.review.shown(declared, entry, 10).to_dicts()) == 6
    with pytest.raises(OutsideCalendar, match=r"4 row\(s\) for 'bad' have a 'event_timestamp'"):
        bad.release("bad", "2024-01")

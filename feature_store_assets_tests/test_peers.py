"""What others get wrong in training data, each a named case: `docs/benchmarks` counts theirs.

The cases come from running other feature stores; their issue trackers know most of them.
"""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from feature_store_assets.declaration.feature import Feature
from feature_store_assets.declaration.view import FeatureView
from feature_store_assets.offline.digest import TableDigest
from feature_store_assets.store import FeatureStore
from feature_store_assets_tests.counts import some
from feature_store_assets_tests.stores import at, once, pushed, row

TTL = timedelta(hours=10)


@pytest.fixture
@once
def users(store: FeatureStore) -> FeatureStore:
    store.apply(pushed("users", Feature("x", "float64"), ttl=TTL))
    store.write_features([row("a", 0, x=1.0), row("a", 4, x=2.0), row("b", 0, x=10.0)], "users")
    return store


def joined(store: FeatureStore, group: str, *spine: dict[str, Any], **options: Any) -> list[Any]:
    answer = store.get_historical_features(group, list(spine), **options).to_arrow()
    return answer["x"].to_pylist()


def test_spine_rows_without_a_value_are_not_lost(users: FeatureStore) -> None:
    """Of (unknown entity, before the first value, after the ttl, fine) two came back elsewhere."""
    spine = [row("nobody", 5), row("a", -1), row("a", 4 + 10.001), row("a", 5)]
    answer = users.get_historical_features("users", spine).to_arrow()
    assert answer.select(["entity_id", "event_timestamp"]).to_pylist() == spine
    assert answer["x"].to_pylist() == [None, None, None, 2.0]


def test_the_newest_created_wins_a_tie_wherever_it_is_stored(store: FeatureStore) -> None:
    """An unstable sort let superseded values win elsewhere."""
    store.apply(pushed("users", Feature("x", "float64"), created="recorded"))
    revisions = [row(f"u{n}", 0, x=float(r), recorded=at(r)) for n in range(50) for r in range(4)]
    order = np.random.default_rng(1).permutation(len(revisions))
    for part in np.array_split(order, 7):
        store.write_features([revisions[n] for n in part], "users", mode="upsert")
    spine = [row(f"u{n}", 9) for n in range(50)]
    assert joined(store, "users", *spine) == [3.0] * 50
    assert joined(store, "users", *spine, known="latest") == [3.0] * 50


def test_repeated_spine_rows_come_back_as_often_and_in_order(users: FeatureStore) -> None:
    """Elsewhere 5,000 became 4,900, in another order."""
    spine = [row("b", 1), row("a", 5), row("b", 1), row("a", 1), row("a", 5), row("b", 1)]
    assert joined(users, "users", *spine) == [10.0, 2.0, 10.0, 1.0, 2.0, 10.0]


@pytest.mark.parametrize(
    "name", some(["sales_y", "index", "sales_x", "sales_right", "row_number", "t"], 2)
)
def test_no_feature_name_is_reserved(store: FeatureStore, name: str) -> None:
    """A feature whose name ended in `_y` crashed the join elsewhere."""
    store.apply(pushed("sales", Feature(name, "int64")))
    store.write_features([row("a", 0, **{name: 7})], "sales")
    answer = store.get_historical_features("sales", [row("a", 1)]).to_arrow()
    assert answer[name].to_pylist() == [7]


def test_nanosecond_timestamps_are_taken(store: FeatureStore) -> None:
    """What pandas 2 writes failed elsewhere."""
    store.apply(pushed("users", Feature("x", "float64")))
    times = pd.Series(["2024-01-15 12:00", "2024-01-15 16:00"], dtype="datetime64[ns, UTC]")
    rows = pd.DataFrame({"entity_id": ["a", "a"], "event_timestamp": times})
    store.write_features(rows.assign(x=[1.0, 2.0]), "users")
    spine = rows.assign(event_timestamp=rows["event_timestamp"] + pd.Timedelta(1, "ns"))
    answer = store.get_historical_features("users", spine).to_arrow()
    assert answer["x"].to_pylist() == [1.0, 2.0]
    assert answer.schema.field("event_timestamp").type == pa.timestamp("ns", "UTC")


def test_a_correction_that_came_later_does_not_leak_by_default(store: FeatureStore) -> None:
    """12.0 was known at noon and at one; 99.0 arrived at three, and trained the model elsewhere."""
    store.apply(pushed("users", Feature("x", "float64"), created="recorded"))
    store.write_features([row("a", 0, x=12.0, recorded=at(0))], "users")
    store.write_features([row("a", 0, x=99.0, recorded=at(3))], "users", mode="upsert")
    spine = [row("a", 0), row("a", 1), row("a", 3)]
    assert joined(store, "users", *spine) == [12.0, 12.0, 99.0]
    assert joined(store, "users", *spine, known="latest") == [99.0] * 3


def test_late_rows_count_from_their_arrival(store: FeatureStore) -> None:
    """The fact of 11 h that arrives at 13 h was unknown at 12 h, and loses to none after."""
    store.apply(pushed("users", Feature("x", "float64"), created="recorded"))
    store.write_features([row("a", 10, x=5.0, recorded=at(10))], "users")
    store.write_features([row("a", 11, x=7.0, recorded=at(13))], "users")
    assert joined(store, "users", row("a", 12), row("a", 13), row("a", 14)) == [5.0, 7.0, 7.0]


def test_a_value_as_old_as_the_ttl_counts_to_the_microsecond(users: FeatureStore) -> None:
    """Seconds cut off elsewhere move this edge by up to one."""
    edge = at(4) + TTL
    after = {"entity_id": "a", "event_timestamp": edge + timedelta(microseconds=1)}
    assert joined(users, "users", {"entity_id": "a", "event_timestamp": edge}, after) == [2.0, None]


def test_integers_with_gaps_stay_integers(store: FeatureStore) -> None:
    store.apply(pushed("users", Feature("x", "int64")))
    store.write_features([row("a", 0, x=2**53 + 1)], "users")
    answer = store.get_historical_features("users", [row("a", 1), row("b", 1)])
    assert answer.to_arrow()["x"].to_pylist() == [2**53 + 1, None]
    assert str(answer.to_pandas()["x"].dtype) == "Int64"
    assert answer.to_pandas()["x"][0] == 2**53 + 1


def test_features_of_one_name_get_full_names(store: FeatureStore) -> None:
    for group, x in (("one", 1), ("two", 2)):
        store.apply(pushed(group, Feature("x", "int64")))
        store.write_features([row("a", 0, x=x)], group)
    asked = ["one.x", "two.x"]
    answer = store.get_historical_features(asked, [row("a", 1)], full_feature_names=True)
    assert answer.to_arrow().select(["one__x", "two__x"]).to_pylist() == [
        {"one__x": 1, "two__x": 2}
    ]
    kept = store.create_training_set(asked, [row("a", 1)], "t", full_feature_names=True)
    assert kept.features == ["one__x", "two__x"]
    assert kept.reproduce() == kept.digest


def test_as_of_gives_the_same_bytes_whatever_happened_since(store: FeatureStore) -> None:
    """Re-materialised partitions, late rows, corrections, an overwrite."""
    days = [pushed(name, Feature("x", "float64")) for name in ("first", "second")]
    view = FeatureView("both", [days[0], days[1]["x"].rename({"x": "other"})])
    store.apply(*days, view)
    random = np.random.default_rng(3)
    hours = random.permutation(2000).astype(float)
    rows = [row(f"u{int(h) % 7}", h, x=float(random.random())) for h in hours]
    for group in days:
        store.write_features(rows[::2], group.name)
    store.create_snapshot("both", "before")
    instant = datetime.now(UTC)
    spine = [row(f"u{n % 8}", float(random.random()) * 2000) for n in range(200)]

    def answers() -> list[pa.Table]:
        return [
            store.get_historical_features("both", spine, as_of=moment).to_arrow()
            for moment in ("before", instant)
        ]

    def digests(tables: list[pa.Table]) -> list[dict[str, str]]:
        found = []
        for table in tables:
            digest = TableDigest(table.schema)
            digest.update(table)
            found.append(digest.columns())
        return found

    earlier = answers()
    store.write_features(rows[1::4], "first")
    store.write_features([{**each, "x": -1.0} for each in rows[::6]], "first", mode="upsert")
    store.write_features(rows[3::4], "second", mode="overwrite")
    assert digests(answers()) == digests(earlier)
    assert all(one.equals(other) for one, other in zip(answers(), earlier, strict=True))
    now = store.get_historical_features("both", spine).to_arrow()
    assert not now.equals(earlier[0])


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe"])
def test_the_hour_that_happens_twice_is_two_hours(store: FeatureStore, zone: str) -> None:
    store.apply(pushed("users", Feature("x", "float64")))
    year = [at(n) for n in range(24 * 330)]
    store.write_features(
        pl.DataFrame(
            {"entity_id": "a", "event_timestamp": year, "x": map(float, range(len(year)))}
        ),
        "users",
    )
    local = pl.Series("event_timestamp", year).dt.convert_time_zone(zone)
    spine = pl.DataFrame({"entity_id": "a", "event_timestamp": local})
    answer = store.get_historical_features("users", spine).to_polars()
    assert answer["x"].to_list() == [float(n) for n in range(len(year))]
    assert answer["event_timestamp"].dtype == local.dtype


def test_an_answer_on_disk_is_the_answer(users: FeatureStore, tmp_path: Path) -> None:
    spine = [row("b", 1), row("a", 5), row("nobody", 1)]
    stored = users.get_historical_features("users", spine, out=tmp_path / "answer.parquet")
    assert stored.to_arrow().equals(users.get_historical_features("users", spine).to_arrow())
    assert [path.name for path in tmp_path.glob("*.parquet")] == ["answer.parquet"]

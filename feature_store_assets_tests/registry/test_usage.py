"""Usage: who read what, counted off the hot path, written in batches."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from feature_store_assets import Feature, FeatureStore, FeatureView
from feature_store_assets.registry.database import Database, usage
from feature_store_assets.registry.usage import Reads, Usage
from feature_store_assets_tests.stores import T0, new_store, pushed, row


def test_counts_add_up_over_batches_and_processes(database: Database) -> None:
    with database.write():  # brings the schema up to date
        one, other = Usage(database), Usage(database)
    one.add([("g", ["x", "y"])], "online", 3, 30, "ann")
    one.add([("g", ["x"])], "online", 1, 5, "ann")
    assert one.of() == []
    one.flush()
    other.add([("g", ["x"])], "training", 1, 1000, "ann")
    other.flush()
    one.add([("g", ["x"])], "online", 1, 1, "ann")
    one.flush()
    found = {(each.feature, each.path): (each.reads, each.rows) for each in one.of("g")}
    assert found == {
        ("x", "online"): (5, 36),
        ("y", "online"): (3, 30),
        ("x", "training"): (1, 1000),
    }
    assert one.of("other") == []


def test_reads_of_the_last_days_are_summed_by_consumer_and_path(database: Database) -> None:
    today, table = datetime.now(UTC), Usage(database)
    days = [(0, "ann", 2), (29, "ann", 1), (29, "bob", 9), (30, "ann", 100)]
    rows = [
        {"feature_group": "g", "feature": "x", "consumer": who, "path": "online",
         "day": f"{today - timedelta(days=ago):%Y-%m-%d}", "reads": reads, "rows": 10 * reads}
        for ago, who, reads in days
    ]  # fmt: skip
    with database.write() as connection:
        connection.execute(sa.insert(usage), rows)
    first, then = (f"{today - timedelta(days=ago):%Y-%m-%d}" for ago in (0, 29))
    assert table.recent("g") == [
        Reads("g.x", "bob", "online", 9, 90, then),
        Reads("g.x", "ann", "online", 3, 30, first),
    ]
    assert table.recent(days=1) == [Reads("g.x", "ann", "online", 2, 20, first)]
    assert table.recent("h") == []


@pytest.fixture
def store(tmp_path: Path) -> Iterator[FeatureStore]:
    with new_store(tmp_path) as store:
        group = pushed("people", Feature("age", "int64"), Feature("size", "int64"))
        store.apply(group, FeatureView("grown", [group["age"]]))
        store.write_features([row("ann", 0, age=41, size=170)], "people")
        yield store


def test_every_way_of_reading_is_counted(store: FeatureStore) -> None:
    for _ in range(3):
        store.get_online_features("people", ["ann", "bob"])
    store.get_online_features("grown", ["ann"])
    store.get_historical_features("grown", [{"entity_id": "ann", "event_timestamp": T0}])
    store.read_features("people", ["size"])
    store.serving.count()
    store.usage.flush()
    found = {(each.feature, each.path): (each.reads, each.rows) for each in store.usage.of()}
    assert found == {
        ("age", "online"): (4, 7),
        ("size", "online"): (3, 6),
        ("age", "training"): (1, 1),
        ("size", "offline"): (1, 1),
    }


def test_closing_writes_what_was_counted(store: FeatureStore) -> None:
    store.get_online_features("people", ["ann"], ["age"])
    store.close()
    with FeatureStore(store.config) as again:
        [used] = again.usage.of("people")
    assert (used.feature, used.path, used.reads, used.rows) == ("age", "online", 1, 1)
    assert used.consumer

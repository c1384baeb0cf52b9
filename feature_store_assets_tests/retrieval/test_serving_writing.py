"""What a store does to its online rows beside publishing them: rebuild, remove, expire."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from feature_store_assets import Entity, Feature, FeatureStore, FeatureView
from feature_store_assets.errors import DataError, OnlineStoreUnavailable
from feature_store_assets_tests.servers import redis_server
from feature_store_assets_tests.stores import T0, at, new_store, once, pushed, row

DAY = timedelta(days=1)


def write(store: FeatureStore, **hours: float) -> None:
    rows = [row(entity, when, x=float(when)) for entity, when in hours.items()]
    store.write_features(rows, "spend")


def served(store: FeatureStore, *entities: str) -> list[Any]:
    found = store.get_online_features("spend", list(entities), at=at(0))
    return [found[entity]["x"] for entity in entities]


@pytest.fixture
@once
def spend(store: FeatureStore) -> FeatureStore:
    store.apply(pushed("spend", Feature("x", "float64"), ttl=2 * DAY))
    return store


@pytest.mark.parametrize("stale", [0.0, 100.0])
def test_a_rebuild_waits_until_no_prepared_read_can_use_the_old_rows(
    tmp_path: Path, stale: float
) -> None:
    store = new_store(tmp_path, serve_stale_seconds=stale)
    store.apply(pushed("spend", Feature("x", "float64"), ttl=2 * DAY))
    write(store, a=-1, b=-2)
    assert served(store, "a", "b") == [-1, -2]
    group, waited = store.applied.group("spend"), list[float]()

    def wait(seconds: float) -> None:
        assert served(store, "a", "b") == [-1, -2]
        waited.append(seconds)

    done = store.serving.rebuild(group, store.table(group), wait=wait)
    assert (done.generation, done.published.written, done.removed) == (1, 2, 2)
    assert waited == [max(30.0, stale) + 5.0]
    store.serving.forget()
    assert served(store, "a", "b") == [-1, -2]
    write(store, a=-0.5)
    assert served(store, "a", "b") == [-0.5, -2]
    store.close()


def test_removed_rows_stay_away_until_their_partition_is_published(spend: FeatureStore) -> None:
    write(spend, a=-1, b=-2)
    assert spend.delete_online_features("spend", ["a", "nobody"]) == 1
    assert served(spend, "a", "b") == [None, -2]
    write(spend, c=-3)
    assert served(spend, "a", "c") == [-1, -3]


def test_writers_never_read_with_a_readers_impatience(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever they call when a server restarts, they wait for it."""
    groups = [pushed(name, Feature(name, "float64"), ttl=2 * DAY) for name in ("spend", "visits")]

    def impatient(keys: Any) -> Any:
        raise OnlineStoreUnavailable("the store", "a reader does not wait")

    with redis_server("valkey") as uri, new_store(tmp_path, online_store_uri=uri) as store:
        store.apply(*groups, FeatureView("both", groups, precompute=True))
        with monkeypatch.context() as readers:
            readers.setattr(store.serving.store, "get", impatient)
            with pytest.raises(OnlineStoreUnavailable):
                store.get_online_features("spend", ["a"])
            for name in ("spend", "visits"):
                rows = [row("a", -1, **{name: 1.0}), row("b", -2, **{name: 2.0})]
                store.write_features(rows, name)
            store.publish(groups[0], store.table(groups[0]).partitions())
            store.delete_online_features("spend", ["b"])
            store.serving.rebuild(groups[1], store.table(groups[1]), wait=lambda _: None)
            store.serving.expire(groups[0], at(0))
        store.serving.forget()
        found = store.get_online_features("both", ["a", "b"], at=at(0))
    assert found == {"a": {"spend": 1.0, "visits": 1.0}, "b": {"spend": None, "visits": 2.0}}


def test_entities_are_removed_by_keys_as_they_are_read(store: FeatureStore) -> None:
    entity = Entity("route", {"origin": "string", "dest": "string"})
    store.apply(pushed("routes", Feature("x", "float64"), entity=entity))
    rows = [{"origin": "A", "dest": each, "event_timestamp": T0, "x": 1.0} for each in "BCD"]
    store.write_features(rows, "routes")
    asked = [("A", "B"), {"origin": "A", "dest": "C"}]
    assert [store.delete_online_features("routes", [each]) for each in asked] == [1, 1]
    found = store.get_online_features("routes", [("A", "B"), ("A", "C"), ("A", "D")])
    assert [each["x"] for each in found.values()] == [None, None, 1.0]
    with pytest.raises(DataError, match="Join key 'dest' of 'routes' is string"):
        store.delete_online_features("routes", [("A", 1)])


def test_a_removed_row_is_asked_for_anew_where_rows_are_cached(
    tmp_path: Path,
) -> None:
    with (
        redis_server("valkey") as uri,
        new_store(tmp_path, online_store_uri=uri, enable_caching=True) as store,
    ):
        store.apply(pushed("spend", Feature("x", "float64")))
        write(store, a=-1)
        assert served(store, "a") == [-1]
        store.delete_online_features("spend", ["a"])
        assert served(store, "a") == [None]


def test_rows_older_than_ttl_and_grace_expire(spend: FeatureStore) -> None:
    write(spend, day_old=-24, two_and_a_half=-60, four=-96)
    group = spend.applied.group("spend")
    assert spend.serving.expire(group, at(0)) == 1
    assert spend.serving.expire(group, at(0), grace=timedelta(0)) == 1
    assert spend.serving.expire(group, at(0), grace=timedelta(0)) == 0
    assert served(spend, "day_old") == [-24]


def test_without_a_ttl_no_row_expires(store: FeatureStore) -> None:
    store.apply(pushed("spend", Feature("x", "float64")))
    write(store, a=-9_999)
    assert store.serving.expire(store.applied.group("spend"), at(0)) == 0
    assert served(store, "a") == [-9_999]


def test_groups_that_are_not_served_have_no_online_rows_to_change(store: FeatureStore) -> None:
    store.apply(pushed("spend", Feature("x", "float64"), online=False))
    write(store, a=-1)
    for change in (
        lambda: store.rebuild_online("spend"),
        lambda: store.delete_online_features("spend", ["a"]),
    ):
        with pytest.raises(DataError, match="'spend' is not served: declare online=True"):
            change()

"""Online reads through a store: shapes, defaults, caching, staleness, precomputed views."""

import asyncio
import math
import os
import signal
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
import redis
from hypothesis import HealthCheck, given, settings, strategies as st

from feature_store_assets.declaration.feature import Entity, Feature
from feature_store_assets.declaration.request import RequestFeature
from feature_store_assets.declaration.view import FeatureView
from feature_store_assets.errors import DataError, DeclarationError, OnlineStoreUnavailable
from feature_store_assets.online.cache import RowCache
from feature_store_assets.store import FeatureStore
from feature_store_assets_tests import functions
from feature_store_assets_tests.counts import examples
from feature_store_assets_tests.servers import redis_server, tcp_server
from feature_store_assets_tests.stores import HOUR, T0, at, new_store, once, pushed, row

USER = Entity("user", {"entity_id": "string"})
SPEND = pushed("spend", Feature("total", "float64"), Feature("orders", "int64"), entity=USER,
               ttl=timedelta(days=1))  # fmt: skip
PLACE = pushed("place", Feature("city", "string"), Feature("since", "date32"), entity=USER)
BOTH = FeatureView("both", [SPEND, PLACE["city", "since"]])


@pytest.fixture
@once
def shop(store: FeatureStore) -> FeatureStore:
    filled(store)
    return store


def filled(store: FeatureStore) -> None:
    store.apply(SPEND, PLACE, BOTH)
    store.write_features(
        [row("ann", 0, total=1.5, orders=3), row("bob", -48, total=2.5, orders=None)], "spend"
    )
    since = date(2020, 2, 29)
    store.write_features(
        [row("ann", -1, city="Ålesund", since=since), row("eve", 0, city=None, since=None)], "place"
    )


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with redis_server("valkey") as uri:
        yield uri


@pytest.fixture
def valkey(server: str) -> str:
    """An empty one."""
    with redis.Redis.from_url(server) as client:
        client.flushall()
    return server


# Shapes


def test_columns_are_a_row_per_entity_in_the_order_asked(shop: FeatureStore) -> None:
    table = shop.get_online_features("both", ["eve", "ann", "ann"], at=T0, output="arrow")
    kinds: dict[str, pa.DataType] = {
        "entity_id": pa.string(),
        "total": pa.float64(),
        "orders": pa.int64(),
        "city": pa.string(),
        "since": pa.date32(),
    }
    assert table.schema == pa.schema(kinds)
    assert table.to_pylist() == [
        {"entity_id": "eve", "total": None, "orders": None, "city": None, "since": None},
        *[{"entity_id": "ann", "total": 1.5, "orders": 3, "city": "Ålesund",
           "since": date(2020, 2, 29)}] * 2,
    ]  # fmt: skip


def test_columns_tell_what_is_known_of_each_row(shop: FeatureStore) -> None:
    table = shop.get_online_features(
        "spend", ["ann", "bob", "eve"], at=T0 + HOUR, include_status=True, output="arrow"
    )
    assert table.select(["status", "event_timestamp", "stale"]).to_pylist() == [
        {"status": "present", "event_timestamp": T0, "stale": False},
        {"status": "expired", "event_timestamp": at(-48), "stale": False},
        {"status": "missing", "event_timestamp": None, "stale": False},
    ]


def test_an_array_has_a_row_per_entity_and_nan_for_no_value(shop: FeatureStore) -> None:
    found = shop.get_online_features("spend", ["bob", "ann"], at=at(-48), output="numpy")
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, [[2.5, math.nan], [1.5, 3.0]])
    assert shop.get_online_features("spend", [], output="numpy").shape == (0, 2)


def test_an_array_of_text_is_refused(shop: FeatureStore) -> None:
    with pytest.raises(DataError, match=r"'city' is string.*output='arrow'"):
        shop.get_online_features("both", ["ann"], output="numpy")


def test_an_unknown_shape_is_refused(shop: FeatureStore) -> None:
    with pytest.raises(DataError, match="'dicts', 'arrow' or 'numpy', not 'pandas'"):
        shop.get_online_features("both", ["ann"], output="pandas")  # type: ignore[arg-type]


def test_the_age_counts_from_the_instant_asked(shop: FeatureStore) -> None:
    found = shop.get_online_features("both", ["ann"], at=T0 + HOUR, include_status=True)
    assert found["ann"]["age_seconds"] == 2 * 3600.0  # of the older of two rows
    assert found["ann"]["status"] == "present"


# Keys


def test_a_key_of_another_type_is_refused_not_missing(store: FeatureStore) -> None:
    store.apply(pushed("by_id", Feature("x", "int64"), entity=Entity("e", {"id": "int64"})))
    store.write_features([{"id": 7, "event_timestamp": T0, "x": 1}], "by_id")
    assert store.get_online_features("by_id", [7]) == {7: {"x": 1}}
    assert store.get_online_features("by_id", [np.int64(7)]) == {7: {"x": 1}}
    for wrong in ("7", 7.0, True, None):
        with pytest.raises(DataError, match=r"'id' of 'by_id' is int64: give an int"):
            store.get_online_features("by_id", [wrong])
        with pytest.raises(DataError, match="give an int"):
            store.get_online_features("by_id", [{"id": wrong}])


def test_text_keys_are_also_uuids(shop: FeatureStore) -> None:
    name = UUID(int=7)
    shop.write_features([row(str(name), 0, total=9.0, orders=1)], "spend")
    assert shop.get_online_features("spend", [name], ["total"], at=T0) == {name: {"total": 9.0}}
    with pytest.raises(DataError, match="give a str, not a int"):
        shop.get_online_features("spend", ["ann", 7])


def test_dicts_and_names_do_not_mix(shop: FeatureStore) -> None:
    with pytest.raises(DataError, match="some are not"):
        shop.get_online_features("both", [{"entity_id": "ann"}, "bob"])


# Defaults


def test_defaults_stand_in_for_null_in_training_and_serving(shop: FeatureStore) -> None:
    shop.apply(FeatureView("filled", [SPEND, PLACE["city"]], defaults={"total": 0, "city": "?"}))
    spine = [{"entity_id": name, "event_timestamp": at(1)} for name in ("ann", "bob", "eve")]
    trained = shop.get_historical_features("filled", spine).to_polars()
    names = ["total", "orders", "city"]
    expected = [(1.5, 3, "Ålesund"), (0.0, None, "?"), (0.0, None, "?")]
    assert trained.select(names).rows() == expected
    assert trained.schema["total"] == pl.Float64
    served = shop.get_online_features("filled", ["ann", "bob", "eve"], at=at(1))
    assert [tuple(each.values()) for each in served.values()] == expected
    told = shop.get_online_features("filled", ["bob"], ["total"], at=at(1), include_status=True)
    assert (told["bob"]["values"], told["bob"]["status"]) == ({"total": 0}, "expired")
    full = shop.get_historical_features("filled", spine, full_feature_names=True).to_polars()
    assert full["spend__total"].to_list() == [1.5, 0.0, 0.0]


def test_functions_see_defaults(store: FeatureStore) -> None:
    delays = pushed("delays", Feature("delay", "float64"), Feature("count", "int64"), entity=USER)
    view = FeatureView(
        "flight", [delays["delay", "count"]], request={"distance": "float64", "more": "int64"},
        computed=[RequestFeature("total", "int64", functions.total)], defaults={"count": 10},
    )  # fmt: skip
    store.apply(delays, view)
    asked = {"entity_id": "x", "more": 5, "distance": 1.0, "event_timestamp": T0}
    store.write_features([row("y", 0, delay=1.0, count=1)], "delays")
    trained = store.get_historical_features("flight", [asked]).to_polars()
    served = store.get_online_features("flight", [asked], ["total"])
    assert served == [{"total": 15}]
    assert trained["total"].to_list() == [15]


# Awaited


@pytest.mark.slow
def test_awaited_answers_are_those_of_the_blocking_call(tmp_path: Path, valkey: str) -> None:
    async def main(uri: str | None, **more: Any) -> None:
        folder = tmp_path / f"{uri is None}{len(more)}"
        async with new_store(folder, online_store_uri=uri, **more) as store:
            filled(store)
            for asked in (["ann"], ["ann", "bob", "none"], [{"entity_id": "ann"}], []):
                for what in ("spend", "both", ["place.city"]):
                    for output in ("dicts", "arrow"):
                        for status in (False, True):
                            given: Any = {"at": T0, "include_status": status, "output": output}
                            awaited = await store.get_online_features_async(what, asked, **given)
                            assert awaited == store.get_online_features(what, asked, **given)
            many = await asyncio.gather(
                *(
                    store.get_online_features_async("spend", [name], at=T0)
                    for name in ["ann", "eve"] * 20
                )
            )
            assert many[:2] == [
                {"ann": {"total": 1.5, "orders": 3}}, {"eve": {"total": None, "orders": None}}
            ]  # fmt: skip
            assert many == many[:2] * 20

    asyncio.run(main(None))
    asyncio.run(main(valkey, enable_caching=True))
    with redis.Redis.from_url(valkey) as client:
        client.flushall()
    asyncio.run(main(valkey))


def test_loops_one_after_the_other_each_get_their_connection(tmp_path: Path, valkey: str) -> None:
    with new_store(tmp_path, online_store_uri=valkey) as store:
        filled(store)

        async def read() -> Any:
            try:
                return await store.get_online_features_async("spend", ["ann"], ["orders"], at=T0)
            finally:
                await store.online.aclose()

        for _ in range(3):
            assert asyncio.run(read()) == {"ann": {"orders": 3}}


# Cached


@pytest.fixture
def cached(tmp_path: Path, valkey: str) -> Iterator[FeatureStore]:
    settings: dict[str, Any] = {"enable_caching": True, "cache_ttl_seconds": 3600}
    with new_store(tmp_path, online_store_uri=valkey, **settings) as store:
        filled(store)
        yield store


def total(store: FeatureStore, name: str = "ann") -> Any:
    return store.get_online_features("spend", [name], ["total"], at=T0)[name]["total"]


def test_a_process_reads_its_own_writes_through_its_cache(cached: FeatureStore) -> None:
    assert (total(cached), total(cached, "new")) == (1.5, None)
    cached.write_features(
        [row("ann", 0, total=7.0, orders=3), row("new", 0, total=8.0, orders=1)], "spend", "upsert"
    )
    assert (total(cached), total(cached, "new")) == (7.0, 8.0)
    cached.write_features([row("new", 0, total=9.0, orders=1)], "spend", "overwrite")
    assert (total(cached), total(cached, "new")) == (None, 9.0)


def test_others_see_a_write_when_the_cache_lets_go(cached: FeatureStore, valkey: str) -> None:
    assert total(cached) == 1.5
    config = cached.config
    with FeatureStore(config.model_copy(update={"enable_caching": False})) as other:
        other.write_features([row("ann", 0, total=7.0, orders=3)], "spend", "upsert")
        assert total(other) == 7.0
    assert total(cached) == 1.5
    rows = cached.serving.rows
    assert isinstance(rows, RowCache)
    assert (rows.hits, rows.misses) == (1, 1)
    rows.forget([key for chunk in cached.online.scan(b"fs:spend:") for key in chunk])
    assert total(cached) == 7.0


def test_the_embedded_store_needs_no_cache(tmp_path: Path) -> None:
    with new_store(tmp_path, enable_caching=True) as store:
        assert store.serving.rows is store.online


# Not answering


@pytest.mark.parametrize("stale", [0.0, 600.0])
def test_a_frozen_server_is_told_of_or_answered_for_within_a_quarter_of_a_second(
    tmp_path: Path, stale: float
) -> None:
    with tcp_server(tmp_path) as port:
        uri = f"redis://127.0.0.1:{port}"
        cache: dict[str, Any] = {"enable_caching": True, "cache_ttl_seconds": 1e-6}
        store = new_store(tmp_path, online_store_uri=uri, serve_stale_seconds=stale, **cache)
        with store, redis.Redis(port=port) as admin:
            filled(store)
            given: Any = {"at": T0, "include_status": True}
            before = store.get_online_features("spend", ["ann"], **given)
            pid = admin.info("server")["process_id"]
            os.kill(pid, signal.SIGSTOP)
            try:
                start = datetime.now(UTC)
                if stale:
                    found = store.get_online_features("spend", ["ann"], **given)
                    assert found == {"ann": {**before["ann"], "stale": True}}
                    asked: Any = store.get_online_features_async("spend", ["ann"], **given)
                    assert asyncio.run(asked) == found
                else:
                    with pytest.raises(OnlineStoreUnavailable):
                        store.get_online_features("spend", ["ann"], **given)
                # Loose: the machine may be busy. The benchmark says what it takes.
                assert datetime.now(UTC) - start < timedelta(seconds=1)
                with pytest.raises(OnlineStoreUnavailable):
                    store.get_online_features("spend", ["never read"], **given)
            finally:
                os.kill(pid, signal.SIGCONT)
            after = store.get_online_features("spend", ["never read"], **given)
            assert after["never read"]["status"] == "missing"


# Precomputed


def precomputed(store: FeatureStore) -> None:
    store.apply(FeatureView("fast", [SPEND, PLACE["city", "since"]], precompute=True))


def test_groups_with_other_keys_cannot_be_precomputed(store: FeatureStore) -> None:
    route = pushed("route", Feature("x", "int64"), entity=Entity("route", ["origin", "dest"]))
    with pytest.raises(DeclarationError, match=r"spend: entity_id; route: origin, dest"):
        store.apply(SPEND, route, FeatureView("fast", [SPEND, route], precompute=True))
    assert store.groups() == []


def test_rows_published_before_the_view_are_found(shop: FeatureStore) -> None:
    precomputed(shop)
    names = ["ann", "bob", "eve", "none"]
    for status in (False, True):
        given: Any = {"at": at(1), "include_status": status}
        assert shop.get_online_features("fast", names, **given) == shop.get_online_features(
            "both", names, **given
        )


def test_a_precomputed_read_is_one_look_up_per_entity(shop: FeatureStore) -> None:
    precomputed(shop)
    shop.write_features([row("ann", 1, total=4.0, orders=9)], "spend")
    asked: list[int] = []

    class Counted:
        def get(self, keys: Sequence[bytes]) -> list[bytes | None]:
            asked.append(len(keys))
            return shop.online.get(keys)

        async def aget(self, keys: Sequence[bytes]) -> list[bytes | None]:
            return self.get(keys)

    query = shop.serving.query("fast", None, "ann")
    found = query.ask(Counted(), ["ann"], at(1), status=False, output="dicts")
    assert found == shop.get_online_features("both", ["ann"], at=at(1))
    assert asked == [1]
    query.ask(Counted(), ["ann", "none"], at(1), status=False, output="dicts")
    assert asked == [1, 2, 2]  # of an unknown entity the groups are asked, too


def test_a_process_reads_its_own_writes_joined_through_its_cache(cached: FeatureStore) -> None:
    precomputed(cached)
    for value in (7.0, 8.0):
        cached.write_features([row("ann", 1, total=value, orders=3)], "spend", "upsert")
        found = cached.get_online_features("fast", ["ann"], at=at(1))
        assert found["ann"]["total"] == value


def test_a_group_written_anew_is_joined_anew(shop: FeatureStore) -> None:
    precomputed(shop)
    shop.write_features([row("ann", 1, total=4.0, orders=9)], "spend")
    group = shop.applied.group("spend")
    shop.serving.rebuild(group, shop.table(group), wait=lambda _: None)
    shop.serving.forget()
    asked = ["ann", "bob", "eve", "none"]
    assert shop.get_online_features("fast", asked, at=at(1)) == shop.get_online_features(
        "both", asked, at=at(1)
    )
    joined = {key for keys in shop.online.scan(b"fs:fast:") for key in keys}
    assert {key[: key.index(b"{")] for key in joined} == {min(joined)[: min(joined).index(b"{")]}
    assert len(joined) == 2  # those whose spending is known


WRITES = st.lists(
    st.tuples(
        st.sampled_from(["spend", "place", "removed"]),
        st.sampled_from("ab"),
        st.integers(-30, 30),
        st.integers(0, 9),
    ),
    min_size=1,
    max_size=8,
)


@given(writes=WRITES, when=st.integers(-40, 60))
@settings(max_examples=examples(8), suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_precomputed_answers_are_those_of_the_groups(
    tmp_path_factory: pytest.TempPathFactory, writes: list[tuple[str, str, int, int]], when: int
) -> None:
    with new_store(tmp_path_factory.mktemp("store")) as store:
        filled(store)
        precomputed(store)
        for group, name, hours, value in writes:
            if group == "spend":
                rows = [row(name, hours, total=value / 2, orders=value)]
                store.write_features(rows, "spend", "upsert")
            elif group == "place":
                rows = [row(name, hours, city=str(value), since=None)]
                store.write_features(rows, "place", "upsert")
            else:  # all others go
                rows = [row(name, hours, total=0.0, orders=value)]
                store.write_features(rows, "spend", "overwrite")
        given: Any = {"at": at(when), "include_status": True}
        names = ["a", "b", "ann", "none"]
        assert store.get_online_features("fast", names, **given) == store.get_online_features(
            "both", names, **given
        )


def test_a_publish_that_was_cut_off_before_joining_is_made_good(
    shop: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    precomputed(shop)
    shop.write_features([row("ann", 1, total=4.0, orders=9)], "spend")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("feature_store_assets.retrieval.online.refresh", killed)
        with pytest.raises(KeyboardInterrupt):
            shop.write_features([row("ann", 2, total=5.0, orders=9)], "spend")
    shop.publish(shop.applied.group("spend"), ["2024-01"])
    found = shop.get_online_features(
        "fast", ["ann"], ["total", "orders", "city", "since"], at=at(2)
    )
    assert found["ann"]["total"] == 5.0


@pytest.mark.slow
def test_after_its_table_was_restored_a_group_is_written_anew(tmp_path: Path, valkey: str) -> None:
    with new_store(tmp_path / "lost", online_store_uri=valkey) as store:
        filled(store)
        for hours in range(1, 5):
            store.write_features([row("ann", hours, total=9.0, orders=1)], "spend")
    with new_store(tmp_path / "restored", online_store_uri=valkey) as store:
        filled(store)  # commit numbers tell that newer rows stand there: they are left alone
        assert total(store) == 9.0
        group = store.applied.group("spend")
        store.serving.rebuild(group, store.table(group), wait=lambda _: None)
        store.serving.forget()
        assert total(store) == 1.5

"""Publishing to LMDB and to Valkey, beside their plain clients and beside Feast."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any

import lmdb
import numpy as np
import polars as pl
import redis

from bench.children import REPOSITORY
from bench.measuring import REPETITIONS, Cost, Row, aim, in_turn, median_cost, once, versus
from bench.serving import child
from feature_store_assets import Entity, Feature, FeatureGroup, FeatureStore, FeatureStoreConfig
from feature_store_assets.declaration.partitions import Partitions
from feature_store_assets.offline.table import OfflineTable
from feature_store_assets.online import OnlineStore, open_store
from feature_store_assets.online.publish import publish
from feature_store_assets.online.row import KeySpace, encode_table
from feature_store_assets_tests.servers import redis_server, tcp_server

_BACKENDS = ("LMDB", "Valkey")
_HOME = REPOSITORY / ".bench"
_BESIDE, _COMPARED = 20_000, 100


@contextmanager
def _uri(backend: str, folder: Path) -> Iterator[str]:
    if backend == "LMDB":
        yield f"lmdb://{folder / backend}"
    else:
        with redis_server("valkey") as uri:
            yield uri


def _group(name: str, features: int) -> FeatureGroup:
    return FeatureGroup(
        name,
        entity=Entity("user", {"user_id": "string"}),
        features=[Feature(f"f{number}", "float64") for number in range(features)],
        partitions=Partitions.calendar(["year"]),
        ttl=timedelta(days=30),
        online=True,
    )


def _rows(entities: int, features: int) -> pl.DataFrame:
    random = np.random.default_rng(7)
    return pl.DataFrame(
        {
            "user_id": [f"user_{number}" for number in range(entities)],
            "event_timestamp": [datetime.now(UTC)] * entities,
            **{f"f{number}": random.random(entities) for number in range(features)},
        }
    )


def publish_rows(folder: Path) -> Iterator[Row]:
    """100,000 entities x 10 features from the offline table to the online store; Feast beside it.

    Ours reads the table's newest rows, encodes them, writes each unless a newer one stands there
    and keeps the books that let it take rows back. The raw loop is given finished keys and values
    and writes them blindly: LMDB in one transaction, Valkey by MSET of 1,000. Every repetition
    writes under keys that nothing stands under yet.
    """
    with FeatureStore(FeatureStoreConfig(storage_path=folder / "store")) as store:
        group = store.register_feature_group(_group("g", 10))
        store.write_features(_rows(100_000, 10), "g")
        table = store.table(group)
    for backend in _BACKENDS:
        with _uri(backend, folder) as uri:
            ours, raw = _writes(table, uri, folder)
            yield versus(f"publish, {backend}: 100k x 10; raw is blind, pre-encoded", ours, raw)
    yield _beside_feast(folder)


def _beside_feast(folder: Path) -> Row:
    """20,000 entities x 10 features; Feast is given a finished frame, ours reads its table."""
    group, rows = _group("beside", 10), _rows(_BESIDE, 10)
    told = {"name": group.name, "types": {each.name: each.dtype for each in group.features}}
    (folder / "server").mkdir()
    rows.write_parquet(folder / "rows.parquet")
    with ExitStack() as stack:
        uri = f"redis://127.0.0.1:{stack.enter_context(tcp_server(folder / 'server'))}"
        config = FeatureStoreConfig(storage_path=folder / "beside", online_store_uri=uri)
        store = stack.enter_context(FeatureStore(config))
        store.write_features(rows, store.register_feature_group(group).name)
        ids = rows["user_id"].head(_COMPARED).to_list()
        served = store.get_online_features(group.name, ids)
        job = {"folder": str(folder / "feast"), "uri": uri, "filled": True,
               "groups": [{**told, "file": str(folder / "rows.parquet")}]}  # fmt: skip
        feast = stack.enter_context(child("publish_feast", job, home=_HOME, peers=True))
        case = {"compared": _COMPARED}
        assert feast.rows(case, ["first "]) == [list(served[each].values()) for each in ids]
        online, fresh = stack.enter_context(closing(open_store(uri))), _spaces()
        table = store.table(store.applied.group(group.name))
        mine, theirs = [], []
        for turn in range(REPETITIONS):
            mine.append(once(lambda: _publish(table, online, next(fresh))))
            prefixes = [[f"{turn} {number} "] for number in range(4)]
            taken = feast.measured(case, prefixes, seconds=0.001)
            theirs.append(Cost(median(taken["walls"]) / 1e6, taken["cpu"] / 1e6))
        ours, other = median_cost(mine), median_cost(theirs)
    faster = other.wall / ours.wall
    return versus(
        "publish, Valkey: 20k x 10, beside Feast",
        ours,
        other,
        aim(f"{faster:.1f}x Feast, asked 15x", met=faster >= 15),  # design.md
    )


def _spaces() -> Iterator[KeySpace]:
    """Generations under which nothing stands yet."""
    return (KeySpace("g", 1, generation) for generation in count(1))


def _publish(table: OfflineTable, online: OnlineStore, space: KeySpace) -> None:
    publish(table, online, space, table.partitions(), now=datetime.now(UTC))


def _writes(table: OfflineTable, uri: str, folder: Path) -> tuple[Cost, Cost]:
    online, write = open_store(uri), _writer(uri, folder)
    version, now = table.version(), datetime.now(UTC)
    newest = table.newest(version=version, until=now)
    fresh = _spaces()

    def encoded(space: KeySpace) -> list[tuple[bytes, bytes]]:
        return encode_table(
            space,
            newest,
            keys=table.keys,
            timestamp=table.timestamp,
            created=table.created,
            features=[name for name, _ in table.features],
            commit=version,
        )

    finished = iter([encoded(next(fresh)) for _ in range(REPETITIONS + 1)])

    space = next(fresh)
    _publish(table, online, space)
    wanted = dict(encoded(space))
    assert dict(zip(wanted, online.get(list(wanted)), strict=True)) == wanted
    mine, plain = in_turn(
        lambda: _publish(table, online, next(fresh)), lambda: write(next(finished))
    )
    online.close()
    return mine, plain


def _writer(uri: str, folder: Path) -> Callable[[list[tuple[bytes, bytes]]], None]:
    """Return the plain client's loop over finished rows."""
    if uri.startswith("unix://"):
        client: Any = redis.Redis.from_url(uri)

        def mset(rows: list[tuple[bytes, bytes]]) -> None:
            for first in range(0, len(rows), 1_000):
                chunk = rows[first : first + 1_000]
                client.execute_command("MSET", *(part for row in chunk for part in row))

        return mset
    environment = lmdb.open(str(folder / "raw"), map_size=1 << 30, metasync=False)

    def put(rows: list[tuple[bytes, bytes]]) -> None:
        with environment.begin(write=True) as transaction:
            for key, value in rows:
                transaction.put(key, value)

    return put

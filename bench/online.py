"""Serving and publishing, on LMDB and on Valkey, beside their plain clients."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import lmdb
import msgspec
import numpy as np
import polars as pl
import redis

from bench.measuring import Cost, Row, aim, calls_in_turn, in_turn, versus
from feature_store_assets import Entity, Feature, FeatureGroup, FeatureStore, FeatureStoreConfig
from feature_store_assets.declaration.partitions import Partitions
from feature_store_assets.online import open_store
from feature_store_assets.online.publish import publish
from feature_store_assets.online.row import HEAD, KeySpace, encode_table
from feature_store_assets_tests.servers import redis_server

_BACKENDS = ("LMDB", "Valkey")
_CALLS = {1: 2_000, 10: 500, 100: 60}


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


def get(folder: Path) -> Iterator[Row]:
    """Read 1, 10 and 100 entities x 10 and x 50 features into dicts; p50 of single calls.

    Ours goes from entity ids through the applied declarations, with a ttl in force. The raw loop
    is given finished keys and decodes the same bytes into the same dicts, without a ttl. Valkey
    stands on a unix socket of the same machine; its own CPU is not counted.
    """
    for backend in _BACKENDS:
        with (
            _uri(backend, folder) as uri,
            FeatureStore(
                FeatureStoreConfig(storage_path=folder / f"of_{backend}", online_store_uri=uri)
            ) as store,
        ):
            for features in (10, 50):
                group = _group(f"g{features}", features)
                store.register_feature_group(group)
                store.write_features(_rows(1_000, features), group.name)
                for entities in (1, 10, 100):
                    ours, raw = _reads(store, uri, group, entities)
                    case = f"online, {backend}: {entities} x {features} features"
                    yield versus(case, ours, raw, _read_aim(backend, entities, features, ours, raw))


def _read_aim(backend: str, entities: int, features: int, ours: Cost, raw: Cost) -> str:
    if backend == "Valkey":
        return aim("<= 1.2x", met=ours.wall <= 1.2 * raw.wall)
    if (entities, features) == (1, 10):
        return aim("p50 <= 6 us", met=ours.wall <= 6e-6)
    return ""


def _reads(
    store: FeatureStore, uri: str, group: FeatureGroup, entities: int
) -> tuple[Cost, Cost]:
    asked = [f"user_{7 * number}" for number in range(entities)]
    names = group.feature_names
    keys = KeySpace(group.name, group.version, 0).keys(asked)
    fetch = _fetcher(store, uri)
    unpack = msgspec.msgpack.Decoder(list).decode

    def ours() -> Any:
        return store.get_online_features(group.name, asked)

    def raw() -> Any:
        return [dict(zip(names, unpack(value[HEAD:]), strict=True)) for value in fetch(keys)]

    assert list(ours().values()) == raw()
    mine, plain = calls_in_turn(ours, raw, calls=_CALLS[entities])
    return mine, plain


def _fetcher(store: FeatureStore, uri: str) -> Callable[[Sequence[bytes]], list[Any]]:
    if uri.startswith("unix://"):
        return redis.Redis.from_url(uri).mget  # type: ignore[no-any-return]
    # LMDB allows one environment per path and process: the store's own.
    environment = store.online._environment  # type: ignore[attr-defined]  # noqa: SLF001

    def fetch(keys: Sequence[bytes]) -> list[Any]:
        with environment.begin() as transaction:
            return [transaction.get(key) for key in keys]

    return fetch


@dataclass
class _Fresh:
    """Keys that nothing stands under yet, for each repetition: another generation of the group."""

    numbers: Iterator[int]

    def space(self) -> KeySpace:
        return KeySpace("g", 1, next(self.numbers))


def publish_rows(folder: Path) -> Iterator[Row]:
    """100,000 entities x 10 features from the offline table to the online store.

    Ours reads the table's newest rows, encodes them, writes each unless a newer one stands there
    and keeps the books that let it take rows back. The raw loop is given finished keys and values
    and writes them blindly: LMDB in one transaction, Valkey by MSET of 1,000.
    """
    with FeatureStore(FeatureStoreConfig(storage_path=folder / "store")) as store:
        # Not online: nothing but the measured publishes.
        group = store.register_feature_group(_group("g", 10))
        store.write_features(_rows(100_000, 10), "g")
        table = store.table(store.applied.group("g"))
        partitions, version, now = table.partitions(), table.version(), datetime.now(UTC)
        newest = table.newest(version=version, until=now)

    def encoded(space: KeySpace) -> list[tuple[bytes, bytes]]:
        return encode_table(
            space,
            newest,
            keys=table.keys,
            timestamp=table.timestamp,
            created=table.created,
            features=group.feature_names,
            commit=version,
        )

    for backend in _BACKENDS:
        with _uri(backend, folder) as uri:
            online = open_store(uri)
            ours_fresh, raw_fresh = _Fresh(count(1, 2)), _Fresh(count(2, 2))
            write = _writer(uri, folder)
            finished = iter([encoded(raw_fresh.space()) for _ in range(7)])

            def ours(fresh: _Fresh = ours_fresh, to: Any = online) -> KeySpace:
                space = fresh.space()
                assert publish(table, to, space, partitions, now=now).written == newest.num_rows
                return space

            def raw(rows: Any = finished, put: Any = write) -> list[tuple[bytes, bytes]]:
                batch: list[tuple[bytes, bytes]] = next(rows)
                put(batch)
                return batch

            values = [value for _, value in raw()]
            assert online.get([key for key, _ in encoded(ours())]) == values
            mine, plain = in_turn(ours, raw)
            online.close()
            case = f"publish, {backend}: 100k x 10, raw is blind and pre-encoded"
            yield versus(case, mine, plain)


def _writer(uri: str, folder: Path) -> Callable[[list[tuple[bytes, bytes]]], None]:
    """Return the plain client's loop over finished rows."""
    if uri.startswith("unix://"):
        client = redis.Redis.from_url(uri)

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

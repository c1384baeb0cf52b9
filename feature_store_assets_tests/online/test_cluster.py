"""Fail-over: a primary is killed while rows are written and read."""

import asyncio
import gc
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from feature_store_assets.errors import OnlineStoreUnavailable
from feature_store_assets.online import OnlineStore, open_store
from feature_store_assets.online.publish import publish
from feature_store_assets_tests.online.history import SPACE, History, day, online
from feature_store_assets_tests.servers import (
    Replicated,
    replicated_cluster,
    replicated_sentinel,
)

pytestmark = pytest.mark.slow

KINDS = {"cluster": replicated_cluster, "sentinel": replicated_sentinel}
IDS = range(50_000)
NOW = day(8)
ANSWERS_WITHIN = 5.0  # seconds after the kill


@pytest.fixture(params=KINDS)
def servers(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Replicated]:
    with KINDS[request.param](tmp_path) as running:
        yield running


@pytest.fixture
def store(servers: Replicated) -> Iterator[OnlineStore]:
    opened = open_store(servers.uri)
    yield opened
    opened.close()


@pytest.fixture
def history(store: OnlineStore) -> History:
    history = History()
    history.commit("p0", {(key, 1, 1): key for key in IDS})
    publish(history, store, SPACE, ["p0"], now=NOW)
    return history


class Reader:
    """Reads a sample of keys in a thread, again and again, by a store of its own."""

    def __init__(self, uri: str) -> None:
        self._store, self._over = open_store(uri), threading.Event()
        self._ids = IDS[::500]
        self._seen = online(self._store, self._ids)
        self.older: list[object] = []
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        while not self._over.is_set():
            try:
                found = online(self._store, self._ids)
            except OnlineStoreUnavailable:
                continue
            for key, row in self._seen.items():
                if key not in found or found[key] < row:
                    self.older.append((key, row, found.get(key)))
            self._seen = found

    def end(self) -> None:
        self._over.set()
        self._thread.join()
        self._store.close()


def test_a_primary_killed_in_mid_publish_loses_nothing_and_nothing_gets_older(
    servers: Replicated, store: OnlineStore, history: History
) -> None:
    history.commit("p1", {(key, 2, 2): key + 1 for key in IDS})
    reader, killers = Reader(servers.uri), list[threading.Thread]()

    def wrote(_: Sequence[bytes]) -> None:
        if not killers:  # after the first of three parts, while the publisher goes on
            killers.append(threading.Thread(target=servers.kill))
            killers[0].start()

    publish(history, store, SPACE, ["p1"], now=NOW, wrote=wrote)
    [killer] = killers
    killer.join()
    reader.end()
    assert online(store, IDS) == history.answer(NOW)
    assert reader.older == []
    # What was published can still be taken back: its marks were not lost either.
    history.commit("p1", {})
    assert publish(history, store, SPACE, ["p1"], now=NOW).taken_back == len(IDS)
    assert online(store, IDS) == history.answer(NOW)


def _until_whole(read: Callable[[], list[bytes | None]], expected: list[bytes | None]) -> None:
    while True:
        try:
            assert read() == expected
        except OnlineStoreUnavailable:
            continue
        return


# redis-py's client for Clusters forgets connections to the killed node without closing them.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_reads_answer_again_within_seconds_of_the_kill(
    servers: Replicated, store: OnlineStore, history: History
) -> None:
    keys = SPACE.keys(IDS[::500])
    expected = store.look(keys)
    assert None not in expected

    async def awaited() -> float:
        other = open_store(servers.uri)
        assert await other.aget(keys) == expected
        ready.wait()
        killed.wait()
        began = time.monotonic()
        while True:
            try:
                assert await other.aget(keys) == expected
            except OnlineStoreUnavailable:
                continue
            break
        took = time.monotonic() - began
        await other.aclose()
        return took

    def blocking() -> float:
        assert store.get(keys) == expected
        ready.wait()
        killed.wait()
        began = time.monotonic()
        _until_whole(lambda: store.get(keys), expected)
        return time.monotonic() - began

    ready, killed = threading.Barrier(3), threading.Event()
    with ThreadPoolExecutor(2) as pool:
        times = [pool.submit(blocking), pool.submit(asyncio.run, awaited())]
        ready.wait()
        servers.kill()
        killed.set()
        assert max(each.result() for each in times) < ANSWERS_WITHIN
    gc.collect()


def test_a_write_waits_until_a_replica_has_it(servers: Replicated, store: OnlineStore) -> None:
    rows = [(key, b"\x80" * 24 + b"\0\0") for key in SPACE.keys(range(3))]
    store.put(rows)
    with ThreadPoolExecutor(1) as pool:
        with servers.halted():
            removing = pool.submit(store.remove, [key for key, _ in rows])
            with pytest.raises(TimeoutError):
                removing.result(0.1)
        assert removing.result(5) == 3


def test_a_replica_that_confirms_nothing_is_not_waited_for_again_and_again(
    servers: Replicated, store: OnlineStore, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [(key, b"\x80" * 24 + b"\0\0") for key in SPACE.keys(range(100))]
    store.put(rows)
    with servers.halted():
        before = servers.count("wait")
        store.put(rows)
        store.mark(SPACE.prefix, {"p": 1.0})
        assert servers.count("wait") > before
        told = len(caplog.records)
        assert "No replica confirmed what was written" in caplog.text
        asked = servers.count("wait")
        store.put(rows)
        assert servers.count("wait") == asked
        assert len(caplog.records) == told

import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import redis

from feature_store_assets.errors import ConfigError, OnlineStoreUnavailable
from feature_store_assets.online import OnlineStore, open_store
from feature_store_assets.online.redis import RedisStore
from feature_store_assets.online.redis_client import masked
from feature_store_assets.online.row import KeySpace, sortable, tombstone
from feature_store_assets_tests.servers import cluster, connecting, free_port, sentinel, tcp_server

SPACE = KeySpace("spending", 1, 0)


def row(number: int) -> bytes:
    return sortable(number) * 3 + b"\0\1\x91\x01"


def uses(store: OnlineStore) -> None:
    """Everything a publisher does, over keys of many slots."""
    keys = [SPACE.key(number) for number in range(300)]
    assert store.put([(key, row(2)) for key in keys]) == 300
    assert store.put([(key, row(1)) for key in keys]) == 0
    assert store.replace([(key, row(2), tombstone(3)) for key in keys[:100]]) == 100
    assert store.get(keys) == store.look(keys) == [tombstone(3)] * 100 + [row(2)] * 200
    assert store.expire(SPACE.prefix, sortable(2)) == store.remove([SPACE.key("absent")]) == 0
    store.mark(SPACE.prefix, {"p": 1.0})
    assert store.marks(SPACE.prefix) == {"p": 1.0}
    store.unmark(SPACE.prefix, ["p"])
    assert {key for chunk in store.scan(SPACE.prefix) for key in chunk} == set(keys)
    assert store.delete(SPACE.prefix) == 300
    assert store.get(keys) == [None] * 300
    store.close()


def test_a_cluster_is_used_slot_by_slot(tmp_path: Path) -> None:
    with cluster(tmp_path) as uri:
        uses(open_store(uri))


def test_a_sentinel_leads_to_its_server(tmp_path: Path) -> None:
    with sentinel(tmp_path) as uri:
        uses(open_store(uri))


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[tuple[str, Any]]:
    """A server with a user who may not load or call functions."""
    with tcp_server(tmp_path) as port:
        admin: Any = redis.Redis(port=port)
        admin.execute_command(
            "ACL",
            "SETUSER",
            "app",
            "on",
            ">hunter2",
            "~*",
            "+@all",
            "-fcall",
            "-function",
            "-info",
        )
        yield f"redis://app:hunter2@127.0.0.1:{port}/0", admin
        admin.close()


def test_scripts_serve_where_functions_are_forbidden(
    guarded: tuple[str, Any],
) -> None:
    uri, admin = guarded
    uses(open_store(uri))
    assert admin.execute_command("FUNCTION", "LIST") == []
    store = open_store(uri)
    assert store.put([(SPACE.key(1), row(1))]) == 1
    admin.script_flush()
    assert store.put([(SPACE.key(1), row(2))]) == 1
    store.close()


def test_functions_that_a_restart_lost_are_loaded_again(valkey_uri: str) -> None:
    store = open_store(valkey_uri)
    store.delete(SPACE.prefix)
    store.put([(SPACE.key(1), row(1))])
    with redis.Redis.from_url(valkey_uri) as admin:
        admin.function_flush()
    assert store.put([(SPACE.key(1), row(2))]) == 1
    store.close()


@pytest.mark.parametrize("scheme", ["redis", "redis+cluster", "redis+sentinel"])
def test_an_unreachable_server_fails_at_first_use_within_two_seconds(scheme: str) -> None:
    port = free_port()
    store = open_store(f"{scheme}://app:hunter2@127.0.0.1:{port}/0")
    with (
        connecting(port) as attempts,
        pytest.raises(OnlineStoreUnavailable, match="does not answer") as caught,
    ):
        store.get([SPACE.key("secret_person")])
    # Even if each took all the time that it may.
    assert 0 < sum(attempts) < 2
    text = str(caught.value)
    assert f"{scheme}://app:***@127.0.0.1:{port}/0" in text
    assert "hunter2" not in text
    assert "secret_person" not in text
    assert isinstance(caught.value, ConnectionError)
    store.close()


@pytest.mark.parametrize("scheme", ["redis", "redis+cluster", "redis+sentinel"])
def test_writing_to_a_server_that_was_never_there_fails_as_soon(scheme: str) -> None:
    port = free_port()
    store = open_store(f"{scheme}://127.0.0.1:{port}/0")
    writes: list[Callable[[], object]] = [
        lambda: store.put([(SPACE.key(1), row(1))]),
        lambda: store.look([SPACE.key(1)]),
        lambda: store.marks(SPACE.prefix),
        lambda: list(store.scan(SPACE.prefix)),
    ]
    for write in writes:
        with (
            connecting(port) as attempts,
            pytest.raises(OnlineStoreUnavailable, match="does not answer"),
        ):
            write()
        assert len(attempts) == 1
    store.close()


@pytest.fixture
def kept(tmp_path: Path) -> Iterator["Restarted"]:
    restarted = Restarted(tmp_path)
    with restarted.running:
        yield restarted


class Restarted:
    """A server that keeps what it wrote, and comes back on its port."""

    def __init__(self, folder: Path) -> None:
        self._folder, self.port = folder, free_port()
        self.running = ExitStack()
        self.start()

    def start(self) -> None:
        keep = ["--appendonly", "yes", "--appendfsync", "always"]
        self.running.enter_context(tcp_server(self._folder, *keep, port=self.port))

    def stop(self) -> None:
        self.running.close()  # by SIGKILL


def test_writing_waits_out_a_restarted_server(kept: Restarted) -> None:
    store = open_store(f"redis://127.0.0.1:{kept.port}")
    rows = [(SPACE.key(number), row(2)) for number in range(6_500)]
    keys = [key for key, _ in rows]
    store.put([(key, row(1)) for key in keys])
    store.mark(SPACE.prefix, {"p": 1.0})
    works: list[tuple[Callable[[], object], object]] = [
        (lambda: store.put(rows), 6_500),
        (lambda: store.look(keys), [row(2)] * 6_500),
        (lambda: store.replace([(keys[0], row(2), tombstone(3))]), 1),
        (lambda: store.mark(SPACE.prefix, {"q": 2.0}), None),
        (lambda: store.marks(SPACE.prefix), {"p": 1.0, "q": 2.0}),
        (lambda: store.unmark(SPACE.prefix, ["q"]), None),
        (lambda: store.remove(keys[:10]), 10),
        (lambda: store.expire(SPACE.prefix, sortable(2)), 0),
        (lambda: store.delete(SPACE.prefix), 6_490),
    ]
    with ThreadPoolExecutor(1) as pool:
        for work, expected in works:
            kept.stop()
            waiting = pool.submit(work)
            with pytest.raises(TimeoutError):
                waiting.result(0.1)
            kept.start()
            assert waiting.result(15) == expected
    store.close()


def test_reading_does_not_wait_for_a_restarted_server(kept: Restarted) -> None:
    store = open_store(f"redis://127.0.0.1:{kept.port}")
    store.put([(SPACE.key(1), row(1))])
    kept.stop()
    with connecting(kept.port) as attempts, pytest.raises(OnlineStoreUnavailable):
        store.get([SPACE.key(1)])
    assert 0 < sum(attempts) < 2
    store.close()


def test_a_server_that_stays_away_is_given_up(
    kept: Restarted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("feature_store_assets.online.redis._WAITED_OUT", 0.5)
    store = open_store(f"redis://127.0.0.1:{kept.port}")
    store.put([(SPACE.key(1), row(1))])
    kept.stop()
    with pytest.raises(OnlineStoreUnavailable):
        store.put([(SPACE.key(1), row(2))])
    store.close()


def test_a_scan_begins_anew_where_the_server_was_restarted(kept: Restarted) -> None:
    store = open_store(f"redis://127.0.0.1:{kept.port}")
    keys = {SPACE.key(number) for number in range(3_000)}
    store.put([(key, row(1)) for key in keys])
    chunks = store.scan(SPACE.prefix)
    found = set(next(chunks))
    assert found < keys
    kept.stop()
    kept.start()
    for chunk in chunks:
        found.update(chunk)
    assert found == keys
    store.close()


def test_a_refusal_is_told_at_once(guarded: tuple[str, Any]) -> None:
    uri, admin = guarded
    port = int(uri.rpartition(":")[2].partition("/")[0])
    store = open_store(uri)
    store.put([(SPACE.key(1), row(1))])
    for refusal in (["-script", "-eval", "-evalsha"], ["resetpass", ">other"]):
        admin.execute_command("ACL", "SETUSER", "app", *refusal)
        admin.execute_command("CLIENT", "KILL", "USER", "app")
        with connecting(port) as attempts, pytest.raises(OnlineStoreUnavailable):
            store.put([(SPACE.key(1), row(2))])
        assert len(attempts) == 1
    store.close()


def test_writing_keeps_to_its_rate(valkey_uri: str) -> None:
    store = open_store(valkey_uri, write_rate=1_000)
    store.delete(SPACE.prefix)
    rows = [(SPACE.key(number), row(1)) for number in range(95)]
    began = time.monotonic()
    assert store.put(rows[:50]) == 50
    with ThreadPoolExecutor(3) as pool:
        puts = [pool.submit(store.put, rows[at : at + 15]) for at in (50, 65, 80)]
        assert [put.result() for put in puts] == [15, 15, 15]
    # All but the last portion of ten at most, and the 20 milliseconds that may be made up for.
    assert time.monotonic() - began >= 0.065
    assert store.look([key for key, _ in rows]) == [row(1)] * 95
    store.close()


def test_a_slot_that_migrates_is_written_where_it_goes(tmp_path: Path) -> None:
    with cluster(tmp_path) as uri:
        store, key = open_store(uri), SPACE.key(1)
        nodes: dict[bool, Any] = {}
        client: Any = redis.cluster.RedisCluster(host="127.0.0.1", port=int(uri.rpartition(":")[2]))
        slot = client.keyslot(key)
        for node in client.get_primaries():
            server = client.get_redis_connection(node)
            nodes[node == client.get_node_from_key(key.decode())] = server
        names = {
            own: server.execute_command("CLUSTER", "MYID").decode() for own, server in nodes.items()
        }
        store.put([(SPACE.key(2), row(1))])
        nodes[False].execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", names[True])
        nodes[True].execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", names[False])
        assert store.put([(key, row(1))]) == 1
        for own in (False, True):
            nodes[own].execute_command("CLUSTER", "SETSLOT", slot, "NODE", names[False])
        assert store.get([key]) == [row(1)]
        assert store.put([(key, row(2))]) == 1
        client.close()
        store.close()


@pytest.mark.slow
def test_a_server_that_never_answers_is_given_up(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        store = open_store(f"redis://127.0.0.1:{mute.getsockname()[1]}")
        with pytest.raises(OnlineStoreUnavailable, match="imeout"):
            store.put([(SPACE.key(1), row(1))])
        store.close()


def test_a_wrong_password_is_reported_and_not_shown(guarded: tuple[str, Any]) -> None:
    store = open_store(guarded[0].replace("hunter2", "hunter3"))
    with pytest.raises(OnlineStoreUnavailable) as caught:
        store.marks(SPACE.prefix)
    assert "hunter" not in str(caught.value)
    store.close()


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("redis://:p@ss@host:1/0", "redis://:***@host:1/0"),
        ("redis://user:pass@host", "redis://user:***@host"),
        ("redis://host:6379/0?password=p&db=1", "redis://host:6379/0?password=***&db=1"),
        ("redis+sentinel://u:p@a:1,b:2/name", "redis+sentinel://u:***@a:1,b:2/name"),
        ("unix:///run/redis.sock", "unix:///run/redis.sock"),
    ],
)
def test_passwords_are_masked(uri: str, shown: str) -> None:
    assert masked(uri) == shown


@pytest.mark.parametrize(
    "uri",
    [
        "redis://u:hunter2@host:port",
        "redis+sentinel://u:hunter2@host/service",
        "redis+sentinel://u:hunter2@host:1",
        "redis+sentinel://u:hunter2@host:1/service/db",
    ],
)
def test_a_uri_that_says_too_little_is_refused(uri: str) -> None:
    with pytest.raises(ConfigError) as caught:
        RedisStore(uri)
    assert "hunter2" not in str(caught.value)
